package blob

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"bongsu/errs"
)

// A site that burned gets everything back, the newest first, also when more is lacking than one survey lists.
func TestBurnedSiteFetchesEverything(t *testing.T) {
	named := &catalogue{}
	n := newNetwork(t, named, func(c *MirrorConfig) { c.SurveyEvery = time.Hour }, "a", "b", "c")
	n.sites["c"].link.Down(true)
	const files = 300
	var hashes []Hash
	for i := range files {
		h := n.sites["a"].put(t, noise(100))
		hashes = append(hashes, h)
		named.add(h, int64(i))
		named.add(h, int64(i)) // two media ids may have the same content
	}
	n.sites["c"].link.Down(false)
	var mu sync.Mutex
	var order []string
	watch := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			order = append(order, r.URL.Path)
			mu.Unlock()
			h.ServeHTTP(w, r)
		})
	}
	n.sites["a"].link.Meddle(watch)
	n.sites["b"].link.Meddle(watch)

	// As a process that starts with an empty directory.
	c := n.sites["c"]
	c.Close()
	c.Mirror = OpenMirror(MirrorConfig{Store: c.store, Link: c.link.Fresh(), Named: named.read, SurveyEvery: 20 * time.Millisecond})
	t.Cleanup(c.Mirror.Close)
	eventually(t, "everything is there", func() bool { return c.Status().Blobs == files && c.Status().Lacking == 0 })
	for _, h := range hashes {
		if err := c.store.Verify(t.Context(), h); err != nil {
			t.Error(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, path := range order[:files/2] {
		if at := indexOf(hashes, path); at < files-1-i-2*fetchers {
			t.Fatalf("file %d was fetched as number %d", at, i)
		}
	}
}

func indexOf(hashes []Hash, path string) int {
	for i, h := range hashes {
		if pathOf(h) == path {
			return i
		}
	}
	return -1
}

// More is lacking than a survey lists, and of what it lists no site has anything: the rest comes all the same.
func TestLostFilesHideNoOthers(t *testing.T) {
	named := &catalogue{}
	n := newNetwork(t, &catalogue{}, func(c *MirrorConfig) { c.Named = nil }, "a", "b")
	h := n.sites["a"].put(t, []byte("old"))
	if err := n.sites["b"].store.Remove(h); err != nil {
		t.Fatal(err)
	}
	named.add(h, 1)
	for i := range maxListed + 10 {
		named.add(Hash(string(n.hash(i))), int64(i+2))
	}
	b := n.sites["b"]
	b.cfg.Named = named.read
	s := survey{suspects: map[Hash]time.Time{}, lost: map[Hash]bool{}}
	rounds := 0
	for again := true; again; rounds++ {
		var err error
		if again, err = b.survey(&s); err != nil {
			t.Fatal(err)
		}
	}
	if !b.store.Has(h) || rounds < 2 {
		t.Errorf("after %d rounds the old file is here: %v", rounds, b.store.Has(h))
	}
	if got := b.Status().Lacking; got != maxListed+10 {
		t.Errorf("%d lacking", got)
	}
}

// hash is the i-th of some names that no blob has.
func (*network) hash(i int) Hash {
	text := []byte("0000000000000000000000000000000000000000000000000000000000000000")
	for at := 0; i > 0; at++ {
		text[at] = "0123456789abcdef"[i%16]
		i /= 16
	}
	return Hash(text)
}

// While the sites that have the rest are down, a survey gives up soon and says what is lacking.
func TestSurveyGivesUp(t *testing.T) {
	named := &catalogue{}
	n := newNetwork(t, &catalogue{}, func(c *MirrorConfig) { c.Named = nil }, "a", "b", "c")
	n.sites["a"].link.Down(true)
	for i := range 100 {
		named.add(n.hash(i), int64(i))
	}
	b := n.sites["b"]
	b.cfg.Named = named.read
	again, err := b.survey(&survey{suspects: map[Hash]time.Time{}, lost: map[Hash]bool{}})
	if again || err != nil || b.Status().Lacking != 100 {
		t.Errorf("%v, %v, %d lacking", again, err, b.Status().Lacking)
	}
	if asked := n.sites["c"].link.Asked("GET"); asked > 10 {
		t.Errorf("%d requests", asked)
	}
}

// What a record names is fetched as soon as the record is applied; what is here already is made young.
func TestWant(t *testing.T) {
	n := newNetwork(t, &catalogue{}, func(c *MirrorConfig) { c.Named = nil }, "a", "b", "c")
	h := n.sites["a"].put(t, []byte("x"))
	long := time.Now().Add(-48 * time.Hour)
	n.sites["a"].store.Touch(h, long)
	for _, s := range n.sites {
		s.Want("nonsense")
		s.Want(h)
	}
	eventually(t, "everybody has it", func() bool { return len(n.holders(h)) == 3 })
	eventually(t, "it is young", func() bool { return n.sites["a"].age(t, h) < time.Hour })
}

func (s *site) age(t testing.TB, h Hash) time.Duration {
	t.Helper()
	info, err := os.Stat(s.store.path(h))
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(info.ModTime())
}

// Only what no record names, nobody has put for long, and was of no use at an earlier survey, is removed.
func TestOrphans(t *testing.T) {
	named := &catalogue{}
	n := newNetwork(t, &catalogue{}, func(c *MirrorConfig) { c.Named, c.SurveyEvery = nil, 0 }, "a")
	a := n.sites["a"]
	a.cfg.Named, a.cfg.SurveyEvery = named.read, 0
	kept, young, orphan := a.put(t, []byte("kept")), a.put(t, []byte("young")), a.put(t, []byte("orphan"))
	named.add(kept, 1)
	long := time.Now().Add(-48 * time.Hour)
	for _, h := range []Hash{kept, orphan} {
		a.store.Touch(h, long)
	}
	has := func(want bool, hashes ...Hash) {
		t.Helper()
		for _, h := range hashes {
			if a.store.Has(h) != want {
				t.Errorf("%s is here: %v", h, !want)
			}
		}
	}
	s := survey{suspects: map[Hash]time.Time{}, lost: map[Hash]bool{}}
	look := func() {
		t.Helper()
		if _, err := a.survey(&s); err != nil {
			t.Fatal(err)
		}
	}
	a.cfg.SurveyEvery = time.Hour
	look()
	look() // too soon after the first
	has(true, kept, young, orphan)
	a.cfg.SurveyEvery = 0

	// A state that cannot be read says nothing about what is named.
	named.err = errors.New("behind")
	if _, err := a.survey(&s); err == nil {
		t.Error("no error")
	}
	has(true, kept, young, orphan)
	named.err = nil

	look()
	has(true, kept, young)
	has(false, orphan)

	// What was of no use and is put again is young.
	a.store.Touch(young, long)
	a.put(t, []byte("young"))
	look()
	has(true, kept, young)
	if st := a.Status(); st.Blobs != 2 || st.Lacking != 0 {
		t.Errorf("%+v", st)
	}
}

// A removal and a Put of the same blob never end with neither.
func TestRemoveOldAndPut(t *testing.T) {
	s := open(t, t.TempDir())
	h, _, err := s.Put(t.Context(), bytes.NewReader(nil), 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		s.Touch(h, time.Now().Add(-48*time.Hour))
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.RemoveOld(h, time.Now().Add(-24*time.Hour)); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, _, err := s.Put(t.Context(), bytes.NewReader(nil), 1); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if !s.Has(h) {
			t.Fatal("a blob that was put is gone")
		}
	}
}

// The scrubber finds what has decayed and has it replaced; where nobody can give it, the alarm stays until somebody does.
func TestScrub(t *testing.T) {
	named := &catalogue{}
	n := newNetwork(t, named, func(c *MirrorConfig) { c.ScrubEvery = 10 * time.Millisecond }, "a", "b", "c")
	h := n.sites["a"].put(t, noise(1000))
	named.add(h, 1)
	eventually(t, "it is everywhere", func() bool { return len(n.holders(h)) == 3 })
	n.sites["a"].link.Down(true)
	b := n.sites["b"]
	for _, name := range []string{"b", "c"} {
		if err := os.WriteFile(n.sites[name].store.path(h), noise(1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "decay is found", func() bool { return b.Status().Decayed == 1 && n.sites["c"].Status().Decayed == 1 })
	if _, err := b.Open(t.Context(), h); err == nil {
		t.Error("what is known to be wrong was served")
	}
	n.sites["a"].link.Down(false)
	eventually(t, "decay is mended", func() bool { return len(n.holders(h)) == 3 && b.Status().Decayed == 0 })
	eventually(t, "a round ends", func() bool { return !b.Status().Scrubbed.IsZero() })
}

// A process that starts anew goes on scrubbing where the last one was, and a broken note of that does no harm.
func TestScrubGoesOn(t *testing.T) {
	dir := t.TempDir()
	store := open(t, dir)
	run := func() *Mirror {
		return OpenMirror(MirrorConfig{Store: store, Named: (&catalogue{}).read, ScrubEvery: 256 * time.Hour})
	}
	note := func() string {
		text, _ := os.ReadFile(filepath.Join(dir, scrubFile))
		return string(text)
	}
	m := run() // the first shelf is due at once, the next in an hour
	eventually(t, "a shelf is done", func() bool { return note() != "" })
	m.Close()
	first := note()
	run().Close()
	if note() != first {
		t.Errorf("begun anew: %s after %s", note(), first)
	}
	if err := os.WriteFile(filepath.Join(dir, scrubFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	m = run()
	eventually(t, "a shelf is done", func() bool { return note() != "{" })
	m.Close()
}

// On one node decay is told and nothing is replaced.
func TestScrubAlone(t *testing.T) {
	store := open(t, t.TempDir())
	h, _, err := store.Put(t.Context(), bytes.NewReader([]byte("x")), 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(store.path(h), []byte("y"), 0o600); err != nil {
		t.Fatal(err)
	}
	named := &catalogue{}
	named.add(h, 1)
	m := OpenMirror(MirrorConfig{Store: store, Named: named.read, ScrubEvery: time.Millisecond, SurveyEvery: time.Millisecond})
	t.Cleanup(m.Close)
	eventually(t, "decay is found", func() bool { return m.Status().Decayed == 1 })
	if err := store.Verify(t.Context(), h); !errors.Is(err, ErrDecayed) || errs.Is(err, errs.NotFound) {
		t.Errorf("got %v", err)
	}
}
