package auth

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"bongsu/errs"
)

func TestParseAttempt(t *testing.T) {
	for in, want := range map[string]Attempt{
		``:     {},
		`null`: {},
		`{}`:   {},
		`{"type":"m.login.dummy","session":"s","x":1}`:                                                           {Type: Dummy, Session: "s"},
		`{"type":"m.login.password","user":"amy","password":"p"}`:                                                {Type: Password, User: "amy", Password: "p"},
		`{"type":"m.login.password","identifier":{"type":"m.id.user","user":"amy"},"password":"p","session":""}`: {Type: Password, Identifier: Identifier{Type: IdentifierUser, User: "amy"}, Password: "p"},
		`{"type":"m.login.email.identity","threepid_creds":{"sid":"1","client_secret":"x","id_server":"y"}}`:     {Type: Email, Creds: Credentials{"1", "x"}},
		`{"type":"m.login.registration_token","token":"t"}`:                                                      {Type: RegistrationToken, Token: "t"},
	} {
		if got, err := ParseAttempt(json.RawMessage(in)); err != nil || got != want {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, in := range []string{`[]`, `"x"`, `{"type":1}`, `{"session":{}}`, `{"identifier":"amy"}`,
		`{"session":"` + strings.Repeat("x", maxSession+1) + `"}`} {
		if _, err := ParseAttempt(json.RawMessage(in)); !errs.Is(err, errs.Invalid) {
			t.Errorf("%.40s: %v", in, err)
		}
	}
}

func TestIdentifier(t *testing.T) {
	email := func(address string) string { return "of " + address }
	for _, c := range []struct {
		in                    Identifier
		user, medium, address string // legacy
		want                  string
		bad                   bool
	}{
		{want: ""},
		{user: "amy", want: "amy"},
		{in: Identifier{Type: IdentifierUser, User: "bob"}, user: "amy", want: "bob"},
		{in: Identifier{User: "bob"}, want: "bob"},
		{in: Identifier{Type: IdentifierThreepid, Medium: "email", Address: "a@b"}, want: "of a@b"},
		{in: Identifier{Medium: "email", Address: "a@b"}, want: "of a@b"},
		{medium: "email", address: "a@b", want: "of a@b"},
		{in: Identifier{Type: "m.id.phone"}, bad: true},
		{in: Identifier{Type: IdentifierThreepid, Medium: "msisdn", Address: "44"}, bad: true},
		{medium: "msisdn", address: "44", bad: true},
		{in: Identifier{Type: IdentifierThreepid, Medium: "pigeon"}, bad: true},
		{in: Identifier{Type: "m.id.pope", User: "amy"}, bad: true},
	} {
		got, err := c.in.Legacy(c.user, c.medium, c.address).Resolve(email)
		if got != c.want || (err != nil) != c.bad || c.bad && !errs.Is(err, errs.Unsupported) {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestInteractive(t *testing.T) {
	down := errs.New("test", errs.Unavailable, "", "down")
	check := func(_ context.Context, _ string, a Attempt) (string, error) {
		switch a.Password {
		case "right":
			return "", nil
		case "down":
			return "", down
		}
		return "", errs.New("test", errs.Forbidden, "", "the password is wrong")
	}
	call := func(stage string) Call { return Call{Flows: []Flow{{Stages: []string{stage}}}, Check: check} }
	for _, c := range []struct {
		name    string
		attempt Attempt
		stage   string
		pass    bool
		cause   errs.Code // of the challenge
	}{
		{"none", Attempt{}, Dummy, false, "none"},
		{"session alone", Attempt{Session: "s"}, Dummy, false, "none"},
		{"dummy", Attempt{Type: Dummy}, Dummy, true, ""},
		{"dummy with a session", Attempt{Type: Dummy, Session: "from another site"}, Dummy, true, ""},
		{"dummy where a password is wanted", Attempt{Type: Dummy, Session: "s"}, Password, false, errs.Unrecognized},
		{"password where dummy is wanted", Attempt{Type: Password, Password: "right"}, Dummy, false, errs.Unrecognized},
		{"unknown stage", Attempt{Type: "m.login.sso"}, Password, false, errs.Unrecognized},
		{"right", Attempt{Type: Password, Password: "right"}, Password, true, ""},
		{"wrong", Attempt{Type: Password, Password: "wrong", Session: "s"}, Password, false, ""},
	} {
		p, err := call(c.stage).Interactive(t.Context(), c.attempt)
		if c.pass {
			if err != nil || p.Session == "" {
				t.Errorf("%s: %v %v", c.name, p, err)
			}
			continue
		}
		ch := challenged(t, err)
		if len(ch.Flows) != 1 || len(ch.Flows[0].Stages) != 1 || ch.Flows[0].Stages[0] != c.stage {
			t.Errorf("%s: flows %v", c.name, ch.Flows)
		}
		if ch.Session == "" || c.attempt.Session != "" && ch.Session != c.attempt.Session {
			t.Errorf("%s: session %q", c.name, ch.Session)
		}
		var e *errs.Error
		if errors.As(ch.Cause, &e) == (c.cause == "none") || e != nil && e.Code != c.cause {
			t.Errorf("%s: cause %v", c.name, ch.Cause)
		}
	}
	if _, err := call(Password).Interactive(t.Context(), Attempt{Type: Password, Password: "down"}); !errors.Is(err, down) {
		t.Errorf("an outage became %v", err)
	}
}

func challenged(t *testing.T, err error) *Challenge {
	t.Helper()
	var ch *Challenge
	if !errors.As(err, &ch) {
		t.Fatalf("no challenge: %v", err)
	}
	return ch
}

// rememberer is the progress of sessions, in memory.
type rememberer struct {
	stages map[string]map[string]string
	down   bool
}

func (r *rememberer) Stages(session string) map[string]string { return maps.Clone(r.stages[session]) }

func (r *rememberer) PassStage(_ context.Context, session, stage, note string) error {
	if r.down {
		return errs.New("test", errs.Unavailable, "", "down")
	}
	if r.stages[session] == nil {
		r.stages[session] = map[string]string{}
	}
	r.stages[session][stage] = note
	return nil
}

// TestStages passes flows of several stages, in any order, each with a request of its own.
func TestStages(t *testing.T) {
	r := &rememberer{stages: map[string]map[string]string{"s": {}, "u": {}, "v": {}}}
	checks := 0
	call := Call{Progress: r, Flows: []Flow{{[]string{Terms, Email}}, {[]string{Terms, Dummy}}},
		Check: func(_ context.Context, session string, a Attempt) (string, error) {
			checks++
			if a.Type == Email && a.Creds.Session == "" {
				return "", errs.New("test", errs.Unauthenticated, errs.ThreepidAuth, "not yet")
			}
			return a.Type + " in " + session, nil
		}}
	step := func(a Attempt) (Passed, error) { return call.Interactive(t.Context(), a) }

	ch := challenged(t, second(step(Attempt{Type: Terms, Session: "s"})))
	if ch.Session != "s" || ch.Cause != nil || !slices.Equal(ch.Completed, []string{Terms}) {
		t.Errorf("%+v", ch)
	}
	challenged(t, second(step(Attempt{Type: Terms, Session: "s"}))) // sent again
	if checks != 1 {
		t.Error("a passed stage was checked again")
	}
	if ch = challenged(t, second(step(Attempt{Type: Email, Session: "s"}))); ch.Cause == nil || !slices.Equal(ch.Completed, []string{Terms}) {
		t.Errorf("%+v", ch)
	}
	p, err := step(Attempt{Type: Email, Session: "s", Creds: Credentials{Session: "1"}})
	if err != nil || p.Session != "s" || p.Notes[Terms] != "m.login.terms in s" || p.Notes[Email] == "" {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := step(Attempt{Type: Dummy, Session: "s"}); err != nil { // the other flow
		t.Error(err)
	}

	// Another order; and another session has passed nothing.
	challenged(t, second(step(Attempt{Type: Dummy, Session: "u"})))
	if ch = challenged(t, second(step(Attempt{Type: Dummy, Session: "v"}))); !slices.Equal(ch.Completed, []string{Dummy}) {
		t.Errorf("%+v", ch)
	}
	if _, err := step(Attempt{Type: Terms, Session: "u"}); err != nil {
		t.Error(err)
	}
	// Stages that were passed elsewhere, as on a fallback page.
	r.stages["v"][Terms] = ""
	if _, err := step(Attempt{Session: "v"}); err != nil {
		t.Error(err)
	}
	r.down = true
	if err := second(step(Attempt{Type: Terms, Session: "w"})); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an outage became %v", err)
	}
}

func second(_ Passed, err error) error { return err }

func TestSessionsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		_, err := Call{Flows: []Flow{{[]string{Dummy}}}}.Interactive(t.Context(), Attempt{})
		if ch := challenged(t, err); seen[ch.Session] {
			t.Fatal("twice the same")
		} else {
			seen[ch.Session] = true
		}
	}
}

func TestPass(t *testing.T) {
	r := &rememberer{stages: map[string]map[string]string{}}
	refused := errs.New("test", errs.Forbidden, "", "no")
	call := Call{Progress: r, Flows: []Flow{{[]string{Terms}}}, Check: func(_ context.Context, _ string, a Attempt) (string, error) {
		if a.Token == "wrong" {
			return "", refused
		}
		return "noted", nil
	}}
	if err := call.Pass(t.Context(), Attempt{Type: Terms}); !errs.Is(err, errs.Invalid) {
		t.Errorf("without a session: %v", err)
	}
	if err := call.Pass(t.Context(), Attempt{Type: Email, Session: "s"}); !errs.Is(err, errs.Forbidden) {
		t.Errorf("a stage of no flow: %v", err)
	}
	if err := call.Pass(t.Context(), Attempt{Type: Terms, Session: "s", Token: "wrong"}); !errors.Is(err, refused) {
		t.Errorf("refused: %v", err)
	}
	for range 2 { // whoever presses twice is let pass
		if err := call.Pass(t.Context(), Attempt{Type: Terms, Session: "s"}); err != nil {
			t.Error(err)
		}
	}
	p, err := call.Interactive(t.Context(), Attempt{Session: "s"})
	if err != nil || p.Notes[Terms] != "noted" {
		t.Errorf("%+v %v", p, err)
	}
	r.down = true
	if err := call.Pass(t.Context(), Attempt{Type: Terms, Session: "other"}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an outage became %v", err)
	}
}
