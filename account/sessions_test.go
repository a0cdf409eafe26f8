package account

import (
	"sync"
	"testing"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// between reads rows and does something before the reader gets what was read.
type between struct {
	kv.Reader
	then func()
	gets int
}

func (b *between) Get(key []byte) []byte {
	b.gets++
	v := b.Reader.Get(key)
	if b.then != nil {
		b.then()
	}
	return v
}

// TestSessionsFollowTheRows asks for tokens that come, are replaced, and go.
func TestSessionsFollowTheRows(t *testing.T) {
	rows := &between{}
	ses := NewSessions(&Service{cfg: Config{Replica: new(replica.Replica)}})
	s := newService(t, replicatest.Options{Sink: ses.Committed})
	rows.Reader = s.Rows()
	ses.service, ses.rows = s.Service, rows
	expect := func(token, want string) {
		t.Helper()
		got, err := ses.Authenticate(t.Context(), token)
		if want == "" && (!errs.Is(err, errs.Unauthenticated)) || want != "" && (err != nil || got.Device != id.DeviceID(want)) {
			t.Errorf("%v, %v; want %q", got, err, want)
		}
	}
	amy, err := s.Register(t.Context(), Registration{Localpart: "amy", Password: pw, Device: "PHONE"})
	if err != nil {
		t.Fatal(err)
	}
	expect(amy.Token, "PHONE")
	n := rows.gets
	expect(amy.Token, "PHONE")
	if rows.gets != n {
		t.Error("the rows were asked again")
	}
	expect("bgs_nonsense", "")
	proof, err := s.CheckPassword(t.Context(), "amy", pw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Login(t.Context(), proof, NewSession{Device: "PHONE"})
	if err != nil {
		t.Fatal(err)
	}
	expect(amy.Token, "")
	expect(again.Token, "PHONE")
	if err := s.Logout(t.Context(), Session{User: amy.User, Device: "PHONE"}, again.Token); err != nil {
		t.Fatal(err)
	}
	expect(again.Token, "")

	// The token ends between the reading of its row and the remembering.
	third, err := s.Login(t.Context(), proof, NewSession{Device: "TABLET"})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	rows.then = func() {
		once.Do(func() {
			if err := s.Logout(t.Context(), Session{User: amy.User, Device: "TABLET"}, third.Token); err != nil {
				t.Error(err)
			}
		})
	}
	expect(third.Token, "TABLET") // it was, when it was asked
	expect(third.Token, "")

	// What was remembered of rows that are gone is forgotten.
	fourth, err := s.Login(t.Context(), proof, NewSession{Device: "TV"})
	if err != nil {
		t.Fatal(err)
	}
	expect(fourth.Token, "TV")
	n = rows.gets
	ses.Committed(replica.Commit{Remade: true})
	expect(fourth.Token, "TV")
	if rows.gets == n {
		t.Error("remembered from rows that were discarded")
	}
}
