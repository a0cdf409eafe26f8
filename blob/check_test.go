package blob

import (
	"io"
	"strings"
	"testing"

	"bongsu/errs"
)

// A copy that has decayed is never given out: over several sites it is replaced first, on one node it is refused.
func TestDecayIsNotGivenOut(t *testing.T) {
	named := &catalogue{}
	n := newNetwork(t, named, nil, "a", "b", "c")
	data := noise(chunk + 5)
	h := n.sites["a"].put(t, data)
	named.add(h, 1)
	eventually(t, "it is everywhere", func() bool { return len(n.holders(h)) == 3 })
	spoil(t, n.sites["b"].store, h)
	f, err := n.sites["b"].Open(t.Context(), h)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	if got, err := io.ReadAll(f); err != nil || string(got) != string(data) {
		t.Errorf("the wrong bytes were given out (%v)", err)
	}

	store := open(t, t.TempDir())
	m := OpenMirror(MirrorConfig{Store: store, Named: named.read})
	defer m.Close()
	h, _, err = m.Put(t.Context(), strings.NewReader("a picture"), 10)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, store, h)
	for range 2 {
		if _, err := m.Open(t.Context(), h); !errs.Is(err, errs.Unavailable) {
			t.Errorf("a decayed copy on one node: %v", err)
		}
	}
}
