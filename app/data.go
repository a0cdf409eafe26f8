package app

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bongsu/clock"
	"bongsu/config"
	"bongsu/disk"
)

// dataFormat is the version of the data directory's layout. A build opens its own version only.
const dataFormat = 1

// dataDir is an open data directory. Its layout:
//
//	format.json   version of the layout, and what can never change
//	lock          held by the running process
//	boot          number of the last run
//	journal/      the truth
//	cluster.json  in a cluster: what this site remembers of the others
//	first.json    of one made from a backup, until its first start: how it begins
//	sealed.json   the server was moved elsewhere and is not to be started here
//	checkpoints/  copies of the state, from which other sites and this one can begin
//	rows/         state, made from the journal
//	rows.damaged  while the rows are to be discarded at the next start
//	blobs/        files that users uploaded
//	thumbnails/   made from blobs; may be deleted while no process runs
//	admin.sock    the operator's socket, while the process runs
type dataDir struct {
	path string
	boot uint64 // number of this run
	lock *os.File
}

// format is the content of format.json.
type format struct {
	Version    int    `json:"version"`
	ServerName string `json:"server_name"`
	Site       string `json:"site"`
	Cluster    string `json:"cluster,omitempty"` // the cluster's id; none: a single node
	Partitions int    `json:"partitions"`
}

// openData opens or makes the data directory at path, takes its lock and a new boot number. want says what cannot change.
func openData(path string, want format) (*dataDir, error) {
	if err := makeDir(path); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	d := &dataDir{path: path}
	var err error
	if d.lock, err = os.OpenFile(d.join("lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // a file descriptor fits
		_ = d.lock.Close()
		return nil, fmt.Errorf("data directory %s is in use by another process", path)
	}
	if err = d.checkFormat(want); err == nil {
		// Rows hold hashes of passwords and tokens: the directory is for its owner alone, whoever made it.
		err = errors.Join(os.Chmod(path, 0o700), d.nextBoot()) //nolint:gosec // a directory needs its x
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *dataDir) join(name string) string { return filepath.Join(d.path, name) }

// checkFormat compares the directory with what this build and the settings say, or marks a new one.
func (d *dataDir) checkFormat(want format) error {
	want.Version = dataFormat
	text, err := os.ReadFile(d.join("format.json"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(d.join("checkpoints")); err == nil {
			return fmt.Errorf("%s is of a restore that was not finished: empty it and restore again", d.path)
		}
		entries, err := os.ReadDir(d.path)
		if err != nil {
			return fmt.Errorf("data directory: %w", err)
		}
		for _, e := range entries {
			switch name := e.Name(); {
			case name == "lock", name == "lost+found", strings.HasPrefix(name, "."):
			case name == "format.json.new": // the first start was cut off right here
			default:
				return fmt.Errorf("%s holds %q but no format.json: it is not a data directory of Bongsu", d.path, name)
			}
		}
		return d.writeFormat(want)
	}
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	var have format
	if err := json.Unmarshal(text, &have); err != nil {
		return fmt.Errorf("%s: %w", d.join("format.json"), err)
	}
	switch {
	case have.Version != want.Version:
		return fmt.Errorf("the data directory has format %d and this build reads format %d: run the build that wrote it",
			have.Version, want.Version)
	case have.ServerName != want.ServerName:
		return fmt.Errorf("the data directory belongs to server %q, not %q: a server's name cannot change",
			have.ServerName, want.ServerName)
	case have.Cluster == "" && want.Cluster != "":
		return errors.New("the data directory belongs to a single node: it cannot become a site of a cluster as it is; see \"bongsu cluster grow\"")
	case have.Cluster != "" && want.Cluster == "":
		return fmt.Errorf("the data directory belongs to a site of cluster %s, and the settings name no cluster: start it with its site.toml", have.Cluster)
	case have.Cluster != want.Cluster:
		return fmt.Errorf("the data directory belongs to cluster %s, not %s: a site of another cluster needs an empty directory", have.Cluster, want.Cluster)
	case have.Site != want.Site:
		return fmt.Errorf("the data directory belongs to site %q, not %q", have.Site, want.Site)
	case have.Partitions != want.Partitions:
		return fmt.Errorf("the data directory has %d partitions, not %d: their number is fixed when it is made",
			have.Partitions, want.Partitions)
	}
	return nil
}

// writeFormat makes the directory a data directory.
func (d *dataDir) writeFormat(f format) error {
	f.Version = dataFormat
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return disk.WriteFile(d.join("format.json"), append(text, '\n'))
}

// formatOf is what the settings say of a data directory.
func formatOf(c *config.Config) format {
	return format{ServerName: c.ServerName, Site: c.Site, Cluster: c.Cluster.ID, Partitions: c.Disk.Partitions}
}

// nextBoot takes the number of this run; it is on disk before it is used.
func (d *dataDir) nextBoot() error {
	text, err := os.ReadFile(d.join("boot"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data directory: %w", err)
	}
	if err == nil {
		if d.boot, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err != nil {
			return fmt.Errorf("%s: %w", d.join("boot"), err)
		}
	} else {
		// A site that begins with an empty disk may have had runs before, whose numbers are not known here. They began with an
		// earlier time, and nobody starts a server every second.
		d.boot = firstBoot()
	}
	_, err = d.raiseBoot(d.boot)
	return err
}

// firstBoot is the number before the first run of a directory that does not know of any.
func firstBoot() uint64 { return uint64(clock.System{}.Now().Unix()) << 16 }

// raiseBoot takes a number for this run that is greater than above.
func (d *dataDir) raiseBoot(above uint64) (uint64, error) {
	// The low bits are random, so that a run on an older copy of the directory is told from the runs that it does not know.
	var nonce [2]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return 0, err
	}
	d.boot = (above>>16+1)<<16 | uint64(binary.BigEndian.Uint16(nonce[:]))
	return d.boot, disk.WriteFile(d.join("boot"), strconv.AppendUint(nil, d.boot, 10))
}

// damagedRows is there while the rows are to be discarded at the next start.
const damagedRows = "rows.damaged"

func (d *dataDir) markDamagedRows() error {
	return disk.WriteFile(d.join(damagedRows), []byte("the rows are made anew at the next start\n"))
}

// discardDamagedRows removes the rows if they were marked, and then the mark.
func (d *dataDir) discardDamagedRows(log *slog.Logger) error {
	if _, err := os.Stat(d.join(damagedRows)); err != nil {
		return nil //nolint:nilerr // there is no mark
	}
	log.Error("ALARM: the rows were damaged on this disk; they are discarded and made anew")
	if err := os.RemoveAll(d.join("rows")); err != nil {
		return err
	}
	return errors.Join(os.Remove(d.join(damagedRows)), disk.SyncDir(d.path))
}

// close gives up the lock.
func (d *dataDir) close() { _ = d.lock.Close() }

// makeDir makes a directory and those above it, on stable storage.
func makeDir(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	above := filepath.Dir(path)
	if above != path {
		if err := makeDir(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return disk.SyncDir(above)
}
