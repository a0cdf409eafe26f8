package replica

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"bongsu/disk"
	"bongsu/journal"
	"bongsu/kv"
)

// A checkpoint is a copy of one partition's rows at one position. Its layout: the magic, a header, the state rows in key
// order, a mark, the derived rows, a mark, the hash of the state rows, and the hash of everything before. Two sites at one
// position write the same state hash.

const checkpointMagic = "BONGSU checkpoint 1\n"

// CheckpointInfo is what a checkpoint says of itself.
type CheckpointInfo struct {
	Partition  journal.Partition
	Partitions int
	Pos        journal.Position
	Digest     Digest // the chain hash at Pos
	StateHash  Digest // over all state rows
	record     [sha256.Size]byte
	Rows       int
}

// Record is the hash of the record at Pos.
func (i CheckpointInfo) Record() [sha256.Size]byte { return i.record }

// CheckpointFile is a checkpoint on disk whose hashes have been checked.
type CheckpointFile struct {
	Path string
	Info CheckpointInfo
}

// ErrCheckpoint marks a checkpoint that is damaged or of another kind.
var ErrCheckpoint = errors.New("replica: checkpoint damaged")

// Snapshot is the rows of one partition at one position. Whoever has it closes it soon: old rows are kept for it.
type Snapshot struct {
	view *View
	p    journal.Partition
	at   appliedRow
	of   int
}

// Snapshot takes the rows of partition p as they are now.
func (r *Replica) Snapshot(p journal.Partition) (s *Snapshot, err error) {
	defer kv.Recover(&err)
	view := r.View()
	defer func() {
		if s == nil {
			view.Close()
		}
	}()
	at, ok := decodeApplied(view.Get(appliedKey(p)))
	if !ok {
		return nil, fmt.Errorf("replica: partition %d has no state yet", p)
	}
	return &Snapshot{view: view, p: p, at: at, of: len(r.parts)}, nil
}

// Partition is whose rows these are; Pos their position.
func (s *Snapshot) Partition() journal.Partition { return s.p }

// Pos is the position of the rows.
func (s *Snapshot) Pos() journal.Position { return s.at.pos }

// Close frees the snapshot.
func (s *Snapshot) Close() { s.view.Close() }

// WriteCheckpoint writes the rows of partition p as they are now to w.
func (r *Replica) WriteCheckpoint(p journal.Partition, w io.Writer) (CheckpointInfo, error) {
	s, err := r.Snapshot(p)
	if err != nil {
		return CheckpointInfo{}, err
	}
	defer s.Close()
	return s.Write(w)
}

// Write writes the checkpoint to w.
func (s *Snapshot) Write(w io.Writer) (info CheckpointInfo, err error) {
	defer kv.Recover(&err)
	info = CheckpointInfo{Partition: s.p, Partitions: s.of, Pos: s.at.pos, Digest: s.at.digest, record: s.at.record}
	whole, state := sha256.New(), sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, whole), 256<<10)
	out.WriteString(checkpointMagic)
	out.Write(info.header())
	put := func(kr keyRange, h hash.Hash) {
		var n []byte
		for k, v := range s.view.Scan(kr.lo, kr.hi) {
			n = binary.AppendUvarint(binary.AppendUvarint(n[:0], uint64(len(k))), uint64(len(v)))
			for _, part := range [...][]byte{n, k, v} {
				out.Write(part) // errors stay in the writer until Flush
				if h != nil {
					h.Write(part)
				}
			}
			info.Rows++
		}
	}
	for _, kr := range stateRanges(s.p, s.of) {
		put(kr, state)
	}
	out.WriteByte(0)
	put(derivedRange(s.p), nil)
	out.WriteByte(0)
	state.Sum(info.StateHash[:0])
	out.Write(info.StateHash[:])
	if err := out.Flush(); err != nil {
		return info, err
	}
	_, err = w.Write(whole.Sum(nil))
	return info, err
}

func (i CheckpointInfo) header() []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(i.Partition))
	out = binary.BigEndian.AppendUint16(out, uint16(i.Partitions))
	out = binary.BigEndian.AppendUint64(out, uint64(i.Pos))
	out = append(out, i.record[:]...)
	return append(out, i.Digest[:]...)
}

const headerLen = 2 + 2 + 8 + 2*sha256.Size

