package drill

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"bongsu/errs"
)

// step is one fault of a schedule: load, the fault, load without what was lost, healing, and load until all is well.
type step struct {
	pause time.Duration // before
	fault *Fault
	hold  time.Duration // between inject and heal

	late func(leaders []string) *Fault // makes the fault when it is due, of what the sites say who leads; nil: fault is given
}

const (
	staleBy = 3 * time.Second // how much a stale copy lacks
	lagBy   = 3 * time.Second // how long a laggard is away
)

// The crowd of the scenario surge, and how long ten times as much is written.
const (
	crowdSize, crowdSizeShort = 600, 150
	rushFor, rushForShort     = 5 * time.Second, 2 * time.Second
	rushTimes                 = 10
)

// scenario makes a schedule.
type scenario struct {
	name  string
	sites int // the fewest it needs
	needs need
	crowd bool // many clients wait for what is new
	steps func(s *planner) []step
	shows string // in words
}

// need is what a scenario needs beyond an ordinary user's rights.
type need int

const (
	nothing     need = iota
	ownDisks         // a file system for each site, mounted
	ownNetworks      // --netns
)

// planner has what a scenario chooses from.
type planner struct {
	cfg Config
	rng *rand.Rand
	n   int
}

func (p *planner) site() int { return p.rng.IntN(p.n) }

// other is a site that is none of these.
func (p *planner) other(than ...int) int {
	for {
		if s := p.site(); !slices.Contains(than, s) {
			return s
		}
	}
}

// hold is how long an outage lasts: long enough for elections, and for a site that comes back to have something to fetch.
func (p *planner) hold() time.Duration {
	if p.cfg.Short {
		return 2500 * time.Millisecond
	}
	return 4*time.Second + time.Duration(p.rng.Int64N(int64(3*time.Second)))
}

func (p *planner) step(f *Fault) step { return step{pause: p.cfg.Pause, fault: f, hold: p.hold()} }

func (p *planner) each(faults ...*Fault) []step {
	steps := make([]step, len(faults))
	for i, f := range faults {
		steps[i] = p.step(f)
	}
	return steps
}

// leader is a fault of the site that leads a partition by then, or of another one where nobody knows.
func (p *planner) leader(otherwise int, what func(site int) *Fault) step {
	s := p.step(nil)
	partition := p.rng.IntN(4)
	s.late = func(leaders []string) *Fault {
		if partition < len(leaders) {
			if site := slices.Index(siteNames[:p.n], leaders[partition]); site >= 0 {
				return what(site)
			}
		}
		return what(otherwise)
	}
	return s
}

// killAll is short: nothing happens while nobody is there.
func (p *planner) killAll() step {
	s := p.step(crash(all(p.n)...))
	s.fault.Name, s.hold = "kill all sites", 500*time.Millisecond
	return s
}

