package jet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"bongsu/journal"
)

// The engines know their routes, and not whether the others have theirs. So each site says now and then for how long another has
// been silent; routes are one hop, so whoever is heard is connected.
const (
	helloEvery   = 250 * time.Millisecond
	heardWithin  = 2 * time.Second // whoever is silent for longer does not count as connected
	hearsWithin  = time.Second     // whoever is silent for less is heard for sure
	goneFor      = 5 * time.Second // whoever was silent for longer has been away, and is not hidden from one site alone
	routesWithin = 3 * time.Second // in which all sites are connected with one that comes back
	helloSubject = "sites"
)

// hello is what a site says of itself.
type hello struct {
	Site    string        `json:"site"`
	Silence time.Duration `json:"silence"` // the longest that another site has been silent for it
	NoLead  bool          `json:"no_lead"` // it is being stopped, or its disk is slow
}

// peers are the other sites as heard from here.
type peers struct {
	others []string

	mu    sync.Mutex
	heard map[string]heard
	ahead time.Time // since when another site has heard one that was gone for this one
}

type heard struct {
	at time.Time
	hello
}

func newPeers(c *Cluster) *peers {
	others := slices.DeleteFunc(slices.Clone(c.Sites), func(s string) bool { return s == c.Site })
	return &peers{others: others, heard: map[string]heard{}}
}

func (h *peers) note(msg *nats.Msg) {
	var m hello
	if json.Unmarshal(msg.Data, &m) != nil || !slices.Contains(h.others, m.Site) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard[m.Site] = heard{time.Now(), m}
}

// silent are the other sites that were not heard lately.
func (h *peers) silent() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var silent []string
	for _, s := range h.others {
		if time.Since(h.heard[s].at) > heardWithin {
			silent = append(silent, s)
		}
	}
	return silent
}

// silence is the longest that another site has been silent.
func (h *peers) silence() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	var longest time.Duration
	for _, s := range h.others {
		longest = max(longest, time.Since(h.heard[s].at))
	}
	return longest
}

// complete reports whether all sites hear all sites.
func (h *peers) complete() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.others {
		if l := h.heard[s]; l.NoLead || l.Silence > heardWithin || time.Since(l.at) > heardWithin {
			return false
		}
	}
	return true
}

// outsighted reports whether another site hears all and this one does not. What is not heard here has been silent for long enough
// that the others would have noticed and said so, if it were silent for them too. A site that comes back is heard by one site before
// the other, which is no reason yet.
func (h *peers) outsighted() bool {
	silence := h.silence()
	h.mu.Lock()
	defer h.mu.Unlock()
	more := false
	for _, l := range h.heard {
		more = more || !l.NoLead && l.Silence <= hearsWithin && time.Since(l.at) <= 2*helloEvery
	}
	switch {
	case silence <= hearsWithin+2*helloEvery || !more:
		h.ahead = time.Time{}
		return false
	case silence <= goneFor && h.ahead.IsZero():
		return true
	case h.ahead.IsZero():
		h.ahead = time.Now()
	}
	return time.Since(h.ahead) > routesWithin
}

// willing reports whether another site is heard that would lead.
func (h *peers) willing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.heard {
		if !l.NoLead && time.Since(l.at) <= 2*helloEvery {
			return true
		}
	}
	return false
}

// greet says hello to the other sites and hears theirs until the journal is closed.
func (j *Journal) greet() {
	stop, err := j.subscribe(helloSubject, j.peers.note)
	if err != nil {
		return // closed
	}
	defer stop()
	tick := time.NewTicker(helloEvery)
	defer tick.Stop()
	for {
		data, err := json.Marshal(hello{j.cfg.Cluster.Site, j.peers.silence(), j.draining.Load() || j.SlowDisk()})
		if err == nil {
			err = j.publish(helloSubject, data)
		}
		if err != nil {
			j.log.Debug("the other sites were not greeted", "err", err)
		}
		select {
		case <-j.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// leaderless is why nothing can be appended over several sites, or nil.
func (j *Journal) leaderless() error {
	k := j.cfg.Cluster
	if k == nil {
		return nil
	}
	silent := j.peers.silent()
	if len(k.Sites)-len(silent) < k.quorum() {
		return fmt.Errorf("%w: this site cannot hear %s, and %d of %d sites must be connected", errNoQuorum,
			strings.Join(silent, ", "), k.quorum(), len(k.Sites))
	}
	for p := range j.cfg.Partitions {
		if s := j.seen(journal.Partition(p)); s.leader == "" {
			why := "the sites are electing one, which takes seconds"
			if !s.here {
				why = "this site has no replica of it yet"
			}
			return fmt.Errorf("%w: partition %d has no leader; %s", errNoQuorum, p, why)
		}
	}
	return nil
}
