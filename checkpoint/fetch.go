package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/replica"
)

// Fetch returns a verified checkpoint of a partition at atLeast or later, from here or from another site; for
// replica.Config.Checkpoint. One that two sites hold alike is preferred, then the newest. It returns nil when no site has one, and
// errs.Unavailable when one could not be fetched, or none was found and not every site could be asked.
func (k *Keeper) Fetch(ctx context.Context, p journal.Partition, atLeast journal.Position) (*replica.CheckpointFile, error) {
	const op = "checkpoint.Fetch"
	select {
	case k.fetching <- struct{}{}:
		defer func() { <-k.fetching }()
	case <-ctx.Done():
		return nil, errs.Wrap(op, ctx.Err())
	}
	if err := k.ready(ctx); err != nil {
		return nil, errs.Wrap(op, err)
	}
	lists, absent := k.ask(ctx)
	var causes []error
	for _, c := range k.candidates(p, atLeast, lists) {
		f, err := k.obtain(ctx, c)
		if err == nil {
			return f, nil
		}
		if ctx.Err() != nil {
			return nil, errs.Wrap(op, ctx.Err())
		}
		k.cfg.Log.Warn("checkpoint: not fetched", "partition", p, "pos", c.Pos, "err", err)
		causes = append(causes, err)
	}
	switch {
	case len(causes) > 0:
		return nil, &errs.Error{Op: op, Kind: errs.Unavailable, Message: "no checkpoint could be fetched", Err: errors.Join(causes...)}
	case len(absent) > 0:
		return nil, errs.New(op, errs.Unavailable, "", "no checkpoint is known, and sites %v do not answer", absent)
	}
	return nil, nil
}

// candidate is a checkpoint, and who holds it.
type candidate struct {
	Entry // of one of the holders
	own   *file
	sites map[string]Entry // other sites
}

func (c *candidate) holders() int {
	n := len(c.sites)
	if c.own != nil {
		n++
	}
	return n
}

// candidates are the checkpoints that could be used, the best first. Where two of one position differ, the one that fewer sites hold is
// none.
func (k *Keeper) candidates(p journal.Partition, atLeast journal.Position, lists map[string][]Entry) []*candidate {
	var all []*candidate
	at := func(e Entry) *candidate {
		for _, c := range all {
			if c.same(e) {
				return c
			}
		}
		all = append(all, &candidate{Entry: e, sites: map[string]Entry{}})
		return all[len(all)-1]
	}
	for _, f := range k.of(p) {
		if f.Pos >= atLeast {
			at(f.Entry).own = &f
		}
	}
	for site, list := range lists {
		for _, e := range list {
			if e.Partition == p && e.Partitions == k.cfg.Journal.Partitions() && e.Pos >= atLeast {
				at(e).sites[site] = e
			}
		}
	}
	all = slices.DeleteFunc(slices.Clone(all), func(c *candidate) bool {
		return slices.ContainsFunc(all, func(o *candidate) bool { return o.Pos == c.Pos && o.holders() > c.holders() })
	})
	slices.SortFunc(all, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(min(b.holders(), 2), min(a.holders(), 2)), cmp.Compare(b.Pos, a.Pos), cmp.Compare(b.holders(), a.holders()))
	})
	return all
}

// obtain makes a candidate be here, and verifies it.
func (k *Keeper) obtain(ctx context.Context, c *candidate) (*replica.CheckpointFile, error) {
	var causes []error
	if c.own != nil {
		f, err := replica.OpenCheckpoint(c.own.path)
		if err == nil {
			return f, nil
		}
		causes = append(causes, err)
		k.drop(c.Partition, err, func(f file) bool { return f.path == c.own.path })
	}
	for _, site := range slices.Sorted(maps.Keys(c.sites)) {
		f, err := k.download(ctx, site, c.sites[site])
		if err == nil {
			return f.checkpoint(), nil
		}
		causes = append(causes, fmt.Errorf("%s: %w", site, err))
	}
	return nil, errors.Join(causes...)
}

// download fetches a file from a site. What has come of it stays when the connection breaks, and is gone on with, also from another
// site that has the very same file.
func (k *Keeper) download(ctx context.Context, site string, want Entry) (got file, err error) {
	if len(want.Tag) != 2*len(replica.Digest{}) || filepath.Base(want.Tag) != want.Tag {
		return got, fmt.Errorf("malformed tag %q", want.Tag)
	}
	tmp := filepath.Join(k.cfg.Dir, fmt.Sprintf("fetch-p%d-%s%s", want.Partition, want.Tag, partial))
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return got, err
	}
	defer f.Close() //nolint:errcheck // closed already, or of no use
	for {
		have, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return got, err
		}
		if have >= want.Size {
			break
		}
		if err := k.space(want.Size - have); err != nil {
			return got, err
		}
		n, err := k.receive(ctx, site, want, f, have)
		if err != nil && n == 0 {
			return got, err
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return got, err
	}
	got, err = k.verify(tmp)
	if err == nil && !got.same(want) {
		err = fmt.Errorf("%w: it is not the one that was listed", replica.ErrCheckpoint)
	}
	if err != nil {
		return got, errors.Join(err, os.Remove(tmp))
	}
	got, err = k.accept(tmp)
	if err != nil {
		return got, err
	}
	k.removeParts(want.Partition)
	k.cfg.Log.Info("checkpoint: fetched", "from", site, "partition", got.Partition, "pos", got.Pos, "bytes", got.Size)
	return got, nil
}

// receive appends to f what follows its first have bytes, and says how much came.
func (k *Keeper) receive(ctx context.Context, site string, want Entry, f *os.File, have int64) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, contentPath(want), http.NoBody)
	if err != nil {
		return 0, err
	}
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		req.Header.Set("If-Range", `"`+want.Tag+`"`)
	}
	resp, err := k.cfg.Link.Do(ctx, site, req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	switch {
	case resp.StatusCode == http.StatusPartialContent && have > 0:
	case resp.StatusCode == http.StatusOK: // all of it
		if err := f.Truncate(0); err != nil {
			return 0, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		have = 0
	default:
		return 0, errors.New(resp.Status)
	}
	n, err := io.Copy(f, io.LimitReader(resp.Body, want.Size-have+1))
	if err == nil && have+n != want.Size {
		err = fmt.Errorf("%w: it has %d bytes, not %d", replica.ErrCheckpoint, have+n, want.Size)
		n = 0 // not worth another attempt
	}
	return n, err
}

// removeParts removes what is left of other fetches of a partition.
func (k *Keeper) removeParts(p journal.Partition) {
	paths, _ := filepath.Glob(filepath.Join(k.cfg.Dir, fmt.Sprintf("fetch-p%d-*%s", p, partial))) // the pattern is sound
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			k.cfg.Log.Warn("checkpoint: a file cannot be removed", "path", path, "err", err)
		}
	}
}