// scenarios are all there are. The first is the default.
func scenarios() []scenario {
	return []scenario{
		{name: "full", sites: 3, shows: "burn, rejoin, burn another, kill all", steps: func(p *planner) []step {
			first := p.site()
			if p.cfg.Short {
				return append(p.each(burn(first)), p.killAll())
			}
			return append(p.each(burn(first), burn(p.other(first))), p.killAll())
		}},
		{name: "burns", sites: 3, shows: "burn after burn", steps: func(p *planner) []step {
			var faults []*Fault
			for range p.cfg.Burns {
				faults = append(faults, burn(p.site()))
			}
			return p.each(faults...)
		}},
		{name: "random", sites: 3, shows: "faults of all kinds, as the seed has it", steps: func(p *planner) []step {
			var steps []step
			for range p.cfg.Rounds {
				steps = append(steps, p.any())
			}
			return steps
		}},
		{name: "restarts", sites: 1, shows: "kill -9 and restart, freeze, kill all", steps: func(p *planner) []step {
			return append(p.each(crash(p.site()), freeze(p.site())), p.killAll())
		}},
		{name: "leader", sites: 3, shows: "freeze the site that leads a partition, and kill one that leads another", steps: func(p *planner) []step {
			return []step{p.leader(p.site(), freeze), p.leader(p.site(), func(s int) *Fault { return crash(s) })}
		}},
		{name: "rolling", sites: 1, shows: "restart one site after the other", steps: func(p *planner) []step {
			var faults []*Fault
			for _, i := range all(p.n) {
				faults = append(faults, stop(i))
			}
			return p.each(faults...)
		}},
		{name: upgrading, sites: 3, shows: "one site after the other gets a newer program, one the older again; needs --upgrade-from", steps: upgradeSteps},
		{name: "clock", sites: 3, shows: "a site's clock jumps by an hour", steps: clockSteps},
		{name: "amnesia", sites: 3, shows: "a laggard and an empty disk must not act as a majority; a second loss during a rejoin", steps: func(p *planner) []step {
			a := p.site()
			b := p.other(a)
			return p.each(amnesia(a, b, p.other(a, b)), second(a, b))
		}},
		{name: "stale", sites: 3, shows: "a site comes back with an old copy of its data", steps: func(p *planner) []step {
			return p.each(stale(p.site()))
		}},
		{name: "majority", sites: 3, shows: "a majority is gone: the rest reads and says that it cannot write", steps: func(p *planner) []step {
			a := p.site()
			return p.each(crash(a, p.other(a)))
		}},
		{name: "flips", sites: 3, shows: "flipped bits in journal, rows and files", steps: func(p *planner) []step {
			return p.each(flip(p.site(), "journal", p.rng.Uint64()), flipAlone(p.site(), p.rng.Uint64()), flip(p.site(), "rows", p.rng.Uint64()),
				flip(p.site(), "files", p.rng.Uint64()))
		}},
		{name: "power", sites: 1, needs: ownDisks, shows: "power loss of all sites at once; needs root", steps: func(p *planner) []step {
			s := p.step(power(p.n))
			s.hold = 100 * time.Millisecond
			return []step{s, s}
		}},
		{name: "disk", sites: 1, needs: ownDisks, shows: "a full disk at one site; needs root", steps: func(p *planner) []step {
			return p.each(fullDisk(p.site()))
		}},
		{name: "slowdisk", sites: 3, needs: ownDisks, shows: "the disk of a site that leads stands still again and again, then that of another; needs root", steps: slowDisks},
		{name: "surge", sites: 3, crowd: true, shows: "a crowd loses its site and comes to the others at once, and then ten times as much is written",
			steps: func(p *planner) []step {
				f := crash(p.site())
				if f.Rush = rushFor; p.cfg.Short {
					f.Rush = rushForShort
				}
				return p.each(f)
			}},
		{name: "cuts", sites: 3, needs: ownNetworks, shows: "a site is cut off, two cannot see each other, one direction fails, links are slow; needs --netns",
			steps: func(p *planner) []step {
				a := p.site()
				b := p.other(a)
				return p.each(isolate(a), separate(a, b), oneWay(b, p.other(b)), slow(p.site()))
			}},
	}
}

// any is a fault of any kind that needs no root.
func (p *planner) any() step {
	a := p.site()
	b := p.other(a)
	switch p.rng.IntN(10) {
	case 0, 1, 2:
		return p.step(burn(a))
	case 3:
		return p.step(crash(a))
	case 4:
		return p.step(freeze(a))
	case 5:
		return p.step(stop(a))
	case 6:
		return p.step(stale(a))
	case 7:
		return p.step(amnesia(a, b, p.other(a, b)))
	case 8:
		return p.step(crash(a, b))
	}
	return p.killAll()
}

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

// scenarioOf is the one that cfg names. Errors are of kind Invalid and Forbidden.
func scenarioOf(cfg Config) (scenario, error) {
	all := scenarios()
	s := all[slices.IndexFunc(all, func(s scenario) bool { return s.name == cfg.Scenario })]
	if cfg.Sites < s.sites {
		return s, errs.New("drill", errs.Invalid, "M_INVALID_PARAM", "the scenario %s needs %d sites", s.name, s.sites)
	}
	if s.needs == ownNetworks && !cfg.Netns {
		return s, errs.New("drill", errs.Invalid, "M_INVALID_PARAM", "the scenario %s cuts networks: add --netns", s.name)
	}
	if (s.needs != nothing || cfg.Netns) && os.Getuid() != 0 {
		return s, errs.New("drill", errs.Forbidden, "M_FORBIDDEN", "disks and networks of its own need rights: run this drill as root")
	}
	return s, nil
}

// schedule is what will happen: a function of the configuration, its seed above all.
func schedule(cfg Config, s scenario) []step {
	rng := rand.New(rand.NewPCG(cfg.Seed, 0x6472696c6c)) //nolint:gosec // repeatable on purpose
	steps := s.steps(&planner{cfg: cfg, rng: rng, n: cfg.Sites})
	if cfg.Plant == rollback {
		steps = append(steps, step{pause: cfg.Pause, fault: rollBack(cfg.Sites)})
	}
	return steps
}

// rest waits.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
