package id

import (
	"strings"
	"testing"

	"bongsu/errs"
)

var long = strings.Repeat("x", MaxLen)

func TestParse(t *testing.T) {
	parsers := map[string]func(string) (string, error){
		"user":   func(s string) (string, error) { v, err := ParseUserID(s); return string(v), err },
		"room":   func(s string) (string, error) { v, err := ParseRoomID(s); return string(v), err },
		"event":  func(s string) (string, error) { v, err := ParseEventID(s); return string(v), err },
		"alias":  func(s string) (string, error) { v, err := ParseRoomAlias(s); return string(v), err },
		"device": func(s string) (string, error) { v, err := ParseDeviceID(s); return string(v), err },
		"server": func(s string) (string, error) { v, err := ParseServerName(s); return string(v), err },
	}
	for _, c := range []struct {
		what string
		good []string
		bad  []string
	}{
		{
			"user",
			[]string{"@amy:example.org", "@a.b_c=d-e/f+0:h:8448", "@Amy:Example.org", "@봉수:example.org", "@a b:h", "@a:[::1]:80", "@a:1.2.3.4"},
			[]string{
				"", "@", "amy", "@amy", "@:example.org", "@amy:", "#amy:h", "@amy:ex ample", "@amy:h:", "@amy:h:x", "@amy:h:123456",
				"@amy:h:1:2", "@a\x00:h", "@a\n:h", "@a\x7f:h", "@\xff:h", "@a:h/", "@a:[::1", "@" + long[:MaxLen-2] + ":h",
			},
		},
		{
			"room",
			[]string{"!a:example.org", "!Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg", "!x", "!" + long[1:]},
			[]string{"", "!", "x", "#x", "!\x00", "!\xff", "!" + long},
		},
		{
			"event",
			[]string{"$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg", "$1:example.org"},
			[]string{"", "$", "x", "!x", "$\n", "$\xff", "$" + long},
		},
		{
			"alias",
			[]string{"#lobby:example.org", "#로비:example.org:80", "#a/b#c:h"},
			[]string{"", "#", "#a", "#:h", "#a:", "@a:h", "#a\x00:h", "#a:h h", "#a:\xff", "#" + long + ":h"},
		},
		{
			"device",
			[]string{"ABCDEF", "a b", "기기", long},
			[]string{"", "a\n", "\x00", "\xff", long + "x"},
		},
		{
			"server",
			[]string{"matrix.org", "matrix.org:8888", "1.2.3.4:1", "[1234:5678::abcd]", "[1234:5678::abcd]:5678", "localhost", "a-b", long[:230]},
			[]string{
				"", ":", ":80", "a:", "a:b", "a:123456", "a:1:2", "[", "[]", "[]:80", "[x]", "[::1]80", "[::1]:", "[::1", "a_b", "a/b", "봉수", " a", "a\n",
				"a[::1]", long[:231], "[" + strings.Repeat("1", 46) + "]",
			},
		},
	} {
		parse := parsers[c.what]
		for _, s := range c.good {
			if got, err := parse(s); err != nil || got != s {
				t.Errorf("%s %q: %q, %v", c.what, s, got, err)
			}
		}
		for _, s := range c.bad {
			if got, err := parse(s); !errs.Is(err, errs.Invalid) || got != "" {
				t.Errorf("%s %q: %q, %v", c.what, s, got, err)
			}
		}
	}
}

func TestNewUserID(t *testing.T) {
	u, err := NewUserID("amy_1.x=-/+", "example.org:80")
	if err != nil || u != "@amy_1.x=-/+:example.org:80" {
		t.Fatalf("%q, %v", u, err)
	}
	if u.Localpart() != "amy_1.x=-/+" || u.Server() != "example.org:80" {
		t.Errorf("%q of %q", u.Localpart(), u.Server())
	}
	for _, s := range []string{"", "Amy", "a:b", "a b", "봉수", "a\x00", "@amy", long} {
		if u, err := NewUserID(s, "example.org"); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %q, %v", s, u, err)
		}
	}
}

// TestPartsAreTotal: the parts of a value that no parser has seen are something, not a panic.
func TestPartsAreTotal(t *testing.T) {
	for _, s := range []string{"", "@", ":", "@a", "a:b:c"} {
		_, _, _ = UserID(s).Localpart(), UserID(s).Server(), RoomAlias(s).Server()
	}
}

// TestSlotOf pins the slots of a few ids: rows are found by them, so they can never change.
func TestSlotOf(t *testing.T) {
	for s, want := range map[string]Slot{"@amy:example.org": 0x75e, "!x": 0x355, "": 0xe3b} {
		if got := SlotOf(s); got != want {
			t.Errorf("SlotOf(%q) = %#x, want %#x", s, got, want)
		}
	}
	seen := map[Slot]bool{}
	for i := range 40 * Slots {
		s := SlotOf(strings.Repeat("x", i%97) + string(rune('a'+i/97)))
		if s >= Slots {
			t.Fatalf("slot %d", s)
		}
		seen[s] = true
	}
	if len(seen) != Slots {
		t.Errorf("%d of %d slots are used", len(seen), Slots)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"@amy:example.org", "!x:y", "$x", "#a:[::1]:80", "[::1", "@a:h:1", "\xff", "@\x00:h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if u, err := ParseUserID(s); err == nil {
			if "@"+u.Localpart()+":"+string(u.Server()) != s {
				t.Errorf("%q has the parts %q and %q", s, u.Localpart(), u.Server())
			}
			if _, err := ParseServerName(string(u.Server())); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
		if a, err := ParseRoomAlias(s); err == nil {
			if _, err := ParseServerName(string(a.Server())); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
		for _, parse := range []func() error{
			func() error { _, err := ParseUserID(s); return err },
			func() error { _, err := ParseRoomID(s); return err },
			func() error { _, err := ParseEventID(s); return err },
			func() error { _, err := ParseRoomAlias(s); return err },
			func() error { _, err := ParseDeviceID(s); return err },
			func() error { _, err := ParseServerName(s); return err },
		} {
			err := parse()
			if err != nil && !errs.Is(err, errs.Invalid) {
				t.Errorf("%q: %v", s, err)
			}
			if err == nil && (len(s) > MaxLen || !clean(s) || s == "") {
				t.Errorf("%q was taken", s)
			}
		}
		if u, err := NewUserID(s, "example.org"); err == nil {
			if _, err := ParseUserID(string(u)); err != nil {
				t.Errorf("made %q: %v", u, err)
			}
		}
	})
}
