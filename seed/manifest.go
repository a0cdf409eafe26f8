package seed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bongsu/blob"
	"bongsu/disk"
	"bongsu/journal"
)

// The names in a seed.
const (
	manifestFile = "seed.json"
	listFile     = "blobs.list"
	blobsDir     = "blobs"
)

// format is the version of a seed's layout.
const format = 1

// Manifest is what a seed says of itself: the content of seed.json.
type Manifest struct {
	Format     int         `json:"format"`
	Server     string      `json:"server_name"`
	Site       string      `json:"site"`    // where it was made
	MadeMS     int64       `json:"made_ms"` // when; Unix milliseconds
	Build      string      `json:"build"`   // by what
	Epoch      uint64      `json:"epoch"`
	Rules      uint16      `json:"rules"` // version that a build must know to go on from here
	Boot       uint64      `json:"boot"`  // highest number of a run that the state knows; later runs need higher ones
	Sealed     bool        `json:"sealed"`
	Partitions []Partition `json:"partitions"`
	Files      Files       `json:"files"`
	Sum        Hash        `json:"sum"` // of the rest of the manifest
}

// Partition is one partition's checkpoint.
type Partition struct {
	File      string `json:"file"` // its name in the seed
	Position  uint64 `json:"position"`
	Record    Hash   `json:"record"` // of the record at the position
	Digest    Hash   `json:"digest"`
	StateHash Hash   `json:"state_hash"`
	Rows      int    `json:"rows"`
	Bytes     int64  `json:"bytes"`
}

// Files are those that users uploaded.
type Files struct {
	Count   int         `json:"count"`
	Bytes   int64       `json:"bytes"`
	List    Hash        `json:"list"`              // of blobs.list
	Missing []blob.Hash `json:"missing,omitempty"` // named by the state, and not to be had where the seed was made
}

// Hash is a SHA-256, in hexadecimal when it is written.
type Hash [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(h)) {
		return errors.New("a hash has 64 characters")
	}
	_, err := hex.Decode(h[:], text)
	return err
}

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Positions are the positions of the checkpoints.
func (m *Manifest) Positions() []journal.Position {
	out := make([]journal.Position, len(m.Partitions))
	for i, p := range m.Partitions {
		out[i] = journal.Position(p.Position)
	}
	return out
}

// ErrDamaged is what is said of a seed that is not what it says of itself.
var ErrDamaged = errors.New("the backup is damaged")

func damaged(dir, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrDamaged, dir, fmt.Sprintf(format, args...))
}

// sum is the hash of the manifest but for Sum.
func (m Manifest) sum() (Hash, error) {
	m.Sum = Hash{}
	text, err := json.Marshal(m)
	return sha256.Sum256(text), err
}

// write puts the manifest into the seed, as the last of its files.
func (m *Manifest) write(dir string) (err error) {
	if m.Sum, err = m.sum(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return disk.WriteFile(filepath.Join(dir, manifestFile), append(text, '\n'))
}

// Open reads the manifest of the seed in dir and checks that it is whole. What else the seed holds is Verify's.
func Open(dir string) (*Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a backup, or one that was not finished: it has no %s", dir, manifestFile)
	}
	if err != nil {
		return nil, err
	}
	var version struct{ Format int }
	if json.Unmarshal(text, &version) == nil && version.Format > format {
		return nil, fmt.Errorf("%s has format %d and this build reads format %d: use the build that wrote it, or a newer one", dir, version.Format, format)
	}
	m := new(Manifest)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, damaged(dir, "%s: %v", manifestFile, err)
	}
	sum, err := m.sum()
	switch {
	case err != nil:
		return nil, err
	case sum != m.Sum || m.Format != format || len(m.Partitions) == 0:
		return nil, damaged(dir, "%s does not match its hash", manifestFile)
	}
	for _, p := range m.Partitions {
		if p.File != filepath.Base(p.File) {
			return nil, damaged(dir, "%q is not the name of a file", p.File)
		}
	}
	return m, nil
}
