package drill

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"bongsu/harness"
)

// Incident is one fault and what it did to the service. Times are since the drill began.
type Incident struct {
	Name    string        `json:"name"`
	At      time.Duration `json:"at_ns"`
	Healed  time.Duration `json:"healed_ns"`  // the lost sites were started again
	Settled time.Duration `json:"settled_ns"` // all sites had what any had
	Lost    int           `json:"lost"`       // sites

	Partitions []Recovery      `json:"partitions"`
	Clients    []time.Duration `json:"clients_ns"` // of the lost sites: until they read elsewhere

	Crowd *Spread `json:"crowd,omitempty"` // of the crowd's clients at the lost sites: until one was told something new elsewhere
	Rush  *Rush   `json:"rush,omitempty"`

	leaders  []string
	moved    []*member // of the crowd, those who were at the lost sites
	minority bool
	slow     bool // sites stayed and were slow: no pause may be long, not only the first
	unhealed bool // the sites did not become well again within settleWithin
}

// Recovery is what an incident did to the writes of one partition.
type Recovery struct {
	Partition int           `json:"partition"`
	Led       bool          `json:"led"`       // a lost or slow site led it
	Known     bool          `json:"known"`     // whether it is known who led it
	Back      time.Duration `json:"back_ns"`   // until a write that began after the loss was acknowledged
	Gap       time.Duration `json:"gap_ns"`    // longest time between two acknowledgements while the site was away
	Return    time.Duration `json:"return_ns"` // the same while it came back
}

func (in *Incident) String() string {
	if !in.minority || in.unhealed {
		return fmt.Sprintf("%s: healed: %s", in.Name, in.HealedIn())
	}
	back, gap := in.worst()
	if in.slow {
		return fmt.Sprintf("%s: longest pause of writes %v in partitions that it led, %v in others; pause at the end %v", in.Name,
			short(in.pauses()), short(gap), short(in.stall()))
	}
	return fmt.Sprintf("%s: writes back after %v (others paused %v), clients after %v, healed: %s, pause at the return %v", in.Name,
		short(back), short(gap), short(longest(in.Clients)), in.HealedIn(), short(in.stall()))
}

// worst are the longest time until writes were back, and the longest interruption of a partition that was not led by the lost.
func (in *Incident) worst() (back, others time.Duration) {
	for _, p := range in.Partitions {
		back = max(back, p.Back)
		if p.Known && !p.Led {
			others = max(others, p.Gap)
		}
	}
	return back, others
}

// pauses is the longest interruption of a partition that the lost or slow site led, or may have led.
func (in *Incident) pauses() (longest time.Duration) {
	for _, p := range in.Partitions {
		if p.Led || !p.Known {
			longest = max(longest, p.Gap)
		}
	}
	return longest
}

// stall is the longest pause of writes while the sites came back.
func (in *Incident) stall() time.Duration {
	var all []time.Duration
	for _, p := range in.Partitions {
		all = append(all, p.Return)
	}
	return longest(all)
}

func longest(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Max(all)
}

