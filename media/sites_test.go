package media

import (
	"context"
	"maps"
	"strings"
	"testing"

	"bongsu/blob"
	"bongsu/errs"
	"bongsu/link/linktest"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// mirrors are three sites' blobs; those of the first are for the service under test.
func mirrors(t *testing.T, links *linktest.Network) map[string]*blob.Mirror {
	t.Helper()
	out := map[string]*blob.Mirror{}
	for _, name := range []string{"a", "b", "c"} {
		store, err := blob.Open(blob.Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		out[name] = blob.OpenMirror(blob.MirrorConfig{Store: store, Link: links.Site(name)})
		t.Cleanup(out[name].Close)
	}
	return out
}

// A site that has lost the others takes no upload, and says so in a way that makes clients come back; with one of them it does.
func TestUploadNeedsAnotherSite(t *testing.T) {
	links := linktest.New(t, "a", "b", "c")
	m := newMedia(t, func(c *Config) { c.Blobs = mirrors(t, links)["a"] })
	links.Site("b").Down(true)
	links.Site("c").Down(true)
	mediaID, err := m.Upload(t.Context(), "@amy:s", Info{}, strings.NewReader("x"))
	if !isError(err, errs.Unavailable, "") {
		t.Errorf("got %v", err)
	}
	if _, err := m.Open(t.Context(), "s", mediaID); !isError(err, errs.NotFound, "") {
		t.Errorf("what was refused has a record: %v", err)
	}
	links.Site("c").Down(false)
	if mediaID, err = m.Upload(t.Context(), "@amy:s", Info{}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if got := content(t, m, mediaID); got != "x" {
		t.Errorf("got %q", got)
	}
}

// A site that has the record and not the bytes serves them from another.
func TestOpenFromAnotherSite(t *testing.T) {
	links := linktest.New(t, "a", "b", "c")
	all := mirrors(t, links)
	d := newDisk(t)
	m, stop := d.start(t, nil, func(c *Config) { c.Blobs = all["a"] })
	links.Site("c").Down(true)
	mediaID, err := m.Upload(t.Context(), "@amy:s", Info{Type: "image/png"}, strings.NewReader(string(asPNG(t, picture(400, 200)))))
	if err != nil {
		t.Fatal(err)
	}
	stop()
	links.Site("c").Down(false)
	m, stop = d.start(t, nil, func(c *Config) { c.Blobs = all["c"] })
	t.Cleanup(stop)
	f, err := m.Thumbnail(t.Context(), "s", mediaID, Size{96, 96, true})
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if got := content(t, m, mediaID); got != string(asPNG(t, picture(400, 200))) {
		t.Errorf("got %d bytes", len(got))
	}
}

// Named yields what records name, once for each record, and nothing of an id that is only reserved.
func TestNamed(t *testing.T) {
	notes := make(chan blob.Hash, 100)
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{Machine()}, Sink: func(c replica.Commit) {
		for _, n := range c.Notes {
			if n, ok := n.(Added); ok {
				notes <- n.Hash
			}
		}
	}})
	m := newMedia(t, func(c *Config) { c.Replica = r })
	want := map[string]int{}
	for _, data := range []string{"one", "two", "two", "three"} {
		if _, err := m.Upload(t.Context(), "@amy:s", Info{}, strings.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		want[string(<-notes)]++
	}
	if _, _, err := m.Reserve(t.Context(), "@amy:s"); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for n, err := range Named(r)(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n.Created == 0 {
			t.Error("no time")
		}
		got[string(n.Hash)]++
	}
	if !maps.Equal(got, want) || len(want) != 3 {
		t.Errorf("got %v, want %v", got, want)
	}
	for range Named(r)(t.Context()) {
		break // who has enough may stop
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range Named(r)(ended) {
		last = err
	}
	if last == nil {
		t.Error("a state that could not catch up was taken for the newest")
	}
}
