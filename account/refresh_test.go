package account

import (
	"context"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/replica/replicatest"
)

// in checks what becomes of an access token.
func (s *service) in(t testing.TB, token string, want errs.Code) {
	t.Helper()
	_, err := s.Authenticate(t.Context(), token)
	if want == "" {
		if err != nil {
			t.Errorf("not let in: %v", err)
		}
		return
	}
	refused(t, err, errs.Unauthenticated, want)
}

func (s *service) refresh(t testing.TB, l Login) Login {
	t.Helper()
	out, err := s.Refresh(t.Context(), l.Refresh)
	if err != nil {
		t.Fatal(err)
	}
	if out.User != l.User || out.Device != l.Device || out.Life != s.cfg.TokenLife || out.Refresh == "" || out.Refresh == l.Refresh {
		t.Fatalf("%+v", out)
	}
	return out
}

func TestRefresh(t *testing.T) {
	s := newService(t, replicatest.Options{})
	first, err := s.Register(t.Context(), Registration{Localpart: "amy", Password: pw, Refresh: true})
	if err != nil || first.Refresh == "" || first.Life != time.Hour {
		t.Fatal(first, err)
	}
	old := s.register(t, "bob") // knows no refresh tokens: its token has no end
	if old.Refresh != "" || old.Life != 0 {
		t.Error(old)
	}

	// Three answers are lost; the pair of any of them is good, and its use ends all others.
	lost, kept, late := s.refresh(t, first), s.refresh(t, first), s.refresh(t, first)
	s.in(t, first.Token, "")
	s.in(t, kept.Token, "")
	for _, l := range []Login{first, lost, late} {
		s.in(t, l.Token, errs.UnknownToken)
		_, err := s.Refresh(t.Context(), l.Refresh)
		refused(t, err, errs.Unauthenticated, errs.UnknownToken)
	}

	// The end of a token's time is no logout.
	s.site.now.Add(time.Hour.Milliseconds())
	s.register(t, "clock") // time goes on with what is written
	for _, name := range []string{"carl", "dora", "emil", "fred", "gina", "hugo", "ines"} {
		s.register(t, name)
	}
	s.in(t, kept.Token, errs.TokenExpired)
	s.in(t, old.Token, "")
	s.in(t, s.refresh(t, kept).Token, "")

	for _, token := range []string{"", "x", kept.Token, first.Refresh} {
		_, err := s.Refresh(t.Context(), token)
		refused(t, err, errs.Unauthenticated, errs.UnknownToken)
	}
}

// TestPairsAreBounded refreshes again and again without ever using what comes.
func TestPairsAreBounded(t *testing.T) {
	s := newService(t, replicatest.Options{})
	first, err := s.Register(t.Context(), Registration{Localpart: "amy", Password: pw, Refresh: true})
	if err != nil {
		t.Fatal(err)
	}
	oldest := s.refresh(t, first)
	for range maxPairs {
		s.refresh(t, first)
	}
	s.in(t, oldest.Token, errs.UnknownToken)
	s.in(t, first.Token, "")
	if l, _ := readLease(s.Rows(), first.User, first.Device); len(l.waiting) != maxPairs {
		t.Errorf("%d pairs", len(l.waiting))
	}
}

// TestRefreshOfOldRules gives no refresh tokens while a site may run a build that would not keep them, and proposes nothing that would
// halt it.
func TestRefreshOfOldRules(t *testing.T) {
	s := newService(t, replicatest.Options{Rules: 2})
	l, err := s.Register(t.Context(), Registration{Localpart: "amy", Password: pw, Refresh: true})
	if err != nil || l.Refresh != "" || l.Life != 0 {
		t.Fatal(l, err)
	}
	s.in(t, l.Token, "")
	refused(t, s.Lock(t.Context(), l.User, true, true), errs.Unavailable, "")
}

func TestModeration(t *testing.T) {
	s := newService(t, replicatest.Options{})
	ses := NewSessions(s.Service)
	amy := s.register(t, "amy")
	look := func() Session {
		t.Helper()
		for n := s.site.next(t, false); n != nil; n = s.site.next(t, false) {
			if r, ok := n.(Revoked); ok {
				ses.mu.Lock()
				delete(ses.known, r.Token)
				ses.mu.Unlock()
			}
		}
		got, err := ses.Authenticate(t.Context(), amy.Token)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	set := func(f func(context.Context) error) {
		t.Helper()
		if err := f(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := look(); got.Locked || got.Suspended {
		t.Error(got)
	}
	set(func(ctx context.Context) error { return s.Lock(ctx, amy.User, true, false) })
	if got := look(); !got.Locked || got.Suspended {
		t.Error(got)
	}
	_, err := s.CheckPassword(t.Context(), "amy", pw)
	refused(t, err, errs.Unauthenticated, errs.UserLocked)
	_, err = s.CheckPassword(t.Context(), "amy", "wrong") // who does not know the password does not learn it
	refused(t, err, errs.Forbidden, "")
	set(func(ctx context.Context) error { return s.Suspend(ctx, amy.User, true, false) })
	set(func(ctx context.Context) error { return s.Lock(ctx, amy.User, false, false) })
	if got := look(); got.Locked || !got.Suspended {
		t.Error(got)
	}
	s.proof(t, "amy")
	refused(t, s.Lock(t.Context(), "@nobody:example.org", true, false), errs.NotFound, "")
}
