package seed_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bongsu/blob"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/seed"
)

// source is a small state, and the files that it names.
type source struct {
	replica *replica.Replica
	files   map[blob.Hash][]byte
	asked   []blob.Hash
}

func newSource(t *testing.T) *source {
	s := &source{files: map[blob.Hash][]byte{}}
	put := replica.Machine{Name: "put", Byte: 'P', Kinds: map[string]replica.Kind{
		"put": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			tx.Set(append(replica.Row(tx.Slot(), 'P', 'r'), body...), bytes.Clone(body))
			return nil, nil
		}},
	}}
	s.replica = replicatest.New(t, replicatest.Options{Machines: []replica.Machine{put}, Partitions: 2, Boot: 77})
	for i := range 40 {
		if _, err := s.replica.Submit(t.Context(), replica.Proposal{Kind: "put", Slot: id.Slot(i * 100), Body: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		s.add([]byte(strings.Repeat(fmt.Sprint("content ", i), i*50_000)))
	}
	return s
}

func (s *source) add(data []byte) blob.Hash {
	sum := sha256.Sum256(data)
	h := blob.Hash(hex.EncodeToString(sum[:]))
	s.files[h] = data
	return h
}

// write makes a seed in dir; change may change the plan.
func (s *source) write(t *testing.T, dir string, change func(*seed.Plan)) (*seed.Manifest, error) {
	t.Helper()
	cut, err := s.replica.Cut(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	p := seed.Plan{Dir: dir, Server: "example.org", Site: "seoul", Build: "test", Made: time.UnixMilli(1234), Cut: cut,
		Named: func(kv.Reader) iter.Seq[blob.Hash] {
			names := slices.Sorted(maps.Keys(s.files))
			return slices.Values(append(names, names...)) // several records may name one file
		},
		Open: func(_ context.Context, h blob.Hash) (io.ReadCloser, error) {
			s.asked = append(s.asked, h)
			if s.files[h] == nil {
				return nil, errs.New("test", errs.NotFound, "", "not here")
			}
			return io.NopCloser(bytes.NewReader(s.files[h])), nil
		}}
	if change != nil {
		change(&p)
	}
	return seed.Write(t.Context(), p)
}

func TestWriteAndVerify(t *testing.T) {
	s := newSource(t)
	dir := filepath.Join(t.TempDir(), "a", "seed")
	m, err := s.write(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.Server != "example.org" || m.Site != "seoul" || m.MadeMS != 1234 || m.Epoch != 1 || m.Boot != 77 || len(m.Partitions) != 2 ||
		m.Files.Count != 5 || len(m.Files.Missing) != 0 || m.Partitions[0].Rows == 0 {
		t.Errorf("%+v", m)
	}
	var steps int
	again, err := seed.Verify(t.Context(), dir, func(seed.Step) { steps++ })
	if err != nil || fmt.Sprint(again) != fmt.Sprint(m) || steps == 0 {
		t.Errorf("%v after %d steps: %+v", err, steps, again)
	}
	if _, err := s.write(t, dir, nil); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("written twice: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := seed.Verify(ctx, dir, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestEveryBitCounts changes a bit in every file of a seed, in many places, cuts files short and removes them: each time it is
// found, and said where.
func TestEveryBitCounts(t *testing.T) {
	s := newSource(t)
	dir := filepath.Join(t.TempDir(), "seed")
	if _, err := s.write(t, dir, nil); err != nil {
		t.Fatal(err)
	}
	var names []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil || len(names) != 2+2+5 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	damaged := func(name, how string) {
		t.Helper()
		if _, err := seed.Verify(t.Context(), dir, nil); err == nil {
			t.Errorf("%s of %s was not found", how, filepath.Base(name))
		} else if !errors.Is(err, seed.ErrDamaged) && !strings.Contains(err.Error(), "is not a backup") && !strings.Contains(err.Error(), "has format") {
			t.Errorf("%s of %s: %v", how, filepath.Base(name), err)
		}
	}
	for _, name := range names {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		write := func(data []byte) {
			t.Helper()
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 8 {
			if len(whole) == 0 {
				break
			}
			at := i * (len(whole) - 1) / 8
			if filepath.Base(name) == "seed.json" && (whole[at] == ' ' || whole[at] == '\n') {
				continue // white space says nothing
			}
			changed := bytes.Clone(whole)
			changed[at] ^= 1
			write(changed)
			damaged(name, fmt.Sprintf("byte %d", at))
		}
		if len(whole) > 0 {
			write(whole[:len(whole)/2])
			damaged(name, "the second half")
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		damaged(name, "the whole")
		write(whole)
	}
	if _, err := seed.Verify(t.Context(), dir, nil); err != nil {
		t.Errorf("mended again: %v", err)
	}
}

// TestLinks: files that an earlier seed has are shared with it, unless they have decayed there.
func TestLinks(t *testing.T) {
	s := newSource(t)
	root := t.TempDir()
	first, second := filepath.Join(root, "first"), filepath.Join(root, "second")
	if _, err := s.write(t, first, nil); err != nil {
		t.Fatal(err)
	}
	decayed := slices.Sorted(maps.Keys(s.files))[0]
	if err := os.WriteFile(blobPath(first, decayed), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := s.add([]byte("fresh"))
	s.asked = nil
	m, err := s.write(t, second, func(p *seed.Plan) { p.LinkFrom = first })
	if err != nil || m.Files.Count != 6 {
		t.Fatalf("%+v, %v", m, err)
	}
	slices.Sort(s.asked)
	want := []blob.Hash{decayed, fresh}
	slices.Sort(want)
	if !slices.Equal(s.asked, want) {
		t.Errorf("copied were %s, want %s", s.asked, want)
	}
	if _, err := seed.Verify(t.Context(), second, nil); err != nil {
		t.Error(err)
	}
	if _, err := s.write(t, filepath.Join(root, "third"), func(p *seed.Plan) { p.LinkFrom = root }); err == nil || !strings.Contains(err.Error(), "is not a backup") {
		t.Errorf("linked from nothing: %v", err)
	}
}

func blobPath(dir string, h blob.Hash) string {
	return filepath.Join(dir, "blobs", string(h[:2]), string(h))
}

// TestMissingFiles: a file that cannot be had, or is not what its name says, is listed and does not keep a seed from being made.
func TestMissingFiles(t *testing.T) {
	s := newSource(t)
	names := slices.Sorted(maps.Keys(s.files))
	s.files[names[0]] = nil
	s.files[names[1]] = []byte("decayed")
	dir := filepath.Join(t.TempDir(), "seed")
	m, err := s.write(t, dir, nil)
	if err != nil || m.Files.Count != 3 || !slices.Equal(m.Files.Missing, names[:2]) {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := seed.Verify(t.Context(), dir, nil); err != nil {
		t.Error(err)
	}
}

// TestSealComesBeforeTheManifest: a seed that could not be sealed is none.
func TestSealComesBeforeTheManifest(t *testing.T) {
	s := newSource(t)
	dir := filepath.Join(t.TempDir(), "seed")
	broken := errors.New("no mark")
	if _, err := s.write(t, dir, func(p *seed.Plan) { p.Sealed, p.Seal = true, func() error { return broken } }); !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if _, err := seed.Open(dir); err == nil || !strings.Contains(err.Error(), "was not finished") {
		t.Errorf("%v", err)
	}
}

// TestPrepare makes data directories from a seed, sharing its files, copying them, or without them. From a damaged one none is made.
func TestPrepare(t *testing.T) {
	s := newSource(t)
	root := t.TempDir()
	dir := filepath.Join(root, "seed")
	m, err := s.write(t, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := seed.First{Epoch: 9, Sites: []string{"a", "b", "c"}}
	for name, target := range map[string]seed.Target{
		"copied": {First: first}, "shared": {First: first, Share: true}, "without": {First: first, NoFiles: true},
	} {
		target.Data = filepath.Join(root, name)
		if _, err := seed.Prepare(t.Context(), dir, target); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f, err := seed.ReadFirst(target.Data)
		if err != nil || f.Epoch != 9 || !slices.Equal(f.Sites, first.Sites) || !slices.Equal(f.Positions, m.Positions()) || f.Journal()[0] != m.Positions()[0]+1 {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		for h, data := range s.files {
			got, err := os.ReadFile(blobPath(target.Data, h))
			if target.NoFiles != errors.Is(err, os.ErrNotExist) || !target.NoFiles && !bytes.Equal(got, data) {
				t.Errorf("%s: file %s: %v", name, h, err)
			}
		}
		for _, p := range m.Partitions {
			if _, err := replica.OpenCheckpoint(filepath.Join(target.Data, "checkpoints", p.File)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := seed.Begun(target.Data); err != nil {
			t.Fatal(err)
		}
		if f, err := seed.ReadFirst(target.Data); f != nil || err != nil || f.Journal() != nil {
			t.Errorf("%s: begun, and begins again: %+v, %v", name, f, err)
		}
		if _, err := seed.Prepare(t.Context(), dir, target); err == nil || !strings.Contains(err.Error(), "is not empty") {
			t.Errorf("%s: twice: %v", name, err)
		}
	}

	name := blobPath(dir, slices.Sorted(maps.Keys(s.files))[2])
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(data, 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(root, "bad")
	if _, err := seed.Prepare(t.Context(), dir, seed.Target{Data: bad, First: first}); !errors.Is(err, seed.ErrDamaged) {
		t.Errorf("from a damaged one: %v", err)
	}
	if f, _ := seed.ReadFirst(bad); f != nil {
		t.Error("a data directory was made from a damaged seed")
	}
}

func TestNextEpoch(t *testing.T) {
	a, b := seed.NextEpoch(1, "cluster-a"), seed.NextEpoch(1, "cluster-b")
	if a <= 1 || a == b || a != seed.NextEpoch(1, "cluster-a") || seed.NextEpoch(a, "cluster-a") <= a || seed.NextEpoch(a, "cluster-b") <= max(a, b) {
		t.Errorf("%d, %d, %d, %d", a, b, seed.NextEpoch(a, "cluster-a"), seed.NextEpoch(a, "cluster-b"))
	}
	if one, other := seed.NextEpoch(1, ""), seed.NextEpoch(1, ""); one == other {
		t.Error("two single nodes begin one epoch")
	}
}
