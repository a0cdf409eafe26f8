package account

import (
	"context"
	"strings"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// owned waits until the outbox has brought whose an address is.
func (s *service) owned(t testing.TB, address string, want id.UserID) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); Owner(s.Rows(), address) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s is %q's, not %q's", address, Owner(s.Rows(), address), want)
		}
	}
}

func TestAddresses(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy, bob := s.register(t, "amy").User, s.register(t, "bob").User
	add := func(user id.UserID, address string) error {
		return s.AddAddress(t.Context(), user, Confirmation{Address: address, Confirmed: 7})
	}
	for _, address := range []string{"a@h", "b@h"} {
		if err := add(amy, address); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, add(bob, "a@h"), errs.Conflict, errs.ThreepidInUse)
	if got := s.Addresses(amy); len(got) != 2 || got[0].Address != "a@h" || got[0].Confirmed != 7 || got[0].Added == 0 || s.Addresses(bob) != nil {
		t.Errorf("%+v", got)
	}
	if s.ByAddress("A@H ") != amy || s.ByAddress("c@h") != "" || s.ByAddress("nonsense") != "" {
		t.Error("not found")
	}
	if err := s.RemoveAddress(t.Context(), amy, "A@h"); err != nil || Owner(s.Rows(), "a@h") != "" {
		t.Error(err)
	}
	if err := s.RemoveAddress(t.Context(), bob, "b@h"); err != nil || Owner(s.Rows(), "b@h") != amy {
		t.Error("not bob's to remove", err)
	}
	if err := add(bob, "a@h"); err != nil {
		t.Error(err)
	}

	// A closed account gives its addresses back, also one that comes too late.
	if err := s.Deactivate(t.Context(), s.proof(t, "amy"), true); err != nil {
		t.Fatal(err)
	}
	s.owned(t, "b@h", "")
	if a, _ := Find(s.Rows(), amy); !a.Erased {
		t.Error("not erased")
	}
	if err := add(amy, "late@h"); err != nil {
		t.Fatal(err)
	}
	s.owned(t, "late@h", "")
	if err := add(bob, "b@h"); err != nil {
		t.Error(err)
	}
}

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]string{
		"Amy@Example.org": "amy@example.org", " a+b@h ": "a+b@h", "ü@h": "ü@h",
		"": "", "a": "", "a@": "", "@h": "", "Amy <a@h>": "", "a@h,b@h": "", "a b@h": "", "a@h\r\nBcc: b@h": "", strings.Repeat("a", 250) + "@example.org": "",
	} {
		got, err := ParseAddress(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("amy@example.org")
	f.Add("\"a b\"@h")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParseAddress(in)
		if again, e := ParseAddress(got); err == nil && (e != nil || again != got) {
			t.Errorf("%q: %q, then %q %v", in, got, again, e)
		}
	})
}

// TestConfirmations has the whole life of a session.
func TestConfirmations(t *testing.T) {
	s := newService(t, replicatest.Options{})
	var sent []string
	var down error
	s.cfg.PublicURL = "https://h"
	s.cfg.Mail = func(_ context.Context, _, _, text string) error {
		if down == nil {
			sent = append(sent, text)
		}
		return down
	}
	rq := Request{Purpose: ForRegistration, Address: "a@h", Secret: "s", Attempt: 1}
	ask := func(n int) string {
		t.Helper()
		session, err := s.RequestConfirmation(t.Context(), rq)
		if err != nil || len(sent) != n {
			t.Fatalf("%v, %d messages", err, len(sent))
		}
		return session
	}
	session := ask(1)
	ask(1)
	first := link(t, sent[0])
	rq.Attempt = 2
	ask(2)
	_, err := s.Confirm(t.Context(), session, first) // only the latest link
	refused(t, err, errs.Forbidden, errs.ThreepidAuth)
	rq.Attempt = 3
	down = errs.New("test", errs.Unavailable, "", "down")
	_, err = s.RequestConfirmation(t.Context(), rq)
	refused(t, err, errs.Unavailable, "")
	down = nil
	ask(3)
	if next, err := s.Confirm(t.Context(), session, link(t, sent[2])); err != nil || next != "" {
		t.Error(next, err)
	}
	if c, err := s.Confirmed(ForRegistration, session, "s"); err != nil || c.Address != "a@h" || c.Confirmed == 0 {
		t.Errorf("%+v %v", c, err)
	} else if again, ok := ParseConfirmation(c.Note()); !ok || again.Address != c.Address || again.Confirmed != c.Confirmed {
		t.Errorf("%+v", again)
	}
	for _, bad := range []struct {
		purpose         Purpose
		session, secret string
	}{{ForPassword, session, "s"}, {ForRegistration, session, "x"}, {ForRegistration, "x", "s"}, {ForRegistration, "", ""}} {
		_, err := s.Confirmed(bad.purpose, bad.session, bad.secret)
		refused(t, err, errs.Forbidden, errs.ThreepidAuth)
	}
	if _, ok := ParseConfirmation(""); ok {
		t.Error("nothing is a confirmation")
	}

	// An hour of live time ends it.
	if _, err := s.Submit(t, kindConfirmEnd, session, beginBody{Session: session}); err != nil {
		t.Fatal(err)
	}
	_, err = s.Confirmed(ForRegistration, session, "s")
	refused(t, err, errs.Forbidden, errs.ThreepidAuth)
}

// link is the token of the link in a message.
func link(t testing.TB, text string) string {
	t.Helper()
	_, token, ok := strings.Cut(text, "&token=")
	if !ok {
		t.Fatal(text)
	}
	token, _, _ = strings.Cut(token, "\n")
	return token
}

// Submit proposes something in the slot of a session, as a timer does.
func (s *service) Submit(t testing.TB, kind, session string, body any) ([]byte, error) {
	return s.site.Submit(t.Context(), replica.Proposal{Kind: kind, Slot: id.SlotOf(session), Body: replica.Marshal(body)})
}
