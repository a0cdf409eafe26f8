package client

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"bongsu/id"
)

type message struct {
	Body  string          `json:"body"`
	Count int             `json:"count"`
	User  *parsedUser     `json:"user"`
	More  json.RawMessage `json:"more"`
}

type parsedUser id.UserID

func (u *parsedUser) UnmarshalText(b []byte) error {
	p, err := id.ParseUserID(string(b))
	*u = parsedUser(p)
	return err
}

func bodyAPI(t testing.TB) *testAPI {
	return newTestAPI(t, nil,
		Route{Op: "x", Method: "POST", Path: "/x", MaxBody: 4096, Handle: func(_ context.Context, r *Request) (any, error) {
			var m message
			if err := r.Decode(&m); err != nil {
				return nil, err
			}
			return m, nil
		}},
		Route{Op: "optional", Method: "POST", Path: "/optional", Handle: func(_ context.Context, r *Request) (any, error) {
			m := message{Body: "as it was"}
			return m, r.DecodeOptional(&m)
		}},
		Route{Op: "upload", Method: "POST", Path: "/upload", MaxBody: 4096, Handle: func(_ context.Context, r *Request) (any, error) {
			body, size, err := r.Stream()
			if err != nil {
				return nil, err
			}
			n, err := io.Copy(io.Discard, body)
			return map[string]int64{"n": n, "size": size}, err
		}})
}

