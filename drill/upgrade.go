package drill

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// upgrade is a rolling upgrade under load: one site after the other gets the newer program, and at last one gets the older again by
// mistake. The programs may know different versions of the rules; then the new ones must be in force when every site knows them, not
// before, and the older program must refuse.
type upgrade struct {
	older, newer string // programs

	was   uint16 // the rules version in force before
	knows uint16 // the newest that the newer program knows
}

const (
	rulesWithin  = 30 * time.Second // until all partitions follow new rules that every site knows
	refuseToRun  = 30 * time.Second // until a program that is too old has ended
	newerIsAsked = "run a newer build"
)

// upgradeSteps upgrades all sites, in an order that the seed chooses.
func upgradeSteps(p *planner) []step {
	u := &upgrade{older: p.cfg.UpgradeFrom, newer: p.cfg.Bin}
	order := p.rng.Perm(p.n)
	var faults []*Fault
	for i, site := range order {
		faults = append(faults, u.replace(site, i == len(order)-1))
	}
	steps := p.each(append(faults, u.goBack(p.site()))...)
	if p.cfg.Short {
		for i := range steps {
			steps[i].hold = 500 * time.Millisecond // a site that was stopped in good order leaves no election behind
		}
	}
	return steps
}

// replace gives a site the newer program, as an operator does: drained, stopped, started.
func (u *upgrade) replace(site int, last bool) *Fault {
	return &Fault{Name: "upgrade " + names(site), Lost: []int{site},
		prepare: func(ctx context.Context, c *Cluster) error {
			if u.was == 0 {
				st, err := c.Sites[site].Status(ctx)
				if err != nil {
					return err
				}
				u.was = st.Partitions[0].Rules
			}
			return c.Sites[site].Drain(ctx)
		},
		inject: func(ctx context.Context, c *Cluster) error { return c.Sites[site].Stop(ctx) },
		heal: func(_ context.Context, c *Cluster) error {
			c.Sites[site].server.Use(u.newer, c.Sites[site].env...)
			return c.Sites[site].Begin()
		},
		check: func(ctx context.Context, c *Cluster) []string { return u.check(ctx, c, site, last) }}
}

// check looks at the rules after a site was upgraded.
func (u *upgrade) check(ctx context.Context, c *Cluster, site int, last bool) []string {
	st, err := c.Sites[site].Status(ctx)
	if err != nil {
		return []string{fmt.Sprintf("rules: %v", err)}
	}
	if u.knows = st.Rules; u.knows == u.was {
		return nil // the programs differ in something else
	}
	want := u.was
	if last {
		want = u.knows
	}
	// Where old rules must stay, wait until everybody has heard that this site knows the new ones: only then it means something.
	if err := c.until(ctx, rulesWithin, func(st *Status) error {
		if last {
			return st.follows(want)
		}
		return st.heard(c.Sites[site].Name, u.knows)
	}); err != nil {
		return []string{fmt.Sprintf("rules: after %v %v", rulesWithin, err)}
	}
	if err := c.until(ctx, 0, func(st *Status) error { return st.follows(want) }); err != nil {
		return []string{fmt.Sprintf("rules: not every site was upgraded, and %v", err)}
	}
	return nil
}

// goBack starts the older program once more, on rows that may follow rules that it does not know.
func (u *upgrade) goBack(site int) *Fault {
	var refusal string
	return &Fault{Name: "the older program at " + names(site), Lost: []int{site},
		prepare: func(ctx context.Context, c *Cluster) error { return c.Sites[site].Drain(ctx) },
		inject: func(ctx context.Context, c *Cluster) error {
			s := c.Sites[site]
			if err := s.Stop(ctx); err != nil {
				return err
			}
			s.server.Use(u.older, s.env...)
			if err := s.Begin(); err != nil || u.knows == u.was {
				return err
			}
			refusal = s.refusal(ctx)
			return ctx.Err()
		},
		heal: func(_ context.Context, c *Cluster) error {
			c.Sites[site].Kill()
			c.Sites[site].server.Use(u.newer, c.Sites[site].env...)
			return c.Sites[site].Begin()
		},
		check: func(context.Context, *Cluster) []string {
			if u.knows == u.was || strings.Contains(refusal, newerIsAsked) {
				return nil
			}
			return []string{fmt.Sprintf("rules: %s was started with a program that does not know its rules, and did not say %q but: %s",
				siteNames[site], newerIsAsked, refusal)}
		}}
}

// refusal waits for the end of a process that is expected to refuse its data, and returns what it said. One that runs is killed.
func (s *Site) refusal(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, refuseToRun)
	defer cancel()
	_ = s.server.Wait(ctx) // how it ended is in what it said
	ended := s.server.Ended()
	s.Kill()
	if ended == nil {
		return fmt.Sprintf("nothing, it was still running after %v", refuseToRun)
	}
	return ended.Error()
}

// Drain has the site give up what it leads, as an operator does before stopping it.
func (s *Site) Drain(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, s.server.Program(), "cluster", "drain", "--data="+s.Data, s.Name).CombinedOutput() //nolint:gosec // the program that is drilled
	if err != nil {
		return fmt.Errorf("bongsu cluster drain: %w: %s", err, out)
	}
	return nil
}

// until waits until every site's status is as it should be, and returns what is wrong when the time is over. It looks at least once.
func (c *Cluster) until(ctx context.Context, within time.Duration, is func(*Status) error) error {
	for end := time.Now().Add(within); ; {
		var all []error
		for _, s := range c.Sites {
			st, err := s.Status(ctx)
			if err == nil {
				err = is(st)
			}
			if err != nil {
				all = append(all, fmt.Errorf("%s: %w", s.Name, err))
			}
		}
		err := errors.Join(all...)
		if err == nil || time.Now().After(end) || rest(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}

// follows says which partition does not follow a rules version, or nil.
func (st *Status) follows(rules uint16) error {
	for _, p := range st.Partitions {
		if p.Rules != rules {
			return fmt.Errorf("partition %d follows rules %d, not %d", p.Partition, p.Rules, rules)
		}
	}
	return nil
}

// heard says which partition has not shown that a site knows a rules version, or nil.
func (st *Status) heard(site string, rules uint16) error {
	for _, p := range st.Partitions {
		known := uint16(0)
		for _, s := range p.Sites {
			if s.Site == site {
				known = s.Rules
			}
		}
		if known != rules {
			return fmt.Errorf("partition %d was told that %s knows rules %d, not %d", p.Partition, site, known, rules)
		}
	}
	return nil
}
