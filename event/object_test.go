package event

import (
	"encoding/json"
	"testing"
)

func TestObject(t *testing.T) {
	o := Object(`{"\n":1,"a":"x\ny","b":-9007199254740991,"c":{"d":null},"e":[1,[2,"]"],{"f":3}],"g":""}`)
	if s, ok := o.String("a"); s != "x\ny" || !ok {
		t.Errorf("a is %q", s)
	}
	if s, ok := o.String("g"); s != "" || !ok {
		t.Errorf("g is %q, %v", s, ok)
	}
	if s, ok := o.String("b"); s != "" || ok {
		t.Errorf("b is the text %q", s)
	}
	if n, ok := o.Int("b"); n != -MaxInt || !ok {
		t.Errorf("b is %d", n)
	}
	if n, ok := o.Int("\n"); n != 1 || !ok {
		t.Errorf("the line break is %d", n)
	}
	if n, ok := o.Int("a"); n != 0 || ok {
		t.Errorf("a is the number %d", n)
	}
	if c := o.Object("c"); string(c) != `{"d":null}` || !c.Has("d") || c.Has("e") || o.Has("d") {
		t.Errorf("c is %s", c)
	}
	if o.Object("e") != nil || o.Object("x") != nil || o.Field("x") != nil || o.Has(`\n`) {
		t.Error("found what is not there")
	}
	var got []string
	for v := range Elements(o.Field("e")) {
		got = append(got, string(v))
	}
	if len(got) != 3 || got[0] != "1" || got[1] != `[2,"]"]` || got[2] != `{"f":3}` {
		t.Errorf("e is %q", got)
	}
	for range o.All() {
		break // stopping early is allowed
	}
	for range Elements(o.Field("e")) {
		break
	}
}

func TestWith(t *testing.T) {
	for _, c := range []struct{ in, key, want string }{
		{`{}`, "b", `{"b":0}`},
		{`{"a":1}`, "b", `{"a":1,"b":0}`},
		{`{"c":1}`, "b", `{"b":0,"c":1}`},
		{`{"a":1,"c":2}`, "b", `{"a":1,"b":0,"c":2}`},
		{`{"a":1,"b":2,"c":3}`, "b", `{"a":1,"b":0,"c":3}`},
		{`{"b":2}`, "b", `{"b":0}`},
		{`{"A":2}`, "\n", `{"\n":0,"A":2}`},
	} {
		if got := string(Object(c.in).With(c.key, []byte("0"))); got != c.want {
			t.Errorf("%s with %q: %s, want %s", c.in, c.key, got, c.want)
		}
	}
}

func TestMarshalObject(t *testing.T) {
	got, err := json.Marshal(struct {
		Content Object `json:"content"`
		None    Object `json:"none"`
		Absent  Object `json:"absent,omitempty"`
	}{Content: Object(`{"a":1}`)})
	if err != nil || string(got) != `{"content":{"a":1},"none":null}` {
		t.Errorf("%s, %v", got, err)
	}
}

// TestNotAnObject: what is not canonical has nothing in it, and hurts nobody.
func TestNotAnObject(t *testing.T) {
	for _, in := range []string{
		"", "{", "}", "[", "]", "[]", `"`, `""`, "null", "5", `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":"`, `{"a":{`, `{"a":[`, `{a:1}`, `{ "b":1}`, "{}x",
		`{"a" :1}`, `{"a":}`, `{"a":,`, `["a`,
	} {
		o := Object(in)
		if o.Has("a") || o.Object("a") != nil {
			t.Errorf("%q has a: %q", in, o.Field("a"))
		}
		for range o.All() {
			t.Errorf("%q has members", in)
		}
	}
	for _, in := range []string{"", "[", "[]", "{}", "5", "x", "]", `["`, "[{", "[[", "[,", "[}"} {
		for v := range Elements([]byte(in)) {
			t.Errorf("%q has the element %q", in, v)
		}
	}
	n := 0
	for range Elements([]byte(`[1`)) {
		n++
	}
	if n > 1 {
		t.Errorf("[1 has %d elements", n)
	}
	for _, in := range []string{"", `"`, "x", `"a`, `a"`, "5", "null"} {
		if s, ok := Text([]byte(in)); ok || s != "" {
			t.Errorf("%q is %q", in, s)
		}
	}
}

func TestInteger(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "5": 5, "-5": -5, "9007199254740991": MaxInt, "-9007199254740991": -MaxInt, "1000000000000000": 1e15, "10": 10,
	} {
		if n, ok := Integer([]byte(in)); !ok || n != want {
			t.Errorf("%s is %d, %v", in, n, ok)
		}
	}
	for _, in := range []string{
		"", "-", "01", "-01", "+1", "1.0", "1e3", "9007199254740992", "-9007199254740992", "99999999999999999999", "x", `"1"`, "1x", "/", ":",
	} {
		if n, ok := Integer([]byte(in)); ok || n != 0 {
			t.Errorf("%q is %d", in, n)
		}
	}
}
