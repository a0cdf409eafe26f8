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
	"time"
)

// kinds of files in a data directory, by what the layout of the data directory calls them.
var kinds = map[string]func(path string) bool{
	"journal": func(p string) bool { return strings.HasSuffix(p, ".blk") }, // records, or the engine's books of them
	"records": func(p string) bool { return strings.HasSuffix(p, ".blk") && strings.Contains(p, "/streams/") },
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

// flipAlone flips a bit in the records of a site that has nothing else: its rows are gone, and must be made of them.
func flipAlone(site int, seed uint64) *Fault {
	f := flip(site, "records", seed)
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

// How long a slow disk stands still at a time: so that the site's engine lives with it, and so that it is taken for dead meanwhile.
const (
	shortStall = 250 * time.Millisecond
	longStall  = 1500 * time.Millisecond
)

// How long a disk is slow: long enough for leaders to go back to where they were, if they do.
const (
	slowFor      = 15 * time.Second
	slowForShort = 4 * time.Second
)

// slowDisk lets a site's disk stand still, again and again. The site stays, and what it leads must not wait for its disk for long.
func slowDisk(site int, stall time.Duration) *Fault {
	set := func(stall time.Duration) func(context.Context, *Cluster) error {
		return func(_ context.Context, c *Cluster) error { return c.Sites[site].disk.Slow(stall) }
	}
	return &Fault{Name: fmt.Sprintf("stalls of %v of the disk of %s", stall, names(site)), Slow: []int{site}, inject: set(stall), heal: set(0)}
}

// slowDisks are two slow disks, one after the other, each at a site that leads a partition by then, if it can be.
func slowDisks(p *planner) []step {
	first := -1
	slow := func(stall time.Duration) step {
		s := p.step(nil)
		s.hold = slowFor
		if p.cfg.Short {
			s.hold = slowForShort
		}
		order := p.rng.Perm(p.n)
		s.late = func(leaders []string) *Fault {
			others := slices.DeleteFunc(slices.Clone(order), func(site int) bool { return site == first })
			at := max(0, slices.IndexFunc(others, func(site int) bool { return slices.Contains(leaders, siteNames[site]) }))
			first = others[at]
			return slowDisk(first, stall)
		}
		return s
	}
	return []step{slow(shortStall), slow(longStall)}
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
