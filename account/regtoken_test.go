package account

import (
	"sync"
	"sync/atomic"
	"testing"

	"bongsu/errs"
	"bongsu/replica/replicatest"
)

// regToken makes a registration token.
func (s *service) regToken(t testing.TB, token RegistrationToken) string {
	t.Helper()
	out, err := s.AddRegistrationToken(t.Context(), "", token)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// invited registers a name with a token, in a session.
func (s *service) invited(t testing.TB, token, session, name string) error {
	t.Helper()
	note, err := s.Reserve(t.Context(), token, session)
	if err != nil {
		return err
	}
	_, err = s.Register(t.Context(), Registration{Localpart: name, Password: pw, Nonce: session, Session: session, Invite: note})
	return err
}

// counts waits until the uses of the only token are counted: they arrive through the outbox.
func (s *service) counts(t testing.TB, completed, pending uint32) {
	t.Helper()
	for {
		got := s.RegistrationTokens()[0]
		if got.Completed == completed && got.Pending == pending {
			return
		}
		if t.Context().Err() != nil || got.Completed > completed {
			t.Fatalf("%+v", got)
		}
		s.register(t, "x"+newLocalpart())
	}
}

func TestRegistrationTokens(t *testing.T) {
	s := newService(t, replicatest.Options{})
	token := s.regToken(t, RegistrationToken{Name: "friends", Uses: 2})
	if !s.ValidRegistrationToken(token) || s.ValidRegistrationToken("other") {
		t.Error("valid?")
	}
	refused(t, s.invited(t, "other", "s0", "amy"), errs.Forbidden, "")

	if err := s.invited(t, token, "s1", "amy"); err != nil {
		t.Fatal(err)
	}
	if err := s.invited(t, token, "s1", "amy"); err != nil { // the answer was lost
		t.Fatal(err)
	}
	refused(t, s.invited(t, token, "s1", "bob"), errs.Forbidden, "") // one account for each session
	s.counts(t, 1, 0)

	// A name that is taken gives the use back for another name.
	refused(t, s.invited(t, token, "s2", "amy"), errs.Conflict, errs.UserInUse)
	if err := s.invited(t, token, "s2", "bob"); err != nil {
		t.Fatal(err)
	}
	s.counts(t, 2, 0)
	refused(t, s.invited(t, token, "s3", "carl"), errs.Forbidden, "")
	if s.ValidRegistrationToken(token) {
		t.Error("valid, and used up")
	}

	for _, bad := range []string{"with space", "ü", string(make([]byte, 65))} {
		_, err := s.AddRegistrationToken(t.Context(), bad, RegistrationToken{Name: "x"})
		refused(t, err, errs.Invalid, errs.InvalidParam)
	}
	_, err := s.AddRegistrationToken(t.Context(), "", RegistrationToken{Name: "friends"})
	refused(t, err, errs.Conflict, "")
	if err := s.RemoveRegistrationToken(t.Context(), "friends"); err != nil || len(s.RegistrationTokens()) != 0 {
		t.Error(err)
	}
	refused(t, s.RemoveRegistrationToken(t.Context(), "friends"), errs.NotFound, "")
}

// TestRegistrationTokenEnds waits out a token, and a reservation that nobody uses.
func TestRegistrationTokenEnds(t *testing.T) {
	s := newService(t, replicatest.Options{})
	s.register(t, "clock")
	once := s.regToken(t, RegistrationToken{Name: "once", Uses: 1})
	if _, err := s.Reserve(t.Context(), once, "left"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Reserve(t.Context(), once, "another")
	refused(t, err, errs.Forbidden, "")
	// Live time goes on by five seconds with a record at most.
	for s.RegistrationTokens()[0].Pending > 0 {
		s.site.now.Add(5000)
		if err := s.SetProfile(t.Context(), "@clock:example.org", "displayname", []byte(`"`+newLocalpart()+`"`)); err != nil {
			t.Fatal(err)
		}
		_, _ = s.AddRegistrationToken(t.Context(), once, RegistrationToken{Name: "again"}) // refused, and moves time in the slot's partition
	}
	if err := s.invited(t, once, "third", "carl"); err != nil {
		t.Error(err)
	}

	soon := s.regToken(t, RegistrationToken{Name: "soon", Expires: s.wall(registrationSlot()) + 1})
	s.site.now.Add(1000)
	s.regToken(t, RegistrationToken{Name: "tick"})
	if s.ValidRegistrationToken(soon) {
		t.Error("valid after its end")
	}
	refused(t, s.invited(t, soon, "fourth", "dora"), errs.Forbidden, "")
}

// TestOneUseManySessions has many registrations race for the last use.
func TestOneUseManySessions(t *testing.T) {
	s := newService(t, replicatest.Options{})
	token := s.regToken(t, RegistrationToken{Name: "one", Uses: 1})
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			session := "s" + string(rune('a'+i%5)) // some share a session, and want other names
			if s.invited(t, token, session, "user"+string(rune('a'+i))) == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d accounts with one use", won.Load())
	}
}

func TestLoginTokens(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy")
	token, err := s.LoginToken(t.Context(), s.proof(t, "amy"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.TokenLogin(t.Context(), token, NewSession{Device: "TV", Refresh: true})
	if err != nil || l.User != amy.User || l.Device != "TV" || l.Refresh == "" || !s.known(t, l) || !s.known(t, amy) {
		t.Fatal(l, err)
	}
	bad := func(token string) {
		t.Helper()
		_, err := s.TokenLogin(t.Context(), token, NewSession{})
		refused(t, err, errs.Forbidden, "")
	}
	bad(token) // once
	bad(amy.Token)
	bad("x")

	old := s.proof(t, "amy")
	before, err := s.LoginToken(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	late, err := s.LoginToken(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	s.site.now.Add(LoginTokenLife.Milliseconds())
	for range 5 { // time passes a minute with a record
		if err := s.RenameDevice(t.Context(), amy.User, amy.Device, newLocalpart()); err != nil {
			t.Fatal(err)
		}
	}
	bad(late)
	bad(before)
	after, err := s.LoginToken(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ChangePassword(t.Context(), old, pw+"2", false, ""); err != nil {
		t.Fatal(err)
	}
	bad(after) // whoever stole the password does not get in with what was made of it
	_, err = s.LoginToken(t.Context(), old)
	refused(t, err, errs.Forbidden, "")
}