// short is a duration for people.
func short(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// measure takes from the probes what an incident did, and finds what took too long.
func (d *drill) measure(in *Incident, f *Fault) {
	lost := map[string]bool{}
	hit := slices.Concat(f.Lost, f.Slow)
	for _, i := range hit {
		lost[d.cluster.Sites[i].Name] = true
	}
	now := d.rec.now()
	for i, w := range d.probes.writers {
		r := Recovery{Partition: i}
		if i < len(in.leaders) && in.leaders[i] != "" {
			r.Known, r.Led = true, lost[in.leaders[i]]
		}
		samples := w.all()
		var ok bool
		if r.Back, ok = back(samples, in.At); !ok {
			r.Back = now - in.At
		}
		r.Gap, r.Return = gap(samples, in.At, in.Healed), gap(samples, in.Healed, now)
		in.Partitions = append(in.Partitions, r)
	}
	for _, r := range d.probes.readers {
		if !slices.ContainsFunc(hit, func(i int) bool { return d.cluster.Sites[i].URL() == r.home }) {
			continue
		}
		took, ok := back(r.all(), in.At)
		if !ok {
			took = now - in.At
		}
		in.Clients = append(in.Clients, took)
	}
	d.surged(in)
	d.report.Incidents = append(d.report.Incidents, in)
	if in.minority {
		d.find(5, in.tooSlow(d.cfg)...)
	}
}

// surged measures what became of the crowd, and of the service in a rush.
func (d *drill) surged(in *Incident) {
	now := d.rec.now()
	var took []time.Duration
	for _, m := range in.moved {
		after, ok := m.after(in.At)
		if !ok {
			after = now - in.At
		}
		took = append(took, after)
	}
	in.Crowd = spreadOf(took)
	if in.Rush == nil {
		return
	}
	for _, w := range d.probes.writers {
		in.Rush.Pause = max(in.Rush.Pause, gap(w.all(), in.Rush.Began, in.Rush.Ended))
	}
}

// The limits of a surge: past these the service has collapsed.
const (
	crowdBack   = 10 * time.Second // until the last client of the crowd was told something new
	mostRefused = 0.5              // of all calls in a rush
)

// Surge is what a crowd and a rush went through, in words, or "".
func (in *Incident) Surge() string {
	var words []string
	if c := in.Crowd; c != nil {
		words = append(words, fmt.Sprintf("%d clients of the crowd moved at once and were told something new elsewhere after %v in the median, the last after %v",
			c.N, short(c.Median), short(c.Max)))
	}
	if r := in.Rush; r != nil {
		words = append(words, fmt.Sprintf("of %.0f writes/s that were asked for in a rush, %.0f/s were acknowledged, after %v in the median and %v in the 99th "+
			"percentile; longest pause of a partition %v; %d of %d calls refused", r.Asked, r.Done, short(r.Median), short(r.P99), short(r.Pause), r.Refused, r.Calls))
	}
	return strings.Join(words, "; ")
}

// tooSlow says what took longer than promised.
func (in *Incident) tooSlow(cfg Config) []string {
	var findings []string
	check := func(is, most time.Duration, what string, args ...any) {
		if most > 0 && is > most {
			findings = append(findings, fmt.Sprintf("slow: %s: %s took %v, promised are %v", in.Name, fmt.Sprintf(what, args...), short(is), most))
		}
	}
	for _, p := range in.Partitions {
		check(p.Back, cfg.WritesBack, "until partition %d took writes again it", p.Partition)
		if in.slow {
			check(p.Gap, cfg.WritesBack, "a pause of partition %d", p.Partition)
		}
		check(p.Return, cfg.Stall, "while the site came back a pause of partition %d", p.Partition)
		if p.Known && !p.Led {
			check(p.Gap, cfg.Interruption, "the interruption of partition %d, which the lost site did not lead,", p.Partition)
		}
	}
	if in.Crowd != nil {
		check(in.Crowd.Max, crowdBack, "until the last of the crowd was told something new it")
	}
	if r := in.Rush; r != nil {
		check(r.Pause, cfg.WritesBack, "a pause of writes in a rush")
		if float64(r.Refused) > mostRefused*float64(r.Calls) {
			findings = append(findings, fmt.Sprintf("slow: %s: %d of %d calls were refused in a rush", in.Name, r.Refused, r.Calls))
		}
	}
	for _, c := range in.Clients {
		check(c, cfg.ClientsBack, "until a client of the lost site could read it")
	}
	return findings
}

// survivors asks every site that is left when a majority is gone: it must read, and say plainly that it cannot write. Sites that
// have no data yet are asked nothing.
func (d *drill) survivors(ctx context.Context, f *Fault) []string {
	var findings []string
	w := d.probes.writers[0]
	for i, s := range d.cluster.Sites {
		if !s.Up() || slices.Contains(f.Wipe, i) {
			continue
		}
		c := w.c.As(s.URL())
		defer c.Close()
		one, cancel := context.WithTimeout(ctx, refuseWithin)
		defer cancel()
		var page harness.Page
		if err := c.Do(one, http.MethodGet, harness.Path("v3", "rooms", w.room, "messages")+"?dir=b", nil, &page); err != nil || len(page.Chunk) == 0 {
			findings = append(findings, fmt.Sprintf("survivor: %s does not read: %v", s.Name, err))
		}
		var e *harness.Error
		path := harness.Path("v3", "rooms", w.room, "send", "m.room.message", fmt.Sprint("alone", d.rec.now().Nanoseconds()))
		err := c.Do(one, http.MethodPut, path, map[string]string{"msgtype": "m.text", "body": "is anybody there?"}, nil)
		switch {
		case err == nil:
			findings = append(findings, fmt.Sprintf("survivor: %s acknowledged a write without a majority", s.Name))
		case !errors.As(err, &e):
			findings = append(findings, fmt.Sprintf("survivor: %s does not say within %v that it cannot write: %v", s.Name, refuseWithin, err))
		case e.Status != http.StatusServiceUnavailable || !strings.HasPrefix(e.Code, "M_") || e.RetryAfter <= 0:
			findings = append(findings, fmt.Sprintf("survivor: %s refuses a write with %v, retry after %v", s.Name, e, e.RetryAfter))
		}
	}
	return findings
}

// refuseWithin is how long a site without a majority may take to say so.
const refuseWithin = 30 * time.Second

// Number is the place of the incident in the report, from 1.
func (in *Incident) Number(i int) int { return i + 1 }

// WritesBack and the others are the cells of the report's table.
func (in *Incident) WritesBack() string {
	if !in.minority {
		return "–"
	}
	back, _ := in.worst()
	return short(back).String()
}

// ClientsBack is how long the slowest client took.
func (in *Incident) ClientsBack() string {
	if !in.minority || len(in.Clients) == 0 {
		return "–"
	}
	return short(longest(in.Clients)).String()
}

// Away is how long the sites were lost.
func (in *Incident) Away() string { return short(in.Healed - in.At).String() }

// HealedIn is how long it took until all sites had everything.
func (in *Incident) HealedIn() string {
	if in.unhealed {
		return "never"
	}
	return short(in.Settled - in.Healed).String()
}

// AtReturn is the longest pause of writes at the return.
func (in *Incident) AtReturn() string {
	if !in.minority {
		return "–"
	}
	return short(in.stall()).String()
}