// ReadCheckpoint reads a checkpoint, calling row with every row, and checks its hashes. Rows are handed out before the
// hashes are known to be right: read once to verify, and again to load. row may be nil.
func ReadCheckpoint(in io.Reader, row func(key, value []byte) error) (info CheckpointInfo, err error) {
	damaged := func(why string) error { return fmt.Errorf("%w: %s", ErrCheckpoint, why) }
	whole, state := sha256.New(), sha256.New()
	br := bufio.NewReaderSize(in, 256<<10)
	read := func(n uint64, hs ...hash.Hash) ([]byte, error) {
		if n > 64<<20 {
			return nil, damaged("a part is too long")
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(br, b); err != nil {
			return nil, damaged("it ends early")
		}
		for _, h := range hs {
			h.Write(b)
		}
		return b, nil
	}
	head, err := read(uint64(len(checkpointMagic)+headerLen), whole)
	if err != nil {
		return info, err
	}
	if !bytes.HasPrefix(head, []byte(checkpointMagic)) {
		return info, damaged("not a checkpoint of this format")
	}
	d := decoder{data: head[len(checkpointMagic):]}
	info.Partition, info.Partitions = journal.Partition(d.uint16()), int(d.uint16())
	info.Pos = journal.Position(d.uint64())
	copy(info.record[:], d.take(sha256.Size))
	copy(info.Digest[:], d.take(sha256.Size))
	for _, hs := range [...][]hash.Hash{{whole, state}, {whole}} {
		for {
			klen, err := binary.ReadUvarint(br)
			if err != nil {
				return info, damaged("it ends early")
			}
			if klen == 0 {
				whole.Write([]byte{0})
				break
			}
			vlen, err := binary.ReadUvarint(br)
			if err != nil {
				return info, damaged("it ends early")
			}
			n := binary.AppendUvarint(binary.AppendUvarint(nil, klen), vlen)
			for _, h := range hs {
				h.Write(n)
			}
			k, err := read(klen, hs...)
			if err != nil {
				return info, err
			}
			v, err := read(vlen, hs...)
			if err != nil {
				return info, err
			}
			info.Rows++
			if row != nil {
				if err := row(k, v); err != nil {
					return info, err
				}
			}
		}
	}
	sum, err := read(sha256.Size, whole)
	if err != nil {
		return info, err
	}
	copy(info.StateHash[:], sum)
	if !bytes.Equal(sum, state.Sum(nil)) {
		return info, damaged("its state rows do not match their hash")
	}
	if sum, err = read(sha256.Size); err != nil {
		return info, err
	}
	if !bytes.Equal(sum, whole.Sum(nil)) {
		return info, damaged("it does not match its hash")
	}
	if _, err := br.ReadByte(); err != io.EOF {
		return info, damaged("something follows its end")
	}
	return info, nil
}

// OpenCheckpoint verifies the checkpoint at path.
func OpenCheckpoint(path string) (*CheckpointFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := ReadCheckpoint(f, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &CheckpointFile{Path: path, Info: info}, nil
}

// SaveCheckpoint writes a checkpoint of partition p into dir, on stable storage under its final name or not at all, and
// verifies what it wrote.
func (r *Replica) SaveCheckpoint(p journal.Partition, dir string) (*CheckpointFile, error) {
	tmp, err := os.CreateTemp(dir, ".checkpoint-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when renamed
	info, err := r.WriteCheckpoint(p, tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, fmt.Sprintf("p%d-%020d.checkpoint", p, info.Pos))
	if _, err := OpenCheckpoint(tmp.Name()); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return nil, err
	}
	if err := disk.SyncDir(dir); err != nil {
		return nil, err
	}
	return &CheckpointFile{Path: path, Info: info}, nil
}

// restore loads the partition's rows from a checkpoint. There must be none before.
func (pt *partition) restore(file *CheckpointFile) error {
	pt.logger().Info("loading a checkpoint", "pos", file.Info.Pos, "path", file.Path)
	f, err := os.Open(file.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := pt.r.db.Batch()
	info, err := ReadCheckpoint(f, func(k, v []byte) error {
		b.Set(k, v)
		if b.Len() < maxBatch {
			return nil
		}
		err := b.Commit()
		b = pt.r.db.Batch()
		return err
	})
	if err == nil && info != file.Info {
		err = fmt.Errorf("%w: %s changed after it was verified", ErrCheckpoint, file.Path)
	}
	if err != nil {
		b.Discard()
		return err
	}
	// The position comes last: until it is there, the rows count for nothing.
	row := appliedRow{pos: file.Info.Pos, record: file.Info.record, digest: file.Info.Digest}
	b.Set(appliedKey(pt.n), row.encode())
	return b.Commit()
}
