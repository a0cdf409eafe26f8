package drill

import (
	"strings"
	"testing"
	"time"
)

const ms = time.Millisecond

// steady is a probe that works every 20 ms from 0 to end, but for outages: pairs of begin and end.
func steady(end time.Duration, outages ...time.Duration) []sample {
	var all []sample
	for at := time.Duration(0); at < end; at += 20 * ms {
		s := sample{at, at + 5*ms}
		for i := 0; i < len(outages); i += 2 {
			if s.Ended > outages[i] && s.Began < outages[i+1] {
				s.Ended = outages[i+1] + ms // it hangs until service is back
			}
		}
		all = append(all, s)
		at = max(at, s.Ended-s.Ended%(20*ms))
	}
	return all
}

func TestBackAndGap(t *testing.T) {
	for name, c := range map[string]struct {
		samples   []sample
		at, until time.Duration
		back, gap time.Duration
		ok        bool
	}{
		"undisturbed":          {steady(2 * time.Second), 500 * ms, time.Second, 5 * ms, 20 * ms, true},
		"an outage":            {steady(2*time.Second, 500*ms, 900*ms), 500 * ms, time.Second, 401 * ms, 416 * ms, true},
		"an outage before":     {steady(2*time.Second, 100*ms, 400*ms), 500 * ms, time.Second, 5 * ms, 20 * ms, true},
		"an outage afterwards": {steady(3*time.Second, 1500*ms, 2000*ms), 500 * ms, time.Second, 5 * ms, 20 * ms, true},
		"two outages":          {steady(3*time.Second, 500*ms, 600*ms, 800*ms, 1400*ms), 500 * ms, time.Second, 101 * ms, 616 * ms, true},
		"never again":          {steady(500 * ms), 500 * ms, time.Second, 0, 500 * ms, false},
		"never":                {nil, 500 * ms, time.Second, 0, 0, false},
	} {
		got, ok := back(c.samples, c.at)
		if got != c.back || ok != c.ok {
			t.Errorf("%s: back after %v, %v, want %v, %v", name, got, ok, c.back, c.ok)
		}
		if got := gap(c.samples, c.at, c.until); got != c.gap {
			t.Errorf("%s: gap %v, want %v", name, got, c.gap)
		}
	}
}

func incident() *Incident {
	return &Incident{Name: "burn busan", At: 5 * time.Second, Healed: 9 * time.Second, Settled: 10 * time.Second, Lost: 1, minority: true,
		Partitions: []Recovery{
			{Partition: 0, Known: true, Led: true, Back: 900 * ms, Gap: 950 * ms, Return: 30 * ms},
			{Partition: 1, Known: true, Back: 20 * ms, Gap: 40 * ms, Return: 600 * ms},
		},
		Clients: []time.Duration{150 * ms}}
}

func TestTooSlow(t *testing.T) {
	limits := Config{WritesBack: time.Second, ClientsBack: time.Second, Stall: time.Second, Interruption: 200 * ms}
	if found := incident().tooSlow(limits); len(found) > 0 {
		t.Errorf("findings within the limits: %q", found)
	}
	for want, plant := range map[string]func(*Incident){
		"until partition 0 took writes again it took 1.1s": func(in *Incident) { in.Partitions[0].Back = 1100 * ms },
		"a pause of partition 1 took 2s":                   func(in *Incident) { in.Partitions[1].Return = 2 * time.Second },
		"the interruption of partition 1":                  func(in *Incident) { in.Partitions[1].Gap = 300 * ms },
		"a client of the lost site":                        func(in *Incident) { in.Clients[0] = 3 * time.Second },
	} {
		in := incident()
		plant(in)
		found := in.tooSlow(limits)
		if len(found) != 1 || !strings.Contains(found[0], want) || promiseOf(found[0]) != 5 {
			t.Errorf("%q, want one finding with %q", found, want)
		}
	}
	in := incident()
	in.Partitions[1].Gap = time.Minute
	if found := in.tooSlow(Config{WritesBack: time.Second, ClientsBack: time.Second, Stall: time.Second}); len(found) > 0 {
		t.Errorf("what is only measured is a finding: %q", found)
	}
}

func TestPromiseOf(t *testing.T) {
	for finding, want := range map[string]int{
		`lost: "a-1" was acknowledged as $1 and is not in !r`:                      1,
		"damaged: the file mxc://x/1 has other bytes":                              1,
		"stuck: sync of a: context deadline exceeded":                              2,
		"refused: a: send to !r: 500 M_UNKNOWN: no":                                2,
		"history of !r: EOF, EOF":                                                  2,
		"refused: a: send to !r: 403 M_FORBIDDEN: you are not in the room":         7,
		"refused: sync of a since \"x\": 401 M_UNKNOWN_TOKEN: unknown":             7,
		"history of !r: 404 M_NOT_FOUND: no such room, <nil>":                      7,
		"denied: busan denies state that was just set at seoul: 404 M_NOT_FOUND: ": 7,
		"duplicate: \"a\" happened as $1 and as $2":                                3,
		"two answers: \"a\"":                                                       3,
		"gap: 3 events before $x never came, in the stream of a in !r":             4,
		"anew: 2 times a was sent a room anew":                                     4,
		"reordered: $x came late":                                                  4,
		"differs: a and b: !r: gap: the last 1 events never came":                  4,
		"not linearizable: k1: …":                                                  4,
		"slow: burn busan":                                                         5,
		"survivor: seoul acknowledged a write without a majority":                  6,
		"digest: seoul and busan hold different states of partition 1 at 7":        8,
		"the log of busan speaks of \"panic:\"":                                    8,
		"seoul counts 3 proposals that failed through a bug":                       8,
	} {
		if got := promiseOf(finding); got != want {
			t.Errorf("%s: promise %d, want %d", finding, got, want)
		}
	}
}
