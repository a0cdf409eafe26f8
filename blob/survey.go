package blob

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"bongsu/errs"
)

const (
	maxListed   = 4096            // lacking blobs that one survey lists, the newest; a next one lists the rest
	maxSuspects = 1 << 16         // blobs without a record that are remembered from one survey to the next
	surveyAgain = time.Minute     // the least time between two surveys that find nothing to do
	surveyRetry = 5 * time.Second // when the state has not caught up
)

// Want says that a record names a blob which may not be here: it is fetched in the background. It does not block.
func (m *Mirror) Want(h Hash) {
	if m.cfg.Link == nil || !h.valid() {
		return
	}
	select {
	case m.wanted <- h:
	default:
		m.lookAround()
	}
}

// lookAround asks for a survey.
func (m *Mirror) lookAround() {
	select {
	case m.look <- struct{}{}:
	default:
	}
}

// fetchWanted fetches what is wanted.
func (m *Mirror) fetchWanted() {
	for {
		select {
		case h := <-m.wanted:
			if err := m.obtain(h); err != nil {
				m.cfg.Log.Debug("blob: not fetched", "hash", h, "err", err)
				m.lookAround()
			}
		case <-m.ctx.Done():
			return
		}
	}
}

// obtain fetches a blob in the background unless it is here. One that is here becomes young: a survey with an older view may be about
// to find it of no use.
func (m *Mirror) obtain(h Hash) error {
	if !m.isDecayed(h) && m.store.Touch(h, m.cfg.Clock.Now()) {
		return nil
	}
	return m.fetch(m.ctx, h, m.pace.WaitN)
}

// surveyor compares records and blobs: now, every SurveyEvery, and when there is reason to.
func (m *Mirror) surveyor() {
	s := survey{suspects: map[Hash]time.Time{}, lost: map[Hash]bool{}}
	for {
		wait := m.cfg.SurveyEvery
		again, err := m.survey(&s)
		switch {
		case err != nil && m.ctx.Err() == nil:
			m.cfg.Log.Debug("blob: files and records could not be compared yet", "err", err)
			wait = min(wait, surveyRetry)
		case again:
			wait = 0
		default:
			clear(s.lost)
		}
		if !m.rest(wait) {
			return
		}
	}
}

// rest waits, shorter if there is reason to look around. It reports whether there is a next survey.
func (m *Mirror) rest(wait time.Duration) bool {
	least := min(wait, surveyAgain)
	select {
	case <-time.After(least):
	case <-m.ctx.Done():
		return false
	}
	select {
	case <-m.look:
	case <-time.After(wait - least):
	case <-m.ctx.Done():
		return false
	}
	return true
}

// survey is what one survey tells the next.
type survey struct {
	suspects map[Hash]time.Time // blobs without a record, and since when
	lost     map[Hash]bool      // what no site had: not asked for again before the next rest
}

// survey compares once, fetches what is lacking and removes what was of no use at an earlier survey already. It reports whether it
// should be called again at once, because it could not list all that is lacking.
func (m *Mirror) survey(s *survey) (again bool, err error) {
	names, lacking, err := m.readNames(s.lost)
	if err != nil {
		return false, err
	}
	orphans, n, missing, err := m.match(names)
	if err != nil {
		return false, err
	}
	m.removeOrphans(orphans, s.suspects)
	m.mu.Lock()
	before := m.status.Lacking
	m.status.Blobs, m.status.Lacking, m.status.Surveyed = n, missing, m.cfg.Clock.Now()
	for h := range m.decayed {
		if !s.lost[h] {
			lacking.add(Named{Hash: h})
		}
	}
	m.mu.Unlock()
	if m.cfg.Link == nil {
		m.report(before)
		return false, nil
	}
	list := lacking.list()
	whole := m.fetchAll(list, s.lost)
	m.report(before)
	return whole && len(list) == maxListed, nil
}

// report says what is lacking, when that has changed.
func (m *Mirror) report(before int) {
	switch now := m.Status().Lacking; now {
	case before:
	case 0:
		m.cfg.Log.Info("blob: all files are here again")
	default:
		m.cfg.Log.Error("blob: files are lacking at this site, and other sites did not give them", "files", now)
	}
}

