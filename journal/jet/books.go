package jet

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"

	"bongsu/journal"
)

// The engine's books are what it has promised to the engines of other sites. For each group of replicas, the directory of its name
// holds a log (in blocks, like a stream), the snapshot that stands for what the log no longer has, and the term with the vote
// given in it. An engine that forgets a promise can help to elect a leader that lacks acknowledged records, and this one cuts its
// log at the first bad entry without a word. So the books are scanned like the records, and what was seen of each group is
// remembered as lower bounds, in a file like the marks: the highest index committed here, and the term (in place of the trim).
//
// What cannot be told from a torn write is damage to the very last entries of a log, younger than the latest bound (sightEvery).
const (
	booksFile = "books"
	metaGroup = "_meta_" // the group that knows which streams there are; its place is after the partitions

	snapshotHead = 20 // term (8), index (8), length of the peers (4); peers and state follow, and a HighwayHash-64 keyed by the group's name
	entryHead    = 42 // leader (8), term (8), commit (8), term and index before (8 each), number of entries (2)
	entryBefore  = 32
	termSize     = 8  // all there is when no vote was given in the term
	voteSize     = 16 // term (8), vote (8)
)

// raftDir holds one directory for each group.
func raftDir(dir string) string { return filepath.Join(systemDir(dir), "_js_") }

// books are the bounds of the groups.
type books struct {
	*marks
}

// note remembers what each of the groups, the last being metaGroup, has on disk here.
func (b books) note(e *engine, groups []string) error {
	var errs error
	for i, name := range groups {
		account := server.DEFAULT_GLOBAL_ACCOUNT
		if name == metaGroup {
			account = server.DEFAULT_SYSTEM_ACCOUNT
		}
		status := e.srv.Raftz(&server.RaftzOptions{AccountFilter: account, GroupFilter: name})
		if status == nil {
			continue
		}
		// A candidate's term is not yet on disk.
		if g, ok := (*status)[account][name]; ok && g.State != server.Candidate.String() {
			errs = errors.Join(errs, b.raise(journal.Partition(i), journal.Position(min(g.Committed, g.PIndex)), journal.Position(g.Term)))
		}
	}
	return errs
}

// groupsOf are the groups that a complete site shows, in the order of the books.
func groupsOf(seen []sight) []string {
	var groups []string
	for _, s := range seen {
		groups = append(groups, s.group)
	}
	return append(groups, metaGroup)
}

// scanBooks reads and checks all groups, and holds those named, in the order of the books, against the bounds.
// It returns where the snapshots of the partitions say that their records end: those were synced before.
func scanBooks(dir string, groups []string, b books) (ends []journal.Position, err error) {
	found := map[string]group{}
	entries, err := os.ReadDir(raftDir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, booksDamaged("", "they cannot be read: %v", err)
	}
	for _, e := range entries {
		g := group{name: e.Name(), dir: filepath.Join(raftDir(dir), e.Name())}
		if err := g.scan(); err != nil {
			return nil, booksDamaged(g.name, "%v", err)
		}
		found[g.name] = g
	}
	for i, name := range groups {
		g, ok := found[name]
		index, term := b.of(journal.Partition(i))
		switch {
		case !ok:
			return nil, booksDamaged(name, "it is missing")
		case max(g.last, g.snapshot) < uint64(index):
			return nil, booksDamaged(name, "it ends at %d, and %d was committed here", max(g.last, g.snapshot), index)
		case g.term < uint64(term):
			return nil, booksDamaged(name, "its term is %d, and was %d", g.term, term)
		}
		if g.snapshot == 0 || name == metaGroup {
			ends = append(ends, 0)
			continue
		}
		state, err := server.DecodeStreamState(g.state)
		if err != nil {
			return nil, booksDamaged(name, "its snapshot is unreadable: %v", err)
		}
		ends = append(ends, journal.Position(state.LastSeq))
	}
	return ends, nil
}

func booksDamaged(group, format string, args ...any) error {
	return fmt.Errorf("%w: the engine's books of %q: %s; the files were left as they are",
		journal.ErrDamaged, group, fmt.Sprintf(format, args...))
}

// group is what the files show of one group of replicas.
type group struct {
	name, dir string

	last     uint64 // index of the last entry in the log; 0 when there is none
	snapshot uint64 // index that the snapshot stands for; 0 when there is none
	state    []byte // what it says, for a partition a server.StreamReplicatedState
	term     uint64
}

