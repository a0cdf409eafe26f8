package cluster

import (
	"fmt"
	"slices"
	"strings"
)

// State is what a site's journal directory is.
type State string

// The states. Their names travel between sites.
const (
	Unknown State = ""        // not looked at yet
	Empty   State = "empty"   // nothing in it that ever took part
	Forming State = "forming" // took part, and has not seen all of the cluster's partitions
	Formed  State = "formed"  // has its replica of every partition
	Damaged State = "damaged" // what it holds cannot be trusted
)

// hello is what a site says of itself and remembers of others. It travels as JSON.
type hello struct {
	State   State             `json:"state"`
	Founded bool              `json:"founded"` // knows that the cluster has been complete once
	Running bool              `json:"running"` // its journal is open and answers barriers
	Boots   map[string]uint64 `json:"boots"`   // newest boot known of each site
	Ages    map[string]uint64 `json:"ages"`    // greatest age known of each site's directory
}

// view is all that the decision to let a site in rests on.
type view struct {
	self    string
	sites   []string // all, self included
	state   State
	rec     record            // what this directory remembers
	peers   map[string]hello  // those that answered
	missing map[string]string // those that did not, and why
}

// verb is what to do next.
type verb int

const (
	wait    verb = iota // ask again later
	open                // open the routes with the journal as it is
	found               // open the routes with an empty journal: the cluster is new
	barrier             // have the given peers pass a barrier, then open the routes with an empty journal
)

// step is a decision, with words for the operator.
type step struct {
	do    verb
	words string
	ask   []string // with barrier: all of these must pass
}

// quorum is the number of sites that a record needs of n.
func quorum(n int) int { return n/2 + 1 }

// known is the newest boot of this site that anybody remembers.
func (v view) known() uint64 {
	newest := v.rec.Boots[v.self]
	for _, h := range v.peers {
		newest = max(newest, h.Boots[v.self])
	}
	return newest
}

// age is the greatest age of this site's directory that anybody remembers.
func (v view) age() uint64 {
	greatest := v.rec.Ages[v.self]
	for _, h := range v.peers {
		greatest = max(greatest, h.Ages[v.self])
	}
	return greatest
}

// lost is why the journal directory does not hold what this site has promised, or "".
func (v view) lost() string {
	switch {
	case v.state == Empty:
		return "this site has no journal"
	case v.state == Damaged:
		return "this site's journal is damaged"
	case v.known() > v.rec.Admitted:
		return fmt.Sprintf("this site's data is a stale copy: it took part last in run %d, and a site remembers run %d",
			runNumber(v.rec.Admitted), runNumber(v.known()))
	case v.age() > v.rec.Age:
		return fmt.Sprintf("this site's data is a stale copy: it was made when the site had counted to %d, and a site remembers that it counted to %d",
			v.rec.Age, v.age())
	case v.rec.Stale:
		return "this site's data turned out to be a stale copy in its last run"
	}
	return ""
}

// decide is the rule of admission. docs/adr/0022-admission.md shows that it loses no acknowledged record.
func decide(v view) step {
	why := v.lost()
	switch {
	case why == "":
		if need := quorum(len(v.sites)) - 1; len(v.peers) < need {
			return step{do: wait, words: "a majority of the sites is needed: " + v.waitingFor(nil)}
		}
		return step{do: open}
	case !v.everFounded():
		return v.begin()
	}
	return v.refill(why)
}

// everFounded reports whether the cluster has been complete once, so that records may have been acknowledged.
func (v view) everFounded() bool {
	if v.rec.Founded || v.state == Formed {
		return true
	}
	for _, h := range v.peers {
		if h.Founded || h.State == Formed {
			return true
		}
	}
	return false
}

// begin is the rule for a new cluster: it begins when all sites are there and none has been part of one.
func (v view) begin() step {
	ready := func(h hello) bool { return h.State == Empty || h.State == Forming || h.State == Damaged }
	if words := v.waitingFor(ready); words != "" {
		return step{do: wait, words: "a new cluster begins when all its sites are there: " + words}
	}
	return step{do: found}
}

// refill is the rule for a site that has lost what it promised: it may take part when a quorum of the others holds all that was
// acknowledged before.
func (v view) refill(why string) step {
	whole := func(h hello) bool { return h.State == Formed && h.Running }
	var ask []string
	gone := 0 // others that have lost theirs too
	for _, site := range sorted(v.peers) {
		h := v.peers[site]
		if whole(h) {
			ask = append(ask, site)
		}
		if h.State == Empty || h.State == Damaged {
			gone++
		}
	}
	others, need := len(v.sites)-1, quorum(len(v.sites))
	switch {
	case len(ask) >= need:
		return step{do: barrier, ask: ask, words: why}
	case others-gone < need:
		return step{do: wait, words: why + ", and so have too many others: no majority is left that knows all; the cluster must be " +
			"recovered from a site that has data: " + v.waitingFor(whole)}
	case need == others:
		return step{do: wait, words: why + "; both other sites are needed until this one has caught up: " + v.waitingFor(whole)}
	}
	return step{do: wait, words: fmt.Sprintf("%s; %d of the other sites are needed until this one has caught up: %s", why, need, v.waitingFor(whole))}
}

// waitingFor names the sites that have not answered or are not ready; nil takes any answer.
func (v view) waitingFor(ready func(hello) bool) string {
	var words []string
	for _, site := range v.sites {
		if site == v.self {
			continue
		}
		h, answered := v.peers[site]
		switch {
		case !answered && v.missing[site] != "":
			words = append(words, fmt.Sprintf("%s (%s)", site, v.missing[site]))
		case !answered:
			words = append(words, site)
		case ready != nil && !ready(h):
			words = append(words, fmt.Sprintf("%s (%s)", site, h.standing()))
		}
	}
	if words == nil {
		return ""
	}
	return "waiting for " + strings.Join(words, ", ")
}

// standing is what a site is doing, in words.
func (h hello) standing() string {
	switch {
	case h.State == Unknown:
		return "it is starting"
	case h.State == Empty:
		return "it has no journal"
	case h.State == Damaged:
		return "its journal is damaged"
	case h.State == Forming:
		return "it has not all of the journal yet"
	case !h.Running:
		return "it does not take part yet"
	}
	return "it is ready"
}

// runNumber is the part of a boot that counts; the rest is random.
func runNumber(boot uint64) uint64 { return boot >> 16 }

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
