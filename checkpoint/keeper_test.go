package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/link/linktest"
	"bongsu/replica"
)

// Checkpoints are of the same positions and states everywhere, two are kept, and the journal is trimmed below the older one, not more.
func TestCheckpointsAndTrimming(t *testing.T) {
	for _, names := range [][]string{{"a"}, {"a", "b", "c"}} {
		t.Run(fmt.Sprint(len(names), " sites"), func(t *testing.T) {
			c := newCluster(t, names...)
			round := func() {
				for _, name := range names {
					c.sites[name].k.round(t.Context())
				}
			}
			var positions []journal.Position
			for i := range 4 {
				c.add("a", 5)
				positions = append(positions, c.checkpoint(names...))
				round()
				want := journal.Position(1)
				if i > 0 {
					want = positions[i-1]
				}
				if got := c.sites["a"].first(); got != want {
					t.Errorf("after checkpoints at %v the journal begins at %d, want %d", positions, got, want)
				}
			}
			for _, name := range names {
				st := c.sites[name].k.Status()
				if len(st.Files) != 2 || st.Files[0].Pos != positions[2] || st.Files[1].Pos != positions[3] || len(st.Divergences) != 0 {
					t.Errorf("%s: %+v", name, st)
				}
				for i, e := range st.Files {
					if first := c.sites["a"].k.entries()[i]; !e.same(first) {
						t.Errorf("%s holds %+v, a %+v", name, e, first)
					}
				}
				if files, _ := os.ReadDir(c.sites[name].dir); len(files) != 2 {
					t.Errorf("%s: %v", name, files)
				}
			}
			if got := c.sites["a"].k.Status().Trimmed[0]; got != positions[2] {
				t.Errorf("trimmed up to %d", got)
			}
		})
	}
}

// While a site is away, or lacks a checkpoint, the journal is kept for it, until it is too old.
func TestTrimmingWaitsForAbsentSites(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	a := c.sites["a"]
	c.checkpoint("a", "b", "c")
	c.links.Site("c").Down(true)
	c.checkpoint("a", "b")
	last := c.checkpoint("a", "b")
	a.k.round(t.Context())
	if got := a.first(); got != 1 {
		t.Fatalf("trimmed to %d while c was away", got)
	}
	if got := a.k.Status().Absent; !slices.Equal(got, []string{"c"}) {
		t.Errorf("absent: %v", got)
	}
	a.k.cfg.Retain = time.Nanosecond
	c.links.Site("b").Down(true)
	a.k.round(t.Context())
	if got := a.first(); got != 1 {
		t.Fatalf("trimmed to %d alone", got)
	}
	c.links.Site("b").Down(false)
	a.k.round(t.Context())
	if got := a.first(); got == 1 || got >= last {
		t.Errorf("with a and b it begins at %d, the last checkpoint is at %d", got, last)
	}
	for _, name := range []string{"b", "c"} { // who does not lead does not trim
		if got := c.sites[name].k.Status().Trimmed; len(got) != 0 {
			t.Errorf("%s trimmed %v", name, got)
		}
	}
}

// A site that burned, and whose journal was trimmed, has the same state again, also when connections break all the time.
func TestEmptySiteComesBack(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.add("a", 500)
	c.checkpoint("a", "b", "c")
	c.sites["c"].stop()
	c.sites["c"].burn()
	c.checkpoint("a", "b")
	c.sites["a"].k.cfg.Retain = time.Nanosecond
	c.checkpoint("a", "b")
	c.sites["a"].k.round(t.Context())
	if c.sites["a"].first() == 1 {
		t.Fatal("not trimmed")
	}
	ranges := make(chan string, 1000)
	breakOff := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if from := r.Header.Get("Range"); from != "" {
				ranges <- from
			}
			if r.URL.Path != listPath {
				w = &shortWriter{w, 40_000}
			}
			h.ServeHTTP(w, r)
		})
	}
	c.links.Site("a").Meddle(breakOff)
	c.links.Site("b").Meddle(breakOff)
	c.sites["c"].start(nil)
	c.sites["c"].ready()
	c.agree("a", "b", "c")
	if c.sites["c"].rows() != c.sites["a"].rows() {
		t.Error("the rows differ")
	}
	if len(ranges) < 2 {
		t.Errorf("%d requests went on where another broke off", len(ranges))
	}
	if parts, _ := filepath.Glob(filepath.Join(c.sites["c"].dir, "*"+partial)); len(parts) != 0 {
		t.Errorf("left behind: %v", parts)
	}
}

