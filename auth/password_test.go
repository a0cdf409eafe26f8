package auth

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"bongsu/errs"
)

// fast hashes in microseconds.
func fast() *Passwords { return NewPasswords(Config{Memory: 8, Passes: 1}) }

func TestHashAndVerify(t *testing.T) {
	p := fast()
	for _, password := range []string{"correct horse", "", "패스워드", strings.Repeat("x", MaxPassword), "nul\x00byte"} {
		a, err := p.Hash(t.Context(), password)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := p.Hash(t.Context(), password)
		if a == b {
			t.Error("two hashes of one password have the same salt")
		}
		if !strings.HasPrefix(a, "$argon2id$v=19$m=8,t=1,p=1$") {
			t.Errorf("not in PHC format: %s", a)
		}
		for try, want := range map[string]bool{password: true, password + "x": false, "x" + password: false} {
			if got, err := p.Verify(t.Context(), a, try); err != nil || got != want {
				t.Errorf("verify %q against the hash of %q: %t %v", try, password, got, err)
			}
		}
		if ok, err := p.Verify(t.Context(), "", password); ok || err != nil {
			t.Errorf("a user without a password: %t %v", ok, err)
		}
	}
}

// TestForeignHash verifies a hash that another implementation made, with parameters of its own.
func TestForeignHash(t *testing.T) {
	// printf password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 -e: a test vector of the reference implementation.
	const ref = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	p := fast()
	if ok, err := p.Verify(t.Context(), ref, "password"); err != nil || !ok {
		t.Errorf("the reference hash: %t %v", ok, err)
	}
	if ok, err := p.Verify(t.Context(), ref, "differentpassword"); err != nil || ok {
		t.Errorf("the reference hash of another password: %t %v", ok, err)
	}
}

// TestUnknownUserCosts sees that the hash that stands for an unknown user takes the same work as a real one.
func TestUnknownUserCosts(t *testing.T) {
	p := NewPasswords(Config{})
	h, err := parsePHC(p.dummy)
	if err != nil || h.memory != 19<<10 || h.passes != 2 || h.threads != 1 || len(h.salt) != saltLen || len(h.key) != keyLen {
		t.Errorf("%s %v", p.dummy, err)
	}
}

func TestMalformedHashes(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	for _, s := range []string{
		"x", "$argon2id", "$argon2i$v=19$m=8,t=1,p=1$" + salt + "$" + key, "$argon2id$v=16$m=8,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=0,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=1,p=0$" + salt + "$" + key, "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=8,t=4294967295,p=1$" + salt + "$" + key, "$argon2id$v=19$t=1,m=8,p=1$" + salt + "$" + key,
		"$argon2id$v=19$m=7,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=1,p=1$%$" + key,
		"$argon2id$v=19$m=8,t=1,p=1$" + salt + "$%", "$argon2id$v=19$m=8,t=1,p=1$$" + key, "$argon2id$v=19$m=8,t=1,p=1$" + salt + "$",
		"$argon2id$v=19$m=-8,t=1,p=1$" + salt + "$" + key, "$argon2id$v=19$m=8,t=1,p=300$" + salt + "$" + key,
	} {
		if _, err := fast().Verify(t.Context(), s, "password"); err == nil {
			t.Errorf("%s was accepted", s)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			return
		}
		again, err := parsePHC(h.String())
		if err != nil || again.String() != h.String() {
			t.Errorf("%q is read as %v, and that as %v, %v", s, h, again, err)
		}
	})
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		min      int
		password string
		ok       bool
	}{
		{0, "1234567", false}, {0, "12345678", true}, {0, "비밀번호", false}, {0, "비밀번호비밀번호", true},
		{1, "", false}, {1, "x", true}, {1, strings.Repeat("x", MaxPassword), true}, {1, strings.Repeat("x", MaxPassword+1), false},
	} {
		err := NewPasswords(Config{MinPassword: c.min}).Check(c.password)
		if (err == nil) != c.ok || err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("at least %d: %q: %v", c.min, c.password, err)
		}
	}
}

// TestBoundedWork has many callers and sees that no more than Parallel are let in, and that one whose time is up leaves.
func TestBoundedWork(t *testing.T) {
	p := NewPasswords(Config{Memory: 8, Passes: 1, Parallel: 3})
	synctest.Test(t, func(t *testing.T) {
		const callers = 50
		var in atomic.Int32
		finish := make(chan struct{})
		p.slots = make(chan struct{}, cap(p.slots)) // of this bubble
		for range callers {
			go func() {
				if err := p.enter(t.Context()); err != nil {
					t.Error(err)
				}
				in.Add(1)
				<-finish
				in.Add(-1)
				p.leave()
			}()
		}
		for done := range callers {
			synctest.Wait()
			if n := in.Load(); n != int32(min(3, callers-done)) {
				t.Errorf("%d at a time after %d", n, done)
			}
			finish <- struct{}{}
		}
	})
	p.slots = make(chan struct{}, cap(p.slots))
	for range 3 {
		_ = p.enter(t.Context())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Hash(ctx, "password"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("no turn: %v", err)
	}
	if _, err := p.Verify(ctx, p.dummy, "password"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("no turn: %v", err)
	}
}

// BenchmarkHash is what one registration or login costs with the default parameters.
func BenchmarkHash(b *testing.B) {
	p := NewPasswords(Config{})
	for b.Loop() {
		if _, err := p.Hash(b.Context(), "correct horse"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUnknownUser is what an attempt at a user that does not exist costs: the same.
func BenchmarkUnknownUser(b *testing.B) {
	p := NewPasswords(Config{})
	for b.Loop() {
		if ok, err := p.Verify(b.Context(), "", "correct horse"); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
