package spec

import (
	"encoding/json"
	"testing"
)

func TestFullBodiesAreValid(t *testing.T) {
	s := load(t)
	for _, o := range s.Operations {
		if o.body == nil {
			continue
		}
		full, err := o.Full([]byte(`{}`))
		if err != nil {
			t.Errorf("%s: %v", o.ID, err)
		}
		for _, f := range o.CheckBody(full) {
			t.Errorf("%s: %s\n%s", o.ID, f, full)
		}
	}
}

func TestFullKeepsWhatIsGiven(t *testing.T) {
	full, err := load(t).Operation("ban").Full([]byte(`{"user_id":"@a:b","more":{"x":1}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		User   string `json:"user_id"`
		Reason string
		More   map[string]int
	}
	if err := json.Unmarshal(full, &got); err != nil || got.User != "@a:b" || got.Reason == "" || got.More["x"] != 1 {
		t.Errorf("%s: %v", full, err)
	}
}

func TestBadBodies(t *testing.T) {
	ban := load(t).Operation("ban")
	bad, err := ban.BadBodies([]byte(`{"user_id":"@a:b","reason":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{ // what -> in what it is wrong
		"/user_id left out": "ban 0 : missing property 'user_id'",
		"/reason left out":  "",
		"/user_id is 1":     "ban 0 /user_id: got number, want string",
		`/user_id is "@"`:   "ban 0 /user_id: is no mx-user-id",
		`/user_id is "x"`:   "ban 0 /user_id: is no mx-user-id",
		`/reason is "x"`:    "",
		"/reason is null":   "ban 0 /reason: got null, want string",
	}
	for _, b := range bad {
		why, ok := want[b.What]
		if !ok {
			continue
		}
		delete(want, b.What)
		found := ban.CheckBody(b.Text)
		if why == "" && len(found) > 0 || why != "" && (len(found) == 0 || found[0].String() != why) {
			t.Errorf("%s: %v, want %q (%s)", b.What, found, why, b.Text)
		}
	}
	for what := range want {
		t.Errorf("there is no variant in which %s", what)
	}
}
