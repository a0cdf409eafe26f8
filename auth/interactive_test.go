package auth

import (
	"context"
	"encoding/json"
	"errors"
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
		`{"type":"m.login.password","identifier":{"type":"m.id.user","user":"amy"},"password":"p","session":""}`: {Type: Password, Identifier: Identifier{IdentifierUser, "amy"}, Password: "p"},
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
	if got, err := (Identifier{}).Name("amy"); got != "amy" || err != nil {
		t.Error(got, err)
	}
	if got, err := (Identifier{IdentifierUser, "bob"}).Name("amy"); got != "bob" || err != nil {
		t.Error(got, err)
	}
	if _, err := (Identifier{"m.id.phone", ""}).Name("amy"); !errs.Is(err, errs.Unsupported) {
		t.Error(err)
	}
}

func TestInteractive(t *testing.T) {
	down := errs.New("test", errs.Unavailable, "", "down")
	check := func(_ context.Context, a Attempt) error {
		switch a.Password {
		case "right":
			return nil
		case "down":
			return down
		}
		return errs.New("test", errs.Forbidden, "", "the password is wrong")
	}
	for _, c := range []struct {
		name    string
		attempt Attempt
		stage   string
		pass    bool
		cause   errs.Kind // of the challenge; Internal: none
	}{
		{"none", Attempt{}, Dummy, false, errs.Internal},
		{"session alone", Attempt{Session: "s"}, Dummy, false, errs.Internal},
		{"dummy", Attempt{Type: Dummy}, Dummy, true, 0},
		{"dummy with a session", Attempt{Type: Dummy, Session: "from another site"}, Dummy, true, 0},
		{"dummy where a password is wanted", Attempt{Type: Dummy, Session: "s"}, Password, false, errs.Invalid},
		{"password where dummy is wanted", Attempt{Type: Password, Password: "right"}, Dummy, false, errs.Invalid},
		{"unknown stage", Attempt{Type: "m.login.sso"}, Password, false, errs.Invalid},
		{"right", Attempt{Type: Password, Password: "right"}, Password, true, 0},
		{"wrong", Attempt{Type: Password, Password: "wrong", Session: "s"}, Password, false, errs.Forbidden},
	} {
		err := Interactive(t.Context(), c.attempt, c.stage, check)
		if c.pass {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		var ch *Challenge
		if !errors.As(err, &ch) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(ch.Flows) != 1 || len(ch.Flows[0].Stages) != 1 || ch.Flows[0].Stages[0] != c.stage {
			t.Errorf("%s: flows %v", c.name, ch.Flows)
		}
		if ch.Session == "" || c.attempt.Session != "" && ch.Session != c.attempt.Session {
			t.Errorf("%s: session %q", c.name, ch.Session)
		}
		if (c.cause == errs.Internal) != (ch.Cause == nil) || ch.Cause != nil && errs.KindOf(ch.Cause) != c.cause {
			t.Errorf("%s: cause %v", c.name, ch.Cause)
		}
	}
	if err := Interactive(t.Context(), Attempt{Type: Password, Password: "down"}, Password, check); !errors.Is(err, down) {
		t.Errorf("an outage became %v", err)
	}
}

func TestSessionsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		var ch *Challenge
		if err := Interactive(t.Context(), Attempt{}, Dummy, nil); !errors.As(err, &ch) || seen[ch.Session] {
			t.Fatal(err)
		}
		seen[ch.Session] = true
	}
}
