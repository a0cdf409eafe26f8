package media

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"bongsu/blob"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts")

func isError(err error, kind errs.Kind, code errs.Code) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Kind == kind && e.Code == code
}

// TestTranscript plays testdata/machine.txt: "> kind body" proposes, "> open id" reads.
func TestTranscript(t *testing.T) {
	const file = "testdata/machine.txt"
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{Machine()}, Partitions: 1})
	ids, times := regexp.MustCompile(`"id":"(\w+)"`), regexp.MustCompile(`\d{13}`)
	var out strings.Builder
	for line := range strings.Lines(string(script)) {
		if strings.HasPrefix(line, "#") || line == "\n" {
			out.WriteString(line)
		}
		if !strings.HasPrefix(line, "> ") {
			continue
		}
		out.WriteString(line)
		op, rest, _ := strings.Cut(strings.TrimSpace(line[2:]), " ")
		if op == "open" {
			rec, ok := read(r.Rows(), rest)
			fmt.Fprintf(&out, "%v %s %q %q %d %q\n", ok, rec.User, rec.Type, rec.Name, rec.Size, rec.Hash)
			continue
		}
		slot := id.SlotOf(ids.FindStringSubmatch(rest)[1])
		res, err := r.Submit(t.Context(), replica.Proposal{Kind: op, Slot: slot, Body: []byte(rest)})
		var e *errs.Error
		if errors.As(err, &e) {
			fmt.Fprintf(&out, "refused: %s %s: %s\n", e.Kind, e.Code, e.Message)
			continue
		}
		fmt.Fprintf(&out, "ok %s\n", times.ReplaceAll(res, []byte("TIME")))
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if out.String() != string(script) {
		t.Errorf("the transcript is now (rewrite with -rewrite):\n%s", out.String())
	}
}

// disk is what outlives a process.
type disk struct {
	dir   string
	store *mem.Store
	boot  uint64
}

// start starts the service on a disk; rows are built from the journal.
func (d *disk) start(t testing.TB, plan mem.Plan, change func(*Config)) (m *Media, stop func()) {
	t.Helper()
	db, err := kv.Open(kv.Config{})
	if err != nil {
		t.Fatal(err)
	}
	d.boot++
	r, stopReplica := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{Machine()}, Store: d.store, Plan: plan,
		Boot: d.boot, DB: db})
	blobs, err := blob.Open(blob.Config{Dir: d.dir + "/blobs"})
	if err != nil {
		t.Fatal(err)
	}
	mirror := blob.OpenMirror(blob.MirrorConfig{Store: blobs})
	cache, err := blob.OpenCache(d.dir + "/cache")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Replica: r, Blobs: mirror, Cache: cache, Server: "s", MaxUpload: 1 << 20}
	if change != nil {
		change(&cfg)
	}
	return New(cfg), func() {
		mirror.Close()
		stopReplica()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func newDisk(t testing.TB) *disk { return &disk{dir: t.TempDir(), store: mem.NewStore(4)} }

func newMedia(t testing.TB, change func(*Config)) *Media {
	m, stop := newDisk(t).start(t, nil, change)
	t.Cleanup(stop)
	return m
}

func content(t testing.TB, m *Media, mediaID string) string {
	t.Helper()
	f, err := m.Open(t.Context(), "s", mediaID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// What was acknowledged is there after restarts, while the journal loses acknowledgements.
func TestUploadIsKept(t *testing.T) {
	const seed = 3
	t.Logf("seed %d", seed)
	d := newDisk(t)
	plan := mem.Seeded(seed, mem.Rates{LoseAck: 0.3, Fail: 0.2, Forget: 0.2, LosePush: 0.1})
	kept := map[string]string{}
	for range 3 {
		m, stop := d.start(t, plan, nil)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				data := strings.Repeat(fmt.Sprint(d.boot, i, " "), 1000)
				mediaID, err := m.Upload(t.Context(), "@amy:s", Info{"text/plain", "f.txt"}, strings.NewReader(data))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				kept[mediaID] = data
				mu.Unlock()
			})
		}
		wg.Wait()
		for mediaID, want := range kept {
			if got := content(t, m, mediaID); got != want {
				t.Errorf("%s has %d bytes, want %d", mediaID, len(got), len(want))
			}
		}
		stop()
	}
	if len(kept) != 30 {
		t.Errorf("%d ids for 30 uploads", len(kept))
	}
}

func TestUploadRefused(t *testing.T) {
	m := newMedia(t, func(c *Config) { c.MaxUpload = 100 })
	if _, err := m.Upload(t.Context(), "@amy:s", Info{}, strings.NewReader(strings.Repeat("x", 101))); !isError(err, errs.TooLarge, "") {
		t.Errorf("too large: %v", err)
	}
	broken := errs.New("test", errs.Invalid, "", "the body did not arrive")
	if _, err := m.Upload(t.Context(), "@amy:s", Info{}, iotest.ErrReader(broken)); !isError(err, errs.Invalid, "") {
		t.Errorf("broken off: %v", err)
	}
	mediaID, err := m.Upload(t.Context(), "@amy:s", Info{}, strings.NewReader(strings.Repeat("x", 100)))
	if err != nil {
		t.Fatal(err)
	}
	if len(mediaID) < 24 {
		t.Errorf("id %q is short", mediaID)
	}
	for _, c := range []struct {
		server id.ServerName
		id     string
	}{{"s", "nothing"}, {"other", mediaID}, {"s", strings.Repeat("x", 100_000)}, {"s", "\x00"}, {"s", "../../etc/passwd"}} {
		if _, err := m.Open(t.Context(), c.server, c.id); !isError(err, errs.NotFound, "") {
			t.Errorf("%s %.20q: %v", c.server, c.id, err)
		}
	}
}

