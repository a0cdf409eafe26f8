package blob

import (
	"bytes"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/link/linktest"
)

// Over real links: an upload reaches a second site, the third fetches it, and a site that goes away is noticed.
func TestOverRealLinks(t *testing.T) {
	names := []string{"a", "b", "c"}
	links := linktest.Open(t, names...)
	mirrors := map[string]*Mirror{}
	for _, name := range names {
		mirrors[name] = OpenMirror(MirrorConfig{Store: open(t, t.TempDir()), Link: links[name]})
		t.Cleanup(mirrors[name].Close)
	}
	holders := func(h Hash) (n int) {
		for _, m := range mirrors {
			if m.store.Verify(t.Context(), h) == nil {
				n++
			}
		}
		return n
	}
	var last Hash
	for _, size := range []int{0, 1000, 5*chunk + 3} {
		var err error
		if last, _, err = mirrors["a"].Put(t.Context(), bytes.NewReader(noise(size)), 1<<30); err != nil || holders(last) < 2 {
			t.Fatalf("%d bytes: at %d sites, %v", size, holders(last), err)
		}
		for _, m := range mirrors {
			f, err := m.Open(t.Context(), last)
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
		}
		if n := holders(last); n != 3 {
			t.Errorf("%d bytes: after reading they are at %d sites", size, n)
		}
	}

	// Decay breaks off in the middle.
	if err := links["b"].Close(); err != nil {
		t.Fatal(err)
	}
	spoil(t, mirrors["a"].store, last)
	if err := mirrors["c"].store.Remove(last); err != nil {
		t.Fatal(err)
	}
	if _, err := mirrors["c"].Open(t.Context(), last); !errs.Is(err, errs.Unavailable) || mirrors["c"].store.Has(last) {
		t.Errorf("a decayed copy came over: %v", err)
	}

	// With one site left nothing is acknowledged, and that is said soon.
	if err := links["c"].Close(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, _, err := mirrors["a"].Put(t.Context(), bytes.NewReader(noise(100)), 1000); !errs.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("that took %s", took)
	}
}
