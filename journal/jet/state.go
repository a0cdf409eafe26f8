package jet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// State is what a journal's directory is to its cluster.
type State int

const (
	// Empty: nothing is there, or a making that was cut off before the engine took part in any vote.
	Empty State = iota
	// Forming: the engine may have taken part in votes, but has not seen all partitions of the cluster here yet.
	Forming
	// Formed: all partitions have been seen here, complete.
	Formed
)

func (s State) String() string { return [...]string{"empty", "forming", "formed"}[s] }

// Checked is a directory that was read and checked. It stays locked, so that nobody changes it, until Open takes it over or it is closed.
type Checked struct {
	State State

	dir  string
	at   time.Time
	lock *os.File // nil when there is no directory, or it was handed over
}

// checkedFor is how long a check holds: bytes may decay while a site waits to be let in.
const checkedFor = time.Minute

// Check tells what the directory of a cluster's site is, without an engine: it reads and checks all files, with the routes closed,
// and changes none. It returns ErrDamaged when records or the engine's books are missing or fail their checksums; the
// remedy is Wipe, after which the other sites fill it again. It refuses the directory of a single node.
func Check(dir string, partitions int) (*Checked, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return &Checked{State: Empty}, nil
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	state, err := check(dir, partitions)
	if err != nil {
		return nil, errors.Join(remedy(err, true), lock.Close())
	}
	return &Checked{State: state, dir: dir, at: time.Now(), lock: lock}, nil
}

// Inspect is Check for who only asks what the directory is.
func Inspect(dir string, partitions int) (State, error) {
	k, err := Check(dir, partitions)
	if err != nil {
		return Empty, err
	}
	return k.State, k.Close()
}

// Close unlocks the directory, unless Open has taken it over. It may be called on nil, and again.
func (k *Checked) Close() error {
	if k == nil || k.lock == nil {
		return nil
	}
	lock := k.lock
	k.lock = nil
	return lock.Close()
}

// take hands over the lock of dir when that was checked lately. Otherwise it returns nil, and dir must be locked and checked anew.
func (k *Checked) take(dir string) (*os.File, error) {
	if k == nil || k.dir != dir || time.Since(k.at) > checkedFor {
		return nil, k.Close()
	}
	lock := k.lock
	k.lock = nil
	return lock, nil
}

// check is Check of a directory that is there and locked.
func check(dir string, partitions int) (State, error) {
	m, err := readManifest(dir)
	switch {
	case err != nil:
		return Empty, err
	case m == nil:
		return Empty, checkUnfinished(dir)
	case m.Mode != clustered:
		return Empty, fmt.Errorf("jet: %s belongs to an engine in mode %q; a journal never changes its mode: start it as it was, or give the cluster an empty directory", dir, m.Mode)
	case m.Partitions != partitions:
		return Empty, fmt.Errorf("jet: %s has %d partitions, %d were asked for; their number never changes", dir, m.Partitions, partitions)
	}
	marks, err := openMarks(filepath.Join(dir, marksFile), partitions, false)
	if err != nil {
		return Empty, err
	}
	defer marks.close()
	b, err := openMarks(filepath.Join(dir, booksFile), partitions+1, false)
	if err != nil {
		return Empty, err
	}
	defer b.close()
	if _, err := scanCluster(dir, partitions, m.Groups, marks, books{b}); err != nil {
		return Empty, err
	}
	return m.state(), nil
}

// damagedSuffix is where Wipe puts what was there.
const damagedSuffix = ".damaged"

// Wipe makes the directory Empty. What it held is kept beside it, at dir + ".damaged", in place of what an earlier Wipe kept. The
// journal must not be open.
func Wipe(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(storeDir(dir)); errors.Is(err, fs.ErrNotExist) {
		if m, err := readManifest(dir); m == nil && err == nil {
			return nil // it is Empty already, and an earlier copy may be of use
		}
	}
	aside := dir + damagedSuffix
	err = os.RemoveAll(aside)
	if err == nil {
		err = os.Rename(dir, aside)
	}
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		err = syncFile(filepath.Dir(dir))
	}
	if err != nil {
		return fmt.Errorf("jet: wiping %s: %w", dir, err)
	}
	return nil
}
