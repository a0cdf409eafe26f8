package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"bongsu/obs"
)

// Report is what a drill measured and found.
type Report struct {
	Scenario   string      `json:"scenario"`
	Seed       uint64      `json:"seed"`
	Sites      []string    `json:"sites"`
	Started    time.Time   `json:"started"`
	Machine    string      `json:"machine"`
	Build      string      `json:"build"` // of the drill; the servers may be another
	Plant      string      `json:"plant,omitempty"`
	Caveat     string      `json:"caveat"`
	Incidents  []*Incident `json:"incidents"`
	Recovery   *Spread     `json:"recovery"` // until writes were back after the loss of a minority, in partitions that a lost site led; nil: there was none
	Promises   []Promise   `json:"promises"`
	Findings   []Finding   `json:"findings"`
	Load       string      `json:"load"`       // what the users did, in numbers
	Probes     string      `json:"probes"`     // the same of the probes
	Operations int         `json:"operations"` // of the contest

	calls  []call
	opaque bool // sites do not tell their status
	judged bool // the drill came to its end, and everything was read back
}

// Spread is a few numbers about many durations.
type Spread struct {
	N      int           `json:"n"`
	Min    time.Duration `json:"min_ns"`
	Median time.Duration `json:"median_ns"`
	Max    time.Duration `json:"max_ns"`
}

// Finding is a broken promise.
type Finding struct {
	Promise int    `json:"promise"` // its number; 0: something that no promise names
	Text    string `json:"text"`
}

func (f Finding) String() string { return fmt.Sprintf("promise %d: %s", f.Promise, f.Text) }

// Promise is one of the promises, and whether the drill saw it kept.
type Promise struct {
	Number  int    `json:"number"`
	Title   string `json:"title"`
	Checked string `json:"checked"` // how
	Verdict string `json:"verdict"` // kept, broken or not tested
	Broken  int    `json:"broken"`  // findings
}

// The verdicts.
const (
	kept      = "kept"
	broken    = "broken"
	notTested = "not tested"
)

// promises are what is checked.
func promises() []Promise {
	return []Promise{
		{Number: 1, Title: "A 200 means kept", Checked: "Every acknowledged event, state, account datum, file, membership and message to a device is read back at every site, with the same bytes."},
		{Number: 2, Title: "Any user, any site, any time", Checked: "Clients wander between sites with one token, one sync token and one transaction id; nobody is refused or stuck."},
		{Number: 3, Title: "Exactly once", Checked: "Each transaction id happened once with one answer; each one-time key was given to one."},
		{Number: 4, Title: "One order", Checked: "All sites list the same events in the same order; no sync stream has a gap, a repetition or another order; what was acknowledged before another was begun stands before it; contested state is linearizable."},
		{Number: 5, Title: "Back within seconds", Checked: "Somebody writes to every partition and reads at every site all the time; how long each was away is compared with the limits."},
		{Number: 6, Title: "The survivor reads, and says that it cannot write", Checked: "When a majority is gone, the sites that are left are read and refuse a write with 503 and Retry-After."},
		{Number: 7, Title: "A site that is behind never denies", Checked: "What one site has just acknowledged (a token, a state event) is asked for at all others at once; 401, 403 and 404 are denials."},
		{Number: 8, Title: "All sites hold the same state", Checked: "Digests of all sites at equal positions are equal; no site reports a divergence, a halt or a failed proposal, and no log a panic."},
	}
}

// promiseOf is the promise that a finding of a check is about, by the word it begins with.
func promiseOf(finding string) int {
	word, _, _ := strings.Cut(finding, ":")
	switch word {
	case "lost", "damaged":
		return 1
	case "duplicate", "two answers", "echo":
		return 3
	case "gap", "reordered", "anew", "invented", "differs", "not linearizable", "unchecked", "paging back differs from paging forward":
		return 4
	case "slow":
		return 5
	case "survivor":
		return 6
	case "denied":
		return 7
	case "digest":
		return 8
	case "rules", "time":
		return 0
	}
	switch {
	case strings.HasPrefix(finding, "the log of") || strings.Contains(finding, "failed through a bug"):
		return 8
	case deniesInWords(finding):
		return 7
	}
	return 2 // refused, stuck, or something could not be read
}