func (g *group) scan() error {
	if err := g.scanVote(); err != nil {
		return err
	}
	if err := g.scanSnapshots(); err != nil {
		return err
	}
	return g.scanLog()
}

// scanVote reads the term and the vote. A new group has none.
func (g *group) scanVote() error {
	buf, err := os.ReadFile(filepath.Join(g.dir, "tav.idx"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(buf) != termSize && len(buf) != voteSize {
		err = fmt.Errorf("%d bytes", len(buf))
	}
	if err != nil {
		return fmt.Errorf("its vote is unreadable: %w", err)
	}
	g.term = binary.LittleEndian.Uint64(buf)
	return nil
}

// scanSnapshots checks the latest snapshot, which is the one that the engine will take.
func (g *group) scanSnapshots() error {
	entries, err := os.ReadDir(filepath.Join(g.dir, "snapshots"))
	if err != nil {
		return ignoreMissing(err)
	}
	var term, index uint64
	latest := ""
	for _, e := range entries {
		var t, i uint64
		const form = "snap.%d.%d"
		if n, _ := fmt.Sscanf(e.Name(), form, &t, &i); n != 2 || e.Name() != fmt.Sprintf(form, t, i) {
			continue // one that was being written
		}
		if t > term || t == term && i > index {
			term, index, latest = t, i, e.Name()
		}
	}
	if latest == "" {
		return nil
	}
	buf, err := os.ReadFile(filepath.Join(g.dir, "snapshots", latest))
	if err != nil {
		return err
	}
	key := sha256.Sum256([]byte(g.name))
	hh, err := highwayhash.New64(key[:])
	if err != nil {
		return err
	}
	if len(buf) < snapshotHead+recordHash {
		return fmt.Errorf("snapshot %s is cut short", latest)
	}
	body := buf[:len(buf)-recordHash]
	hh.Write(body)
	if !bytes.Equal(hh.Sum(nil), buf[len(body):]) || binary.LittleEndian.Uint64(body[8:]) != index {
		return fmt.Errorf("the checksum of snapshot %s does not match", latest)
	}
	g.snapshot = index
	if peers := uint64(binary.LittleEndian.Uint32(body[16:])); peers <= uint64(len(body)-snapshotHead) {
		g.state = body[snapshotHead+peers:]
	}
	return nil
}

// scanLog checks that the log's entries are sound and follow each other, and that it begins where the snapshot ends or before.
func (g *group) scanLog() error {
	blocks, err := listBlocks(filepath.Join(g.dir, "msgs"))
	if err != nil {
		return err
	}
	var buf []byte
	var first uint64
	torn := ""
	for _, b := range blocks {
		if buf, err = readBlock(b.name, buf); err != nil {
			return err
		}
		hh, err := blockHash(g.name, b.index)
		if err != nil {
			return err
		}
		for off := 0; off < len(buf); {
			rec, err := parseRecord(buf[off:], hh)
			if err != nil {
				if g.follows(buf[off+1:], hh) {
					return fmt.Errorf("%w in %s at byte %d", err, b.name, off)
				}
				torn = fmt.Sprintf("%v in %s at byte %d", err, b.name, off)
				break
			}
			off += rec.size
			if !rec.counts() {
				continue
			}
			switch {
			case torn != "":
				return fmt.Errorf("%s, and entries follow", torn)
			case g.last != 0 && rec.seq != g.last+1:
				return fmt.Errorf("entry %d follows %d in %s", rec.seq, g.last, b.name)
			case len(rec.payload) < entryHead || binary.LittleEndian.Uint64(rec.payload[entryBefore:]) != rec.seq-1:
				return fmt.Errorf("entry %d is malformed", rec.seq)
			}
			if first == 0 {
				first = rec.seq
			}
			g.last = rec.seq
		}
	}
	if first > g.snapshot+1 {
		return fmt.Errorf("its log begins at %d, its snapshot ends at %d", first, g.snapshot)
	}
	return nil
}

// follows reports whether a sound entry of a later index is anywhere in buf.
func (g *group) follows(buf []byte, hh hash.Hash) bool {
	for ; len(buf) >= recordHeader+recordHash; buf = buf[1:] {
		// Only what looks like a later entry is worth hashing.
		seq, subject := binary.LittleEndian.Uint64(buf[4:]), binary.LittleEndian.Uint16(buf[20:])
		if subject != 0 || seq <= g.last || seq-g.last > 1<<20 {
			continue
		}
		if _, err := parseRecord(buf, hh); err == nil {
			return true
		}
	}
	return false
}