// prefix is the beginning of a hash. Two blobs that share it, which hardly happens, protect each other from removal.
func prefix(h Hash) uint64 {
	n, _ := strconv.ParseUint(string(h[:16]), 16, 64) // a Hash is hexadecimal
	return n
}

// readNames reads which blobs the records name: their prefixes, ordered, eight bytes for each, and the newest that are not here.
func (m *Mirror) readNames(lost map[Hash]bool) (names []uint64, lacking *newest, err error) {
	lacking = &newest{}
	for n, err := range m.cfg.Named(m.ctx) {
		if err != nil {
			return nil, nil, err
		}
		if !n.Hash.valid() {
			continue // it names nothing
		}
		names = append(names, prefix(n.Hash))
		if !lost[n.Hash] && !m.store.Has(n.Hash) {
			lacking.add(n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), lacking, nil
}

// match goes through names and the blobs that are here, both in order: which blobs have no name, how many are here, how many names
// have no blob.
func (m *Mirror) match(names []uint64) (orphans []Hash, n, missing int, err error) {
	for h, err := range m.store.All() {
		if err != nil {
			return nil, 0, 0, err
		}
		n++
		p := prefix(h)
		for len(names) > 0 && names[0] < p {
			missing++
			names = names[1:]
		}
		switch {
		case len(names) > 0 && names[0] == p:
			names = names[1:]
		case len(orphans) < maxSuspects:
			orphans = append(orphans, h)
		}
	}
	return orphans, n, missing + len(names), nil
}

// removeOrphans removes what no record names, was put long ago, and was seen without a record at a survey a while before: a clock
// that leaps must not make an upload old whose record is on its way.
func (m *Mirror) removeOrphans(orphans []Hash, suspects map[Hash]time.Time) {
	now, removed := m.cfg.Clock.Now(), 0
	still := map[Hash]time.Time{}
	for _, h := range orphans {
		since, ok := suspects[h]
		if !ok {
			since = now
		}
		if now.Sub(since) < m.cfg.SurveyEvery {
			still[h] = since
			continue
		}
		switch gone, err := m.store.RemoveOld(h, now.Add(-m.cfg.KeepOrphans)); {
		case err != nil:
			m.cfg.Log.Warn("blob: a file of no use cannot be removed", "hash", h, "err", err)
		case gone:
			removed++
		default:
			still[h] = since
		}
	}
	clear(suspects)
	for h, at := range still {
		suspects[h] = at
	}
	if removed > 0 {
		m.cfg.Log.Info("blob: removed files that no record names", "files", removed)
	}
}

// fetchAll fetches blobs; those that no site has are added to lost. It gives up, and says so, when a site that may have one cannot be
// reached or this disk takes no more.
func (m *Mirror) fetchAll(list []Hash, lost map[Hash]bool) (whole bool) {
	ctx, cancel := context.WithCancel(m.ctx)
	defer cancel()
	var wg sync.WaitGroup
	next := make(chan Hash)
	for range fetchers {
		wg.Go(func() {
			for h := range next {
				replaces := m.isDecayed(h)
				err := m.obtain(h)
				m.mu.Lock()
				switch {
				case err == nil && !replaces:
					m.status.Lacking = max(m.status.Lacking-1, 0)
				case errs.Is(err, errs.NotFound):
					lost[h] = true
				case err != nil:
					m.cfg.Log.Debug("blob: not fetched", "hash", h, "err", err)
					cancel()
				}
				m.mu.Unlock()
			}
		})
	}
	for _, h := range list {
		if ctx.Err() != nil {
			break
		}
		next <- h
	}
	close(next)
	wg.Wait()
	return ctx.Err() == nil
}

// newest keeps the newest of many, once each.
type newest struct{ all []Named }

func (n *newest) add(x Named) {
	if n.all = append(n.all, x); len(n.all) >= 2*maxListed {
		n.prune()
	}
}

func (n *newest) prune() {
	slices.SortFunc(n.all, func(a, b Named) int { return cmp.Compare(b.Created, a.Created) })
	n.all = n.all[:min(len(n.all), maxListed)]
}

// list is what was kept, newest first.
func (n *newest) list() []Hash {
	n.prune()
	seen := map[Hash]bool{}
	var out []Hash
	for _, x := range n.all {
		if !seen[x.Hash] {
			seen[x.Hash] = true
			out = append(out, x.Hash)
		}
	}
	return out
}
