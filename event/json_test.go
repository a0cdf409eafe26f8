package event

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"bongsu/errs"
	"pgregory.net/rapid"
)

// TestCanonical: the examples of the appendix "Canonical JSON" first, then what they leave out.
func TestCanonical(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{}`, `{}`},
		{"{\n    \"one\": 1,\n    \"two\": \"Two\"\n}", `{"one":1,"two":"Two"}`},
		{"{\n    \"b\": \"2\",\n    \"a\": \"1\"\n}", `{"a":"1","b":"2"}`},
		{`{"b":"2","a":"1"}`, `{"a":"1","b":"2"}`},
		{
			`{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe",
			"three_pids": [{"medium": "email", "address": "john.doe@example.org"}, {"medium": "msisdn", "address": "123456789"}]}}}`,
			`{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[` +
				`{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}`,
		},
		{`{"a": "日本語"}`, `{"a":"日本語"}`},
		{`{"本": 2, "日": 1}`, `{"日":1,"本":2}`},
		{`{"a": "\u65E5"}`, `{"a":"日"}`},
		{`{"a": null}`, `{"a":null}`},
		{`{"a": -0, "b": 1e10}`, `{"a":0,"b":10000000000}`},

		{" \t\r\n[ ] ", `[]`},
		{`[true,false,null,"",[],{}]`, `[true,false,null,"",[],{}]`},
		{`"\/\"\\\b\f\n\r\t\u0000\u001F\u007f\u0020"`, `"/\"\\\b\f\n\r\t\u0000\u001f` + "\x7f" + ` "`},
		{`"\ud83d\uDE00 \uFFFF"`, "\"😀 \uffff\""},
		// Sorting is by code point: not by UTF-16 unit, and not by the bytes of an escape.
		{`{"😀":1,"\uffee":2}`, `{"` + "\uffee" + `":2,"😀":1}`},
		{`{"a":1,"\n":2,"\"":3,"\u0000":4,"[":5,"":6}`, `{"":6,"\u0000":4,"\n":2,"\"":3,"[":5,"a":1}`},
		{`{"ab":1,"a":2,"b":{"d":1,"c":{"f":1,"e":2}}}`, `{"a":2,"ab":1,"b":{"c":{"e":2,"f":1},"d":1}}`},
		{`9007199254740991`, `9007199254740991`},
		{`-9007199254740991`, `-9007199254740991`},
		{`-0.0e5`, `0`},
		{`0e999999999999999999999`, `0`},
		{`1.0`, `1`},
		{`-12.50E1`, `-125`},
		{`1000e-3`, `1`},
		{`0.009007199254740991e18`, `9007199254740991`},
		{strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth), strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)},
	} {
		got, err := Canonical([]byte("before "), []byte(c.in))
		if err != nil || string(got) != "before "+c.want {
			t.Errorf("%s\n got %s, %v\nwant before %s", c.in, got, err, c.want)
		}
		if err := Check([]byte(c.in)); err != nil {
			t.Errorf("Check(%s): %v", c.in, err)
		}
	}
}

func TestCanonicalRefuses(t *testing.T) {
	deep := strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1)
	for _, c := range []struct {
		in    string
		code  errs.Code
		check bool // Check takes it
	}{
		{``, errs.NotJSON, false},
		{` `, errs.NotJSON, false},
		{`{`, errs.NotJSON, false},
		{`{"a"`, errs.NotJSON, false},
		{`{"a":`, errs.NotJSON, false},
		{`{"a":1`, errs.NotJSON, false},
		{`{"a":1,}`, errs.NotJSON, false},
		{`{"a":1 "b":2}`, errs.NotJSON, false},
		{`{a:1}`, errs.NotJSON, false},
		{`{"a"=1}`, errs.NotJSON, false},
		{`[1,]`, errs.NotJSON, false},
		{`[1 2]`, errs.NotJSON, false},
		{`[1`, errs.NotJSON, false},
		{`]`, errs.NotJSON, false},
		{`{} {}`, errs.NotJSON, false},
		{`{}x`, errs.NotJSON, false},
		{"\ufeff{}", errs.NotJSON, false},
		{`nul`, errs.NotJSON, false},
		{`True`, errs.NotJSON, false},
		{`NaN`, errs.NotJSON, false},
		{`+1`, errs.NotJSON, false},
		{`01`, errs.NotJSON, false},
		{`-`, errs.NotJSON, false},
		{`.5`, errs.NotJSON, false},
		{`1.`, errs.NotJSON, false},
		{`1e`, errs.NotJSON, false},
		{`1e+`, errs.NotJSON, false},
		{`0x10`, errs.NotJSON, false},
		{`"`, errs.NotJSON, false},
		{`"\`, errs.NotJSON, false},
		{`"\x"`, errs.NotJSON, false},
		{`"\u12"`, errs.NotJSON, false},
		{`"\u12g4"`, errs.NotJSON, false},
		{"\"\n\"", errs.NotJSON, false},
		{"\"\x00\"", errs.NotJSON, false},
		{"\x00", errs.NotJSON, false},
		{"{}\x00", errs.NotJSON, false},
		{"\"\xff\"", errs.NotJSON, false},
		{"\"\xc0\x80\"", errs.NotJSON, false},
		{"\"\xed\xa0\x80\"", errs.NotJSON, false}, // a surrogate in UTF-8
		{`'a'`, errs.NotJSON, false},
		{`"\ud800"`, errs.BadJSON, false},
		{`"\ud800x"`, errs.BadJSON, false},
		{`"\ud800\n"`, errs.BadJSON, false},
		{`"\ud800\ud800"`, errs.BadJSON, false},
		{`"\udc00\ud800"`, errs.BadJSON, false},
		{`{"a":1,"a":1}`, errs.BadJSON, false},
		{`{"a":1,"b":2,"\u0061":1}`, errs.BadJSON, false},
		{`{"z":{"y":1,"x":1,"y":2}}`, errs.BadJSON, false},
		{`{"\n":1,"\u000a":2}`, errs.BadJSON, false},
		{deep, errs.BadJSON, false},
		{strings.Repeat("[", 100000), errs.BadJSON, false},
		{`1e309`, errs.BadJSON, false},
		{`0.1e310`, errs.BadJSON, false},
		{`-10000000000e299`, errs.BadJSON, false},
		{`1e308`, errs.BadJSON, false},
		{`9.99e307`, errs.BadJSON, true},
		{`-0.01e309`, errs.BadJSON, true},
		{`1e-400`, errs.BadJSON, true},
		{`1.5`, errs.BadJSON, true},
		{`1e-1`, errs.BadJSON, true},
		{`-0.1`, errs.BadJSON, true},
		{`9007199254740992`, errs.BadJSON, true},
		{`-9007199254740992`, errs.BadJSON, true},
		{`10000000000000000000000`, errs.BadJSON, true},
		{`1e16`, errs.BadJSON, true},
		{`1e-999999999999999999999`, errs.BadJSON, true},
	} {
		dst := []byte("before")
		got, err := Canonical(dst, []byte(c.in))
		code := codeOf(err)
		if code != c.code || string(got) != "before" {
			t.Errorf("Canonical(%.40q): %q, %v; want %s", c.in, got, err, c.code)
		}
		if err := Check([]byte(c.in)); (err == nil) != c.check || err != nil && codeOf(err) != c.code {
			t.Errorf("Check(%.40q): %v", c.in, err)
		}
	}
}

func TestParseObject(t *testing.T) {
	if o, err := ParseObject([]byte(` { "b" : 1, "a" : "x" } `)); err != nil || string(o) != `{"a":"x","b":1}` {
		t.Errorf("%s, %v", o, err)
	}
	for in, code := range map[string]errs.Code{`[]`: errs.BadJSON, `"{"`: errs.BadJSON, `null`: errs.BadJSON, `{`: errs.NotJSON, ``: errs.NotJSON} {
		if o, err := ParseObject([]byte(in)); o != nil || codeOf(err) != code {
			t.Errorf("%s: %s, %v", in, o, err)
		}
	}
}

func codeOf(err error) errs.Code {
	if e, ok := err.(*errs.Error); ok && e.Kind == errs.Invalid {
		return e.Code
	}
	return ""
}

// value generates what encoding/json makes of JSON, with integers only.
func value(depth int) *rapid.Generator[any] {
	leaf := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Bool().AsAny(),
		rapid.String().AsAny(),
		rapid.Map(rapid.Int64Range(-MaxInt, MaxInt), func(n int64) any { return float64(n) }),
	}
	if depth == 0 {
		return rapid.OneOf(leaf...)
	}
	return rapid.OneOf(append(leaf,
		rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[any] { return value(depth - 1) }), 0, 4),
			func(s []any) any { return s }),
		rapid.Map(rapid.MapOfN(rapid.String(), rapid.Deferred(func() *rapid.Generator[any] { return value(depth - 1) }), 0, 6),
			func(m map[string]any) any { return m }))...)
}

// TestCanonicalMeaning: the canonical form means what the input meant, and is its own canonical form.
func TestCanonicalMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := value(4).Draw(t, "value")
		var in []byte
		if rapid.Bool().Draw(t, "indent") {
			in, _ = json.MarshalIndent(v, " ", "\t")
		} else {
			in, _ = json.Marshal(v)
		}
		checkCanonical(t, in)
	})
}

type failer interface {
	Helper()
	Fatalf(string, ...any)
}

func checkCanonical(t failer, in []byte) {
	t.Helper()
	got, err := Canonical(nil, in)
	if err != nil {
		t.Fatalf("Canonical(%q): %v", in, err)
	}
	again, err := Canonical(nil, got)
	if err != nil || !bytes.Equal(again, got) {
		t.Fatalf("not idempotent: %q, then %q, %v", got, again, err)
	}
	var want, have any
	if err := json.Unmarshal(in, &want); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", in, err)
	}
	if err := json.Unmarshal(got, &have); err != nil {
		t.Fatalf("encoding/json refuses canonical %q: %v", got, err)
	}
	if !reflect.DeepEqual(have, want) {
		t.Fatalf("%q became %q", in, got)
	}
	walk(t, got)
}

// walk checks Object and Elements against encoding/json over the whole canonical value.
func walk(t failer, v []byte) {
	t.Helper()
	switch v[0] {
	case '{':
		var want map[string]json.RawMessage
		if err := json.Unmarshal(v, &want); err != nil {
			t.Fatalf("%v", err)
		}
		last, n := "", 0
		for key, val := range Object(v).All() {
			if n > 0 && key <= last {
				t.Fatalf("keys out of order in %q", v)
			}
			if !bytes.Equal(val, want[key]) || !bytes.Equal(Object(v).Field(key), val) {
				t.Fatalf("%q: member %q is %q, want %q", v, key, val, want[key])
			}
			if with := Object(v).Without(key).With(key, val); !bytes.Equal(with, v) {
				t.Fatalf("%q without and with %q is %q", v, key, with)
			}
			walk(t, val)
			last = key
			n++
		}
		if n != len(want) {
			t.Fatalf("%d members of %q", n, v)
		}
	case '[':
		var want []json.RawMessage
		if err := json.Unmarshal(v, &want); err != nil {
			t.Fatalf("%v", err)
		}
		n := 0
		for val := range Elements(v) {
			if n >= len(want) || !bytes.Equal(val, want[n]) {
				t.Fatalf("element %d of %q is %q", n, v, val)
			}
			walk(t, val)
			n++
		}
		if n != len(want) {
			t.Fatalf("%d elements of %q", n, v)
		}
	case '"':
		var want string
		if err := json.Unmarshal(v, &want); err != nil {
			t.Fatalf("%v", err)
		}
		if got, ok := Text(v); !ok || got != want || string(AppendString(nil, got)) != string(v) {
			t.Fatalf("%q is %q", v, got)
		}
	case 't', 'f', 'n':
	default:
		want, err := strconv.ParseInt(string(v), 10, 64)
		if got, ok := Integer(v); !ok || err != nil || got != want {
			t.Fatalf("%q is %d", v, got)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{
		`{"b":[1,-0,1e3,{"\u0000":"\ud83d\ude00"}],"a":{"z":null,"y":true}}`, `{"a":1,"\u0061":2}`, `"\ud800"`, `1.5`, "\xff", `[[[`,
		`{"\n":1,"\"":2,"A":3}`, `12345678901234567890`, `1e400`, `0.1e1`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := Canonical(nil, in)
		lax := Check(in)
		switch {
		case err == nil && lax != nil:
			t.Fatalf("Canonical takes %q, Check does not: %v", in, lax)
		case err == nil && !json.Valid(in) || lax == nil && !json.Valid(in):
			t.Fatalf("%q is not JSON", in)
		case codeOf(err) == errs.NotJSON && json.Valid(in) && utf8.Valid(in):
			t.Fatalf("%q is JSON: %v", in, err)
		case err != nil && codeOf(err) == "":
			t.Fatalf("%q: %v", in, err)
		case codeOf(err) == errs.NotJSON && codeOf(lax) != errs.NotJSON:
			t.Fatalf("%q: %v but %v", in, err, lax)
		}
		if err == nil {
			checkCanonical(t, in)
			return
		}
		if lax == nil && !bytes.ContainsAny(in, ".eE") {
			// Only a number can be the matter, and here a float tells an integer's size well enough.
			var v any
			if err := json.Unmarshal(in, &v); err == nil && small(v) {
				t.Fatalf("refused %q, %q: %v", in, got, err)
			}
		}
	})
}

// small reports whether all numbers in v are well within the canonical range.
func small(v any) bool {
	switch v := v.(type) {
	case float64:
		return math.Abs(v) < 1<<52
	case []any:
		for _, e := range v {
			if !small(e) {
				return false
			}
		}
	case map[string]any:
		for _, e := range v {
			if !small(e) {
				return false
			}
		}
	}
	return true
}

func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x\""]},"c":-5}`), "a")
	f.Add([]byte(`{"a":[}]`), "a")
	f.Fuzz(func(t *testing.T, in []byte, key string) {
		o := Object(in)
		o.String(key)
		o.Int(key)
		o.Object(key).Has(key)
		for range o.All() {
		}
		for range Elements(o.Field(key)) {
		}
		_ = o.Without(key)
		if _, err := Load(V12, "$x", in); err == nil && len(in) == 0 {
			t.Fatal("loaded nothing")
		}
		if canonical, err := Canonical(nil, in); err == nil && canonical[0] == '{' && utf8.ValidString(key) {
			with := Object(canonical).With(key, []byte(`"new"`))
			if again, err := Canonical(nil, with); err != nil || !bytes.Equal(again, with) {
				t.Fatalf("%q with %q is %q, canonical %q, %v", canonical, key, with, again, err)
			}
			if s, ok := with.String(key); !ok || s != "new" {
				t.Fatalf("%q has %q", with, key)
			}
		}
	})
}