// shortWriter breaks the connection after some bytes.
type shortWriter struct {
	http.ResponseWriter
	left int
}

func (w *shortWriter) Write(p []byte) (int, error) {
	if len(p) <= w.left {
		w.left -= len(p)
		return w.ResponseWriter.Write(p)
	}
	_, _ = w.ResponseWriter.Write(p[:w.left])
	panic(http.ErrAbortHandler)
}

// A fetch that was cut off by the end of the process goes on in the next one.
func TestFetchGoesOnAfterRestart(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.add("a", 300)
	pos := c.checkpoint("a", "b", "c")
	cs := c.sites["c"]
	cs.stop()
	e := c.sites["a"].k.entries()[0]
	whole, err := os.ReadFile(c.sites["a"].k.name(0, pos))
	if err != nil {
		t.Fatal(err)
	}
	cs.burn()
	if err := os.Mkdir(cs.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(cs.dir, "fetch-p0-"+e.Tag+partial)
	if err := os.WriteFile(part, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cs.dir, "write-1"+partial), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var from string
	c.links.Site("a").Meddle(func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != listPath {
				from = r.Header.Get("Range")
			}
			h.ServeHTTP(w, r)
		})
	})
	k, err := Open(Config{Dir: cs.dir, Site: "c", Link: c.links.Site("c").Fresh(), Journal: c.sites["a"].j, Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	f, err := k.Fetch(t.Context(), 0, pos)
	if err != nil || f == nil || f.Info.Pos != pos {
		t.Fatalf("%v %v", f, err)
	}
	if want := fmt.Sprintf("bytes=%d-", len(whole)/2); from != want {
		t.Errorf("asked for %q, want %q", from, want)
	}
	if files, _ := os.ReadDir(cs.dir); len(files) != 1 {
		t.Errorf("left: %v", files)
	}
}

// Over real links a site without anything gets a checkpoint.
func TestFetchOverRealLinks(t *testing.T) {
	c := newCluster(t, "a")
	c.add("a", 100)
	pos := c.checkpoint("a")
	c.sites["a"].stop()
	links := linktest.Open(t, "a", "b", "c")
	keepers := map[string]*Keeper{}
	for name, dir := range map[string]string{"a": c.sites["a"].dir, "b": t.TempDir(), "c": t.TempDir()} {
		k, err := Open(Config{Dir: dir, Site: name, Link: links[name], Journal: partitions(1), Interval: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		keepers[name] = k
	}
	f, err := keepers["c"].Fetch(t.Context(), 0, 1)
	if err != nil || f == nil || f.Info.Pos != pos {
		t.Fatalf("%v %v", f, err)
	}
	if err := links["a"].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := keepers["c"].Fetch(t.Context(), 0, pos+1); !errs.Is(err, errs.Unavailable) {
		t.Errorf("with a away: %v", err)
	}
	if f, err := keepers["b"].Fetch(t.Context(), 0, pos); err != nil || f.Info.Pos != pos {
		t.Errorf("from c: %v %v", f, err)
	}
}

// alone opens a keeper of a third site with nothing, and lets a test meddle with what a and b send.
func (c *cluster) alone(meddle map[string]func(http.Handler) http.Handler) *Keeper {
	c.t.Helper()
	for name, with := range meddle {
		c.links.Site(name).Meddle(with)
	}
	k, err := Open(Config{Dir: c.t.TempDir(), Site: "c", Link: c.links.Site("c").Fresh(), Journal: c.sites["a"].j, Interval: time.Hour})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(k.Close)
	return k
}

// replaced changes what a site sends.
func replaced(change func(path string, body []byte) []byte) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, listPath) {
				r.Header.Del("Range")
				h.ServeHTTP(&changingWriter{ResponseWriter: w, change: func(b []byte) []byte { return change(r.URL.Path, b) }}, r)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

type changingWriter struct {
	http.ResponseWriter
	change func([]byte) []byte
}

func (w *changingWriter) Write(p []byte) (int, error) {
	_, err := w.ResponseWriter.Write(w.change(bytes.Clone(p)))
	return len(p), err
}

func TestFetchFromFaultySites(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.add("a", 50)
	pos := c.checkpoint("a", "b", "c")
	c.sites["c"].stop()
	flip := replaced(func(path string, b []byte) []byte {
		if path != listPath {
			b[len(b)/2] ^= 1
		}
		return b
	})
	noList := replaced(func(path string, b []byte) []byte {
		if path == listPath {
			return []byte("[")
		}
		return b
	})
	t.Run("one sends damaged bytes", func(t *testing.T) {
		k := c.alone(map[string]func(http.Handler) http.Handler{"a": flip, "b": nil})
		f, err := k.Fetch(t.Context(), 0, 1)
		if err != nil || f.Info.Pos != pos {
			t.Errorf("%v %v", f, err)
		}
	})
	t.Run("all send damaged bytes", func(t *testing.T) {
		k := c.alone(map[string]func(http.Handler) http.Handler{"a": flip, "b": flip})
		f, err := k.Fetch(t.Context(), 0, 1)
		if f != nil || !errs.Is(err, errs.Unavailable) || !errors.Is(err, replica.ErrCheckpoint) {
			t.Errorf("%v %v", f, err)
		}
		if files, _ := os.ReadDir(k.cfg.Dir); len(files) != 0 {
			t.Errorf("left: %v", files)
		}
	})
	t.Run("one sends another than it listed", func(t *testing.T) {
		lie := replaced(func(path string, b []byte) []byte {
			if path == listPath {
				return bytes.ReplaceAll(b, []byte(`"state":"`), []byte(`"state":"00`))
			}
			return b
		})
		k := c.alone(map[string]func(http.Handler) http.Handler{"a": lie, "b": lie})
		if f, err := k.Fetch(t.Context(), 0, 1); f != nil || !errors.Is(err, replica.ErrCheckpoint) || len(k.entries()) != 0 {
			t.Errorf("%v %v", f, err)
		}
	})
	t.Run("nobody has one that is new enough", func(t *testing.T) {
		k := c.alone(map[string]func(http.Handler) http.Handler{"a": nil, "b": nil})
		if f, err := k.Fetch(t.Context(), 0, pos+1); f != nil || err != nil {
			t.Errorf("%v %v", f, err)
		}
	})
	t.Run("one does not say what it has", func(t *testing.T) {
		k := c.alone(map[string]func(http.Handler) http.Handler{"a": noList, "b": nil})
		if f, err := k.Fetch(t.Context(), 0, pos+1); f != nil || !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "[a]") {
			t.Errorf("%v %v", f, err)
		}
		if f, err := k.Fetch(t.Context(), 0, pos); err != nil || f.Info.Pos != pos {
			t.Errorf("the other has it: %v %v", f, err)
		}
	})
	t.Run("no space", func(t *testing.T) {
		k := c.alone(map[string]func(http.Handler) http.Handler{"a": nil, "b": nil})
		k.cfg.Reserve = 1 << 60
		if f, err := k.Fetch(t.Context(), 0, pos); f != nil || !errors.Is(err, errLow) {
			t.Errorf("%v %v", f, err)
		}
	})
}

// Which of many checkpoints is taken.
func TestCandidates(t *testing.T) {
	entry := func(pos journal.Position, state string) Entry {
		return Entry{Partitions: 1, Pos: pos, State: state}
	}
	for name, c := range map[string]struct {
		own   []Entry
		lists map[string][]Entry
		want  string // position and state, in order
	}{
		"the newest":                  {[]Entry{entry(5, "x")}, map[string][]Entry{"b": {entry(7, "x")}}, "7x 5x"},
		"confirmed before newest":     {nil, map[string][]Entry{"b": {entry(5, "x"), entry(7, "x")}, "c": {entry(5, "x")}}, "5x 7x"},
		"not the one of fewer sites":  {[]Entry{entry(5, "y")}, map[string][]Entry{"b": {entry(5, "x")}, "c": {entry(5, "x")}}, "5x"},
		"one against one":             {[]Entry{entry(5, "y")}, map[string][]Entry{"b": {entry(5, "y")}, "c": {entry(6, "x")}}, "5y 6x"},
		"too old":                     {[]Entry{entry(2, "x")}, map[string][]Entry{"b": {entry(2, "x")}}, ""},
		"of another cluster's making": {nil, map[string][]Entry{"b": {{Partitions: 2, Pos: 5}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := &Keeper{cfg: Config{Site: "a", Journal: partitions(1)}, files: map[journal.Partition][]file{}}
			for _, e := range c.own {
				k.files[0] = append(k.files[0], file{Entry: e})
			}
			var got []string
			for _, o := range k.candidates(0, 3, c.lists) {
				got = append(got, fmt.Sprintf("%d%s", o.Pos, o.State))
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

// partitions is a journal of which only their number is asked.
type partitions int

var _ Journal = partitions(0)

func (p partitions) Partitions() int { return int(p) }

func (partitions) Leads(journal.Partition) bool { return false }

func (partitions) Bounds(context.Context, journal.Partition) (first, last journal.Position, err error) {
	panic("asked")
}

func (partitions) Read(context.Context, journal.Partition, journal.Position) (journal.Entry, error) {
	panic("asked")
}

func (partitions) Trim(context.Context, journal.Partition, journal.Position) error { panic("asked") }

// Files that were damaged while the process was away, or while it ran, are not listed, not trimmed by and not loaded.
func TestDamagedFiles(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.checkpoint("a", "b", "c")
	pos := c.checkpoint("a", "b", "c")
	a := c.sites["a"]
	damage := func() {
		t.Helper()
		path := a.k.name(0, pos)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text[len(text)/2] ^= 4
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	if f, err := a.k.Fetch(t.Context(), 0, pos); err != nil || f.Info.Pos != pos {
		t.Errorf("the others have it: %v %v", f, err)
	}
	if _, err := replica.OpenCheckpoint(a.k.name(0, pos)); err != nil {
		t.Errorf("it was not replaced: %v", err)
	}
	damage()
	for _, name := range []string{"b", "c"} {
		c.links.Site(name).Down(true)
	}
	if f, err := a.k.Fetch(t.Context(), 0, pos); f != nil || !errs.Is(err, errs.Unavailable) || a.newest() == pos {
		t.Errorf("nobody else can be asked: %v %v", f, err)
	}
	for _, name := range []string{"b", "c"} {
		c.links.Site(name).Down(false)
	}
	if _, err := a.k.Fetch(t.Context(), 0, pos); err != nil {
		t.Fatal(err)
	}
	damage()
	for i := range a.k.files[0] {
		a.k.files[0][i].verified = time.Time{}
	}
	a.k.reread()
	a.k.reread()
	if got := a.k.entries(); len(got) != 1 || got[0].Pos == pos {
		t.Errorf("rereading left %v", got)
	}
	b := c.sites["b"]
	b.stop()
	if err := os.WriteFile(b.k.name(0, pos), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(nil)
	b.ready()
	if got := b.k.entries(); slices.ContainsFunc(got, func(e Entry) bool { return e.Pos == pos && e.Size < 100 }) {
		t.Errorf("listed after a restart: %v", got)
	}
}

// Rows that were damaged at rest show in the next checkpoint: the others raise the alarm, and the site makes its rows anew.
func TestDamagedRowsAreMadeAnew(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	c.add("a", 10)
	c.checkpoint("a", "b", "c")
	bad := c.sites["c"]
	batch := bad.db.Batch()
	batch.Set(ledgerRow(1, 1), []byte("planted"))
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
	pos := c.checkpoint("a", "b", "c")
	for _, name := range c.names {
		c.sites[name].k.round(t.Context())
	}
	for _, name := range []string{"a", "b"} {
		d := c.sites[name].k.Status().Divergences
		if len(d) != 1 || d[0].Pos != pos || !slices.Equal(d[0].Other, []string{"c"}) || !slices.Equal(d[0].Here, []string{"a", "b"}) {
			t.Errorf("%s: %v", name, d)
		}
	}
	c.eventually("the rows are right again", func() bool { return bad.r.Serving() == nil && bad.rows() == c.sites["a"].rows() })
	if bad.newest() >= pos && !bad.k.entries()[len(bad.k.entries())-1].same(c.sites["a"].k.entries()[1]) {
		t.Error("the wrong checkpoint is still there")
	}
	if first := c.sites["a"].first(); first >= pos {
		t.Errorf("the journal was trimmed to %d although the sites differ at %d", first, pos)
	}
	c.sites["a"].k.round(t.Context())
	if d := c.sites["a"].k.Status().Divergences; len(d) != 1 {
		t.Errorf("told again: %v", d)
	}
}

// With little space nothing is written, and apply goes on.
func TestLowDisk(t *testing.T) {
	c := newCluster(t, "a")
	a := c.sites["a"]
	a.stop()
	a.start(func(cfg *Config) { cfg.Reserve = 1 << 60 })
	a.ready()
	s, err := a.r.Snapshot(0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := a.k.write(s); !errors.Is(err, errLow) {
		t.Errorf("got %v", err)
	}
	c.skew.Add(int64(2 * every))
	c.add("a", 10)
	if files, _ := os.ReadDir(a.dir); len(files) != 0 {
		t.Errorf("written: %v", files)
	}
}

// Take blocks nobody: of many snapshots the newest is written, and those that come too late are closed.
func TestTake(t *testing.T) {
	c := newCluster(t, "a")
	a := c.sites["a"]
	k, err := Open(Config{Dir: t.TempDir(), Site: "a", Journal: a.j, Interval: time.Hour, Rate: pacedPart})
	if err != nil {
		t.Fatal(err)
	}
	take := func() journal.Position {
		t.Helper()
		c.add("a", 1)
		s, err := a.r.Snapshot(0)
		if err != nil {
			t.Fatal(err)
		}
		k.Take(s)
		return s.Pos()
	}
	var last journal.Position
	for range 20 {
		last = take()
	}
	c.eventually("the newest is written", func() bool { list := k.of(0); return len(list) > 0 && list[len(list)-1].Pos == last })
	k.Close()
	take() // the store would complain at its close of a view that is open
}

// The list and the files are for sites, which may ask for nonsense.
func TestServeRefusesNonsense(t *testing.T) {
	c := newCluster(t, "a", "b", "c")
	pos := c.checkpoint("a", "b", "c")
	for path, want := range map[string]int{
		fmt.Sprintf("/checkpoints/0/%d", pos): 200, "/checkpoints": 200,
		fmt.Sprintf("/checkpoints/0/%d", pos+1): 404, fmt.Sprintf("/checkpoints/9/%d", pos): 404, "/checkpoints/x/1": 404,
		"/checkpoints/0/..%2f..%2fetc": 404, "/checkpoints/0/99999999999999999999": 404,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.links.Site("b").Do(t.Context(), "a", req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
	}
}