func TestDecode(t *testing.T) {
	ta := bodyAPI(t)
	nest := func(n int) string { return `{"more":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}` }
	for name, c := range map[string]struct {
		body    string
		status  int
		errcode string
	}{
		"good":             {`{"body":"<b>&한","count":3,"user":"@a:b","more":[1.5]}`, 200, ""},
		"spaces":           {" \r\n\t{ } \n", 200, ""},
		"unknown":          {`{"other":1}`, 200, ""},
		"nulls":            {`{"body":null,"count":null}`, 200, ""},
		"empty":            {``, 400, "M_NOT_JSON"},
		"blank":            {"  \n", 400, "M_NOT_JSON"},
		"cut":              {`{"body":"`, 400, "M_NOT_JSON"},
		"trailing":         {`{} {}`, 400, "M_NOT_JSON"},
		"trailing comma":   {`{"a":1,}`, 400, "M_NOT_JSON"},
		"single quotes":    {`{'a':1}`, 400, "M_NOT_JSON"},
		"NaN":              {`{"count":NaN}`, 400, "M_NOT_JSON"},
		"leading zero":     {`{"count":01}`, 400, "M_NOT_JSON"},
		"raw NUL":          {"{\"body\":\"\x00\"}", 400, "M_NOT_JSON"},
		"raw newline":      {"{\"body\":\"\n\"}", 400, "M_NOT_JSON"},
		"BOM":              {"\ufeff{}", 400, "M_NOT_JSON"},
		"invalid UTF-8":    {"{\"body\":\"\xff\"}", 400, "M_NOT_JSON"},
		"form":             {"a=b&c=d", 400, "M_NOT_JSON"},
		"array":            {`[]`, 400, "M_BAD_JSON"},
		"string":           {`"x"`, 400, "M_BAD_JSON"},
		"null":             {`null`, 400, "M_BAD_JSON"},
		"wrong type":       {`{"body":1}`, 400, "M_BAD_JSON"},
		"fraction":         {`{"count":1.5}`, 400, "M_BAD_JSON"},
		"out of range":     {`{"count":1e40}`, 400, "M_BAD_JSON"},
		"twice":            {`{"count":1,"count":2}`, 400, "M_BAD_JSON"},
		"twice, escaped":   {`{"count":1,"c\u006funt":2}`, 400, "M_BAD_JSON"},
		"twice, deep":      {`{"more":[{"a":{"b":1,"c":[],"b":2}}]}`, 400, "M_BAD_JSON"},
		"lone surrogate":   {`{"body":"\ud800"}`, 400, ""},
		"same in siblings": {`{"more":[{"a":1},{"a":{"a":"a"}}]}`, 200, ""},
		"deep":             {nest(100), 200, ""},
		"too deep":         {nest(101), 400, "M_BAD_JSON"},
		"far too deep":     {nest(2000), 400, ""},
		"own type":         {`{"user":"amy"}`, 400, "M_INVALID_PARAM"},
		"too large":        {`{"body":"` + strings.Repeat("a", 4096) + `"}`, 413, "M_TOO_LARGE"},
	} {
		t.Run(name, func(t *testing.T) {
			if w := ta.call(t, "POST", "/x", c.body); c.status == 200 || c.errcode != "" {
				expect(t, w, c.status, c.errcode)
			} else if w.Code != c.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	w := ta.call(t, "POST", "/x", `{"body":"<b>&한\u2028","count":1}`)
	if want := "{\"body\":\"<b>&한\\u2028\",\"count\":1,\"user\":null,\"more\":null}"; w.Body.String() != want {
		t.Errorf("answer %q, want %q", w.Body, want)
	}
}

func TestDecodeOptional(t *testing.T) {
	ta := bodyAPI(t)
	if w := ta.call(t, "POST", "/optional", ""); !strings.Contains(w.Body.String(), "as it was") {
		t.Error(w.Body)
	}
	if w := ta.call(t, "POST", "/optional", `{"body":"new"}`); !strings.Contains(w.Body.String(), "new") {
		t.Error(w.Body)
	}
	expect(t, ta.call(t, "POST", "/optional", "x"), 400, "M_NOT_JSON")
}

// unsized hides the length of a body, as chunked encoding does.
type unsized struct{ io.Reader }

func TestBodyBounds(t *testing.T) {
	ta := bodyAPI(t)
	for _, path := range []string{"/x", "/upload"} {
		for _, sized := range []bool{true, false} {
			for size, status := range map[int]int{4096: 200, 4097: 413} {
				body := `{"body":"` + strings.Repeat("a", size-11) + `"}`
				r := newRequest(t, "POST", path+"?access_token=amys", body)
				if !sized {
					r.Body, r.ContentLength = io.NopCloser(unsized{strings.NewReader(body)}), -1
				}
				if w := ta.do(r); w.Code != status {
					t.Errorf("%s, %d bytes, sized %v: %d %s", path, size, sized, w.Code, w.Body)
				}
			}
		}
	}
	broken := newRequest(t, "POST", "/x?access_token=amys", "")
	broken.Body, broken.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("{"), brokenReader{})), 10
	expect(t, ta.do(broken), 400, "M_INVALID_PARAM")
}

// TestBodiesOnOneConnection sends bodies over a real connection, where deadlines hold: one request must leave none for the next.
func TestBodiesOnOneConnection(t *testing.T) {
	ta := bodyAPI(t)
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = NewHTTPServer(ta, ta.cfg.Log)
	srv.Start()
	defer srv.Close()
	for i := range 6 {
		body := `{"body":"` + strings.Repeat("a", 1000*i) + `"}` // the last ones are too large
		path := []string{"/x", "/upload"}[i%2]
		r, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer amys")
		r.Header.Set("Expect", "100-continue")
		res, err := srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if want := map[bool]int{true: 413, false: 200}[len(body) > 4096]; res.StatusCode != want {
			t.Errorf("%d bytes to %s: %d", len(body), path, res.StatusCode)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestBadInput changes good requests at random: whatever comes of it is answered, and never with a 500.
func TestBadInput(t *testing.T) {
	ta := bodyAPI(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const good = `{"body":"héllo\n\u0041","count":12,"user":"@a:b","more":{"a":[1,2.5e3,null,true,{"b":""}]}}`
	pieces := []string{"\x00", "\xff", `"`, `\`, `\ud800`, "{", "}", "[", "]", ",", ":", "-", "1e999", "null", strings.Repeat("[", 150), "\u2028"}
	codes := map[int]int{}
	for range 5000 {
		b := []byte(good)
		for range 1 + rnd.IntN(3) {
			at := rnd.IntN(len(b))
			switch rnd.IntN(3) {
			case 0:
				b[at] = byte(rnd.IntN(256))
			case 1:
				b = append(b[:at:at], b[min(len(b), at+1+rnd.IntN(5)):]...)
			case 2:
				b = append(b[:at:at], append([]byte(pieces[rnd.IntN(len(pieces))]), b[at:]...)...)
			}
			if len(b) == 0 {
				break
			}
		}
		w := ta.call(t, "POST", "/x", string(b))
		codes[w.Code]++
		if w.Code != 200 && w.Code != 400 || !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%q: %d %s", b, w.Code, w.Body)
		}
		ta.log.Reset()
	}
	if codes[200] < 10 || codes[400] < 1000 {
		t.Errorf("the generator is one-sided: %v", codes)
	}
}

func TestQuery(t *testing.T) {
	ta := newTestAPI(t, nil, Route{Op: "x", Method: "GET", Path: "/x", Auth: None, Static: true,
		Handle: func(_ context.Context, r *Request) (any, error) {
			limit, err := r.QueryCount("limit", 10, 100)
			if err != nil {
				return nil, err
			}
			dir, err := r.QueryOneOf("dir", "b", "b", "f")
			if err != nil {
				return nil, err
			}
			full, err := r.QueryBool("full")
			if err != nil {
				return nil, err
			}
			ts, err := r.QueryInt("ts", -1)
			if err != nil {
				return nil, err
			}
			timeout, err := r.QueryMillis("timeout", 0, 1e9)
			if err != nil {
				return nil, err
			}
			via, err := r.QueryAll("via")
			return []any{limit, dir, full, ts, timeout, via}, err
		}})
	for query, want := range map[string]string{
		"":                              `[10,"b",false,-1,0,null]`,
		"limit=5&dir=f&full=true&ts=-7": `[5,"f",true,-7,0,null]`,
		"limit=5000&timeout=99999999":   `[100,"b",false,-1,1000000000,null]`,
		"limit=9223372036854775807&via=a&via=%20": `[100,"b",false,-1,0,["a"," "]]`,
		"timeout=30":                  `[10,"b",false,-1,30000000,null]`,
		"timeout=9223372036854775807": `[10,"b",false,-1,1000000000,null]`,
		"limit=-1":                    "", "limit=x": "", "limit=1.5": "", "limit=9223372036854775808": "", "dir=x": "", "full=1": "", "ts=": `[10,"b",false,-1,0,null]`,
		"timeout=-1": "", "via=%ff": "", "via=%00": "", "%zz": "", "a;b": "", "%ff=1": "",
	} {
		w := ta.do(newRequest(t, "GET", "/x?"+query, ""))
		if want == "" {
			if w.Code != 400 || !strings.Contains(w.Body.String(), "M_INVALID_PARAM") {
				t.Errorf("%s: %d %s", query, w.Code, w.Body)
			}
		} else if w.Body.String() != want {
			t.Errorf("%s: %s, want %s", query, w.Body, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"body":"a","count":1}`, `{"a":{"a":[]}}`, `[]`, `{"a":1,"a":2}`, "\xff", `{"\ud800":1}`, "  ", "\f{}", "{}\u00a0"} {
		f.Add([]byte(s))
	}
	ta := bodyAPI(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		ta.log.Reset()
		w := ta.call(t, "POST", "/optional", string(body))
		switch {
		case w.Code != 200 && w.Code != 400:
			t.Fatalf("%d %s", w.Code, w.Body)
		case !json.Valid(w.Body.Bytes()):
			t.Fatalf("the answer is not JSON: %q", w.Body)
		case w.Code == 200 && len(strings.TrimSpace(string(body))) > 0 && !json.Valid(body):
			t.Fatal("accepted what is not JSON")
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"!a:b/state/t/k", "%21/state/%2f/", "../state/./..", "a//b", "%252F/state/%00/%ff", "{x}/state/t/{key}"} {
		f.Add(s)
	}
	ta := newTestAPI(f, nil, Route{Op: "state", Method: "GET", Auth: None, Static: true,
		Path: "/rooms/{roomId}/state/{type}/{key}", Handle: echo("roomId", "type", "key")})
	f.Fuzz(func(t *testing.T, path string) {
		ta.log.Reset()
		r, err := http.NewRequestWithContext(t.Context(), "GET", "http://h/rooms/"+path, nil)
		if err != nil {
			t.Skip()
		}
		segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/rooms/"), "/")
		w := ta.do(r)
		switch w.Code {
		case 200:
			var got map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if len(segments) != 4 || got["roomId"] == "" || got["type"] == "" || got["key"] == "" {
				t.Fatalf("%q gave %q", path, got)
			}
		case 400:
			expect(t, w, 400, "M_INVALID_PARAM")
		default:
			expect(t, w, 404, "M_UNRECOGNIZED")
		}
	})
}

func TestIdentifiersInPaths(t *testing.T) {
	ta := newTestAPI(t, nil, Route{Op: "x", Method: "GET", Path: "/x/{room}/{event}/{user}", Auth: None, Static: true,
		Handle: func(_ context.Context, r *Request) (any, error) {
			room, err := r.RoomID("room")
			if err != nil {
				return nil, err
			}
			event, err := r.EventID("event")
			if err != nil {
				return nil, err
			}
			user, err := r.UserID("user")
			return []string{string(room), string(event), string(user)}, err
		}})
	if w := ta.call(t, "GET", "/x/!r/$e/@u:h", ""); w.Body.String() != `["!r","$e","@u:h"]` {
		t.Error(w.Body)
	}
	for _, path := range []string{"/x/r/$e/@u:h", "/x/!r/e/@u:h", "/x/!r/$e/u", "/x/!r/$e/@u", "/x/!%01/$e/@u:h"} {
		expect(t, ta.call(t, "GET", path, ""), 400, "M_INVALID_PARAM")
	}
}
