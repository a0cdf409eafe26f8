package drill

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kinds of files in a data directory, by what the layout of the data directory calls them.
var kinds = map[string]func(path string) bool{
	"journal": func(p string) bool { return strings.HasSuffix(p, ".blk") },
	"rows":    func(p string) bool { return strings.HasSuffix(p, ".sst") },
	"files":   func(p string) bool { return strings.Contains(p, "/blobs/") || strings.Contains(p, "/media/") },
}

// flip turns one bit of a file at rest: the site is stopped, so that its rows are in files, a bit of its largest file of a kind changes,
// and it starts again.
func flip(site int, kind string, seed uint64) *Fault {
	return &Fault{Name: fmt.Sprintf("flip a bit in the %s of %s", kind, names(site)), Lost: []int{site},
		inject: func(ctx context.Context, c *Cluster) error {
			if err := c.Sites[site].Stop(ctx); err != nil {
				return err
			}
			return flipBit(c.Sites[site].Data, kinds[kind], rand.New(rand.NewPCG(seed, 0))) //nolint:gosec // repeatable on purpose
		},
		heal: begin(site)}
}

// flipAlone flips a bit in a journal whose site has nothing else: its rows are gone, and must be made of that journal.
func flipAlone(site int, seed uint64) *Fault {
	f := flip(site, "journal", seed)
	f.Name += ", whose rows are gone"
	f.heal = func(ctx context.Context, c *Cluster) error {
		if err := os.RemoveAll(filepath.Join(c.Sites[site].Data, "rows")); err != nil {
			return err
		}
		return begin(site)(ctx, c)
	}
	return f
}

// flipBit flips a bit in the middle half of the largest file that is of the kind. No such file is an error: nothing would be proved.
func flipBit(dir string, is func(path string) bool, rng *rand.Rand) error {
	type file struct {
		path string
		size int64
	}
	var files []file
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !is(path) {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > 0 {
			files = append(files, file{path, info.Size()})
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("drill: %s has no file to damage", dir)
	}
	largest := slices.MaxFunc(files, func(a, b file) int { return int(a.size - b.size) })
	f, err := os.OpenFile(largest.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	at := largest.size/4 + rng.Int64N(largest.size/2+1)
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, at); err != nil {
		return err
	}
	one[0] ^= 1 << rng.IntN(8)
	if _, err := f.WriteAt(one, at); err != nil {
		return err
	}
	return f.Sync()
}

// fullDisk fills a site's disk by other hands, and takes that away again. Writes go on at the others.
func fullDisk(site int) *Fault {
	var filler string
	return &Fault{Name: "full disk at " + names(site), Lost: []int{site},
		inject: func(_ context.Context, c *Cluster) (err error) {
			filler, err = c.Sites[site].disk.Fill()
			return err
		},
		heal: func(context.Context, *Cluster) error { return os.Remove(filler) }}
}
