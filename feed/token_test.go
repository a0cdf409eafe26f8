package feed

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/replica"
)

func TestToken(t *testing.T) {
	for _, tok := range []Token{
		{Epoch: 1, Positions: []journal.Position{0}},
		{Epoch: 1, Positions: []journal.Position{1, 200, 30000, 4000000}, Inbox: replica.End(30000), Origin: 0xdeadbeef, Ephemeral: 77},
		{Epoch: math.MaxUint64, Positions: []journal.Position{math.MaxUint64}, Inbox: replica.Place{Pos: 5, Index: 6},
			Origin: math.MaxUint32, Ephemeral: math.MaxUint64},
		{Positions: []journal.Position{3}, Inbox: replica.Place{Pos: math.MaxUint64}},
	} {
		s := tok.String()
		got, err := ParseToken(s)
		if err != nil || !reflect.DeepEqual(got, tok) {
			t.Errorf("%s: %+v %v, want %+v", s, got, err, tok)
		}
		if s[0] != 's' || strings.ContainsAny(s, "+/=&?%") {
			t.Errorf("%s is not fit for a URL", s)
		}
		for i := range len(s) {
			if _, err := ParseToken(s[:i]); !errs.Is(err, errs.Invalid) {
				t.Errorf("cut to %d: %v", i, err)
			}
		}
		if _, err := ParseToken(s + "A"); !errs.Is(err, errs.Invalid) {
			t.Errorf("with one more: %v", err)
		}
	}
	typical := Token{Epoch: 1, Positions: []journal.Position{3e6, 3e6, 3e6, 3e6}, Inbox: replica.End(3e6), Origin: 1, Ephemeral: 1e6}
	if n := len(typical.String()); n > 50 {
		t.Errorf("a token of millions of records has %d bytes", n)
	}
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "s", "s\n", "p123", "sAQEB", "s72594_4483_1934", "s=", "sAQABAAAAAAAAAA"} {
		f.Add(s)
	}
	f.Add(Token{Epoch: 1, Positions: []journal.Position{1, 2, 3, 4}, Inbox: replica.End(3)}.String())
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if tok.String() != s {
			t.Fatalf("%q became %q", s, tok.String())
		}
	})
}
