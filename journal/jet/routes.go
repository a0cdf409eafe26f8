package jet

import "bongsu/journal"

// Routed reports whether this site's engine is connected with that of another site; when in doubt it is.
func (j *Journal) Routed(site string) bool {
	e := j.present()
	if e == nil {
		return false
	}
	routes, err := e.srv.Routez(nil)
	if err != nil {
		return true
	}
	for _, r := range routes.Routes {
		if r.RemoteName == site {
			return true
		}
	}
	return false
}

// Undrain lets this site lead again after Drain.
func (j *Journal) Undrain() { j.draining.Store(false) }

// Sync makes everything that this site's engine has written durable. The engine syncs its log for every record; what it is refilled with,
// and has not put into a snapshot yet, may be in the page cache only.
func (j *Journal) Sync() error { return syncTree(j.cfg.Dir) }

// Stored is up to where this site's own engine holds partition p: what lies beyond it may already be applied here, out of the hands of
// another site, while this one is being filled. 0 while it holds nothing, or is not known.
func (j *Journal) Stored(p journal.Partition) journal.Position {
	if j.cfg.Cluster == nil {
		last, _ := j.marks.of(p)
		return last
	}
	return j.seen(p).last
}
