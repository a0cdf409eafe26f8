package account

import (
	"testing"

	"bongsu/errs"
	"bongsu/replica/replicatest"
)

func TestOpenIDTokens(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy")
	token := func() string {
		t.Helper()
		token, err := s.OpenIDToken(t.Context(), amy.User)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := func(token string) {
		t.Helper()
		if user, err := s.OpenIDUser(token); user != amy.User || err != nil {
			t.Errorf("%s %v", user, err)
		}
	}
	bad := func(token string) {
		t.Helper()
		_, err := s.OpenIDUser(token)
		refused(t, err, errs.Unauthenticated, errs.UnknownToken)
	}
	later := func() { // time passes a minute with a record
		t.Helper()
		for range 2 + OpenIDLife.Milliseconds()/60_000 {
			if err := s.RenameDevice(t.Context(), amy.User, amy.Device, newLocalpart()); err != nil {
				t.Fatal(err)
			}
		}
	}
	one := token()
	good(one)
	good(one)
	bad(amy.Token)
	bad(one[:len(one)-1] + "x")
	bad("")
	if _, err := NewSessions(s.Service).Authenticate(t.Context(), one); !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("it lets in: %v", err)
	}

	s.site.now.Add(OpenIDLife.Milliseconds())
	later()
	bad(one)
	slot, hash, _ := parseSecret(openIDPrefix, one)
	if s.Rows().Get(openIDKey(slot, hash[:])) != nil {
		t.Error("the row is left")
	}

	two := token()
	if err := s.Lock(t.Context(), amy.User, true, true); err != nil {
		t.Fatal(err)
	}
	bad(two)
	if err := s.Lock(t.Context(), amy.User, false, true); err != nil {
		t.Fatal(err)
	}
	good(two)
	if err := s.SetPassword(t.Context(), amy.User, pw+"2", false); err != nil {
		t.Fatal(err)
	}
	bad(two)
	three := token()
	if err := s.CloseAccount(t.Context(), amy.User, false); err != nil {
		t.Fatal(err)
	}
	bad(three)
	if _, err := s.OpenIDToken(t.Context(), amy.User); !errs.Is(err, errs.Forbidden) {
		t.Errorf("a closed account: %v", err)
	}
}