func deniesInWords(text string) bool {
	for _, s := range []string{": 401 ", ": 403 ", ": 404 "} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// caveat says what a drill on one machine does not show.
func caveat(sites int) string {
	if sites == 1 {
		return "One process on one machine: this shows that the program recovers, not that a site may be lost."
	}
	return fmt.Sprintf("%d processes on one machine are not %[1]d data centres: this shows that the program keeps its promises when sites "+
		"vanish. The network between them has no length, and one disk and one set of processors serve all.", sites)
}

// watchedCaveat is that for a cluster of somebody else.
const watchedCaveat = "A cluster in use was watched from where the drill ran: times include the way there, and until the drill's clients noticed that a " +
	"site was away. What the sites do not show to clients was not seen."

func newReport(cfg Config) *Report {
	words := caveat(cfg.Sites)
	if cfg.Against != nil {
		words = watchedCaveat
	}
	return &Report{Scenario: cfg.Scenario, Seed: cfg.Seed, Sites: siteNames[:cfg.Sites], Started: time.Now().UTC(), Plant: cfg.Plant,
		Machine: fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()), Build: obs.ReadBuild().String(),
		Caveat: words}
}

// finish gives the verdicts and writes the files that were asked for.
func (r *Report) finish(cfg Config) error {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return a.Promise - b.Promise })
	r.Findings = slices.Compact(r.Findings)
	r.Recovery = spread(r.Incidents)
	r.Promises = promises()
	for i := range r.Promises {
		p := &r.Promises[i]
		for _, f := range r.Findings {
			if f.Promise == p.Number {
				p.Broken++
			}
		}
		switch {
		case p.Broken > 0:
			p.Verdict = broken
		case r.tested(p.Number):
			p.Verdict = kept
		default:
			p.Verdict = notTested
		}
	}
	var all []error
	if cfg.JSON != "" {
		text, err := json.MarshalIndent(struct {
			*Report
			Calls []call `json:"calls"`
		}{r, r.calls}, "", " ")
		all = append(all, err, os.WriteFile(cfg.JSON, text, 0o600))
	}
	if cfg.Report != "" {
		text, err := r.html()
		all = append(all, err, os.WriteFile(cfg.Report, text, 0o600))
	}
	return errors.Join(all...)
}

// tested reports whether the drill did anything that could have broken a promise.
func (r *Report) tested(promise int) bool {
	several := len(r.Sites) > 1
	switch promise {
	case 3, 4:
		return r.judged
	case 5:
		return slices.ContainsFunc(r.Incidents, func(in *Incident) bool { return in.minority })
	case 6:
		return slices.ContainsFunc(r.Incidents, func(in *Incident) bool { return !in.minority && in.Lost > 0 && in.Lost < len(r.Sites) })
	case 2, 7:
		return several && r.judged
	case 8:
		return several && r.judged && !r.opaque
	}
	return true
}

// spread is over the losses of a minority (of sites, not of speed), and the partitions that a lost site led (or may have led): the others hardly notice.
func spread(incidents []*Incident) *Spread {
	var all []time.Duration
	for _, in := range incidents {
		if in.minority && in.Lost > 0 {
			for _, p := range in.Partitions {
				if p.Led || !p.Known {
					all = append(all, p.Back)
				}
			}
		}
	}
	return spreadOf(all)
}

// spreadOf is nil of nothing. It sorts.
func spreadOf(all []time.Duration) *Spread {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return &Spread{N: len(all), Min: all[0], Median: all[len(all)/2], Max: all[len(all)-1]}
}