func TestFill(t *testing.T) {
	m := newMedia(t, nil)
	mediaID, expires, err := m.Reserve(t.Context(), "@amy:s")
	if err != nil || expires < 1e12 {
		t.Fatal(expires, err)
	}
	if _, err := m.Open(t.Context(), "s", mediaID); !isError(err, errs.Unavailable, errs.NotYetUploaded) {
		t.Errorf("empty: %v", err)
	}
	fill := func(user id.UserID, server id.ServerName, data string) error {
		return m.Fill(t.Context(), user, server, mediaID, Info{}, strings.NewReader(data))
	}
	if err := fill("@ben:s", "s", "x"); !isError(err, errs.Forbidden, "") {
		t.Errorf("another's: %v", err)
	}
	if err := fill("@amy:s", "other", "x"); !isError(err, errs.NotFound, "") {
		t.Errorf("elsewhere: %v", err)
	}
	for range 2 { // the second is a repetition after a lost answer
		if err := fill("@amy:s", "s", "content"); err != nil {
			t.Error(err)
		}
	}
	if err := fill("@amy:s", "s", "other"); !isError(err, errs.Conflict, errs.HasContent) {
		t.Errorf("overwriting: %v", err)
	}
	if got := content(t, m, mediaID); got != "content" {
		t.Errorf("got %q", got)
	}
}

// A record whose bytes this site's disk has lost is no reason to say that there is no such media.
func TestMissingBlob(t *testing.T) {
	store, err := blob.Open(blob.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	mirror := blob.OpenMirror(blob.MirrorConfig{Store: store})
	t.Cleanup(mirror.Close)
	m := newMedia(t, func(c *Config) { c.Blobs = mirror })
	mediaID, err := m.Upload(t.Context(), "@amy:s", Info{}, strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	for h, err := range store.All() {
		if err != nil || store.Remove(h) != nil {
			t.Fatal("not removed")
		}
	}
	if _, err := m.Open(t.Context(), "s", mediaID); !isError(err, errs.Unavailable, "") {
		t.Errorf("got %v", err)
	}
}

func TestInfo(t *testing.T) {
	for in, want := range map[string]string{
		"": defaultType, "nonsense": defaultType, "text/plain": "text/plain", "text/html; charset=utf-8": "text/html; charset=utf-8",
		"TEXT/HTML": "text/html", "a/b/c": defaultType, "text/plain\r\nSet-Cookie: x": defaultType,
		"text/" + strings.Repeat("x", 300): defaultType,
	} {
		if got := cleanType(in); got != want {
			t.Errorf("type %q becomes %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"": "", "a.png": "a.png", "사진.jpg": "사진.jpg", "a\r\nb\x00c": "abc", "exe.\u202egnp": "exe.gnp", "\xff\xfe": "",
		strings.Repeat("x", 300) + ".png": strings.Repeat("x", 251) + ".png", strings.Repeat("사", 100): strings.Repeat("사", 85),
	} {
		if got := cleanName(in); got != want {
			t.Errorf("name %q becomes %q, want %q", in, got, want)
		}
	}
	for _, c := range []struct{ typ, name, override, want string }{
		{"image/png", "", "", "inline"},
		{"image/png", "a.png", "", "inline; filename=a.png"},
		{"image/png", "a.png", "b c.png", `inline; filename="b c.png"`},
		{"text/html", "a.html", "", "attachment; filename=a.html"},
		{"image/svg+xml", "", "", "attachment"},
		{"text/plain; charset=utf-8", "a\"b\\c", "", `inline; filename="a\"b\\c"`},
		{"video/mp4", "사진", "", "inline; filename*=utf-8''%EC%82%AC%EC%A7%84"},
		{"nonsense", "x", "", "attachment; filename=x"},
		{"image/png", "../../etc/passwd", "", `inline; filename="../../etc/passwd"`},
	} {
		if got := (Info{c.typ, c.name}).Disposition(c.override); got != c.want {
			t.Errorf("%q %q: %s, want %s", c.typ, c.name, got, c.want)
		}
	}
}

func FuzzInfo(f *testing.F) {
	f.Add("text/plain", "a.txt")
	f.Add("text/plain\r\nX: y", "a\r\nX: y")
	f.Fuzz(func(t *testing.T, typ, name string) {
		i := Info{cleanType(typ), cleanName(name)}
		for _, h := range []string{i.Type, i.Disposition(""), i.Disposition(name)} {
			if h == "" || strings.ContainsAny(h, "\r\n\x00") {
				t.Errorf("%q %q make the header %q", typ, name, h)
			}
		}
		if cleanType(i.Type) != i.Type || len(i.Name) > maxName {
			t.Errorf("%q is not clean, or %q too long", i.Type, i.Name)
		}
	})
}
