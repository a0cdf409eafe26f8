package ephemeral

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/id"
)

const anna, phone = id.UserID("@amy:x"), id.DeviceID("PHONE")

// pair are two sites that hear each other.
type pair struct {
	w    *wire
	a, b *Presence
}

func newPair(t *testing.T) *pair {
	p := &pair{w: &wire{}}
	p.a, p.b = p.site("a/1"), p.site("b/1")
	t.Cleanup(func() { p.a.Close(); p.b.Close() })
	return p
}

func (p *pair) site(origin string) *Presence {
	s := NewPresence(PresenceConfig{Bus: p.w, Origin: origin})
	s.Start()
	return s
}

// is checks what both sites say of amy.
func (p *pair) is(t *testing.T, when string, a, b PresenceState, message string) {
	t.Helper()
	time.Sleep(tellEvery)
	synctest.Wait()
	for i, want := range []PresenceState{a, b} {
		if got := []*Presence{p.a, p.b}[i].Of(anna); got.State != want || got.Message != message {
			t.Errorf("%s: site %d says %+v, want %s %q", when, i, got, want, message)
		}
	}
}

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.is(t, "nobody", Offline, Offline, "")
		p.a.Seen(anna, phone, Online, 0)
		p.is(t, "seen", Online, Online, "")
		hello := "hello"
		p.b.Set(anna, "DESK", Unavailable, &hello)
		p.is(t, "a message, by another device at another site", Online, Online, hello)
		time.Sleep(presenceGrace + sweepEvery)
		p.is(t, "gone", Offline, Offline, hello)

		for range 11 {
			p.b.Seen(anna, phone, Online, 30*time.Second)
			time.Sleep(30 * time.Second)
		}
		p.is(t, "idle", Unavailable, Unavailable, hello)
		for _, s := range []*Presence{p.a, p.b} { // as all sites see what is sent
			s.Active(anna)
		}
		p.is(t, "active", Online, Online, hello)
		if s := p.a.Of(anna); !s.CurrentlyActive() || time.Since(s.Active) > time.Second {
			t.Errorf("%+v", s)
		}

		p.b.Seen(anna, phone, Offline, 30*time.Second)
		p.is(t, "asks not to be seen", Offline, Offline, hello)
		p.b.Seen(anna, phone, Unavailable, 30*time.Second)
		p.is(t, "unavailable of her own will", Unavailable, Unavailable, hello)
		p.a.Seen(anna, "DESK", Online, 30*time.Second)
		p.is(t, "online on another device", Online, Online, hello)
		p.a.Seen(anna, "DESK", Offline, 0)
		p.is(t, "and gone from it", Unavailable, Unavailable, hello)

		late := p.site("c/1")
		defer late.Close()
		time.Sleep(tellEvery)
		synctest.Wait()
		if got := late.Of(anna); got.State != Unavailable || got.Message != hello {
			t.Errorf("a site that begins has %+v", got)
		}
		p.w.cut = true
		p.b.Seen(anna, phone, Offline, 0)
		p.is(t, "cut", Unavailable, Offline, hello)
		time.Sleep(believedFor + sweepEvery)
		p.is(t, "a site that is not heard is not believed for ever", Offline, Offline, hello)
		p.w.cut = false
		p.a.Seen(anna, phone, Online, time.Hour)
		time.Sleep(retellAfter + sweepEvery)
		p.is(t, "heard again", Online, Online, hello)
		time.Sleep(10 * time.Minute)
		p.is(t, "still there, for the others too", Unavailable, Unavailable, hello)
	})
}

// TestPresenceNumbers: each change has a number, and who asks is told what came after one.
func TestPresenceNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken []string
		p := NewPresence(PresenceConfig{Changed: func(u id.UserID) { woken = append(woken, u.Localpart()) }})
		p.Start()
		defer p.Close()
		since := func(seq uint64, want string) uint64 {
			t.Helper()
			changes, now := p.Since(seq)
			var got []string
			for _, c := range changes {
				got = append(got, fmt.Sprintf("%s:%s", c.User.Localpart(), c.State))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("since %d: %q, want %q", seq, got, want)
			}
			return now
		}
		since(0, "")
		p.Seen("@amy:x", "A", Online, 0)
		p.Seen("@bob:x", "A", Unavailable, 0)
		one := since(0, "bob:unavailable amy:online")
		p.Seen("@amy:x", "A", Online, 0)
		p.Active("@amy:x")
		p.Active("@eve:x")
		p.Seen("@eve:x", "A", Offline, 0)
		since(one, "")
		p.Seen("@bob:x", "A", Online, 0)
		since(one, "bob:online")
		time.Sleep(presenceGrace + sweepEvery)
		synctest.Wait()
		changes, _ := p.Since(one)
		if len(changes) != 2 || len(p.people) != 2 || len(woken) != 5 {
			t.Errorf("%v, %d people, %v", changes, len(p.people), woken)
		}
	})
}

// TestPresenceHears nothing that it does not understand.
func TestPresenceHears(t *testing.T) {
	p := NewPresence(PresenceConfig{Bus: &wire{}, Origin: "a/1"})
	p.Start()
	defer p.Close()
	for _, msg := range []string{``, `[]`, `{`, `{"people":[{}]}`, `{"people":[{"user":"amy","state":"online"}]}`,
		`{"people":[{"user":"@amy:x","state":"away"}]}`, `{"origin":"a/1","people":[{"user":"@amy:x","state":"online"}]}`,
		`{"people":[{"user":"@amy:x","state":"offline"}]}`} {
		p.heard([]byte(msg))
	}
	if changes, seq := p.Since(0); len(changes) != 0 || seq != 0 || len(p.people) != 0 {
		t.Errorf("%+v", changes)
	}
	p.heard([]byte(`{"origin":"b/1","people":[{"user":"@amy:x","state":"online","active":-5,"message":"` + strings.Repeat("x", MaxStatus+1) + `"}]}`))
	if got := p.Of("@amy:x"); got.State != Online || got.Message != "" {
		t.Errorf("%+v", got)
	}
}
