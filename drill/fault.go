package drill

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Fault is something that happens to a cluster, and what makes it well again. Nobody else touches the cluster meanwhile.
type Fault struct {
	Name string // for reports: "burn busan"
	Lost []int  // sites that nobody can reach between inject and heal
	Wipe []int  // of these, the ones that lose their data
	Slow []int  // sites that are there all the time, and work slowly: no write may wait for them for long

	Rush time.Duration // for so long, while the sites are away, ten times as much is written as usual: for a scenario with a crowd

	Measured bool // nothing is promised about time

	prepare func(context.Context, *Cluster) error // before the moment from which time is taken; may be nil
	inject  func(context.Context, *Cluster) error
	heal    func(context.Context, *Cluster) error
	check   func(context.Context, *Cluster) []string // when the sites are well again: what is not as it should be; may be nil
}

// Minority reports whether a majority of n sites is untouched: then writes go on, within the time that is promised.
func (f *Fault) Minority(n int) bool { return !f.Measured && n-len(f.Lost) >= n/2+1 }

// each calls do for the sites, as long as it works.
func each(c *Cluster, sites []int, do func(*Site) error) error {
	for _, i := range sites {
		if err := do(c.Sites[i]); err != nil {
			return fmt.Errorf("%s: %w", c.Sites[i].Name, err)
		}
	}
	return nil
}

func begin(sites ...int) func(context.Context, *Cluster) error {
	return func(_ context.Context, c *Cluster) error { return each(c, sites, (*Site).Begin) }
}

func kill(sites ...int) func(context.Context, *Cluster) error {
	return func(_ context.Context, c *Cluster) error {
		return each(c, sites, func(s *Site) error { s.Kill(); return nil })
	}
}

func wipe(c *Cluster, sites ...int) error { return each(c, sites, (*Site).Wipe) }

// burn is a fire: the process and all of the site's data are gone at once. The site comes back with an empty disk.
func burn(site int) *Fault {
	return &Fault{Name: "burn " + names(site), Lost: []int{site}, Wipe: []int{site},
		inject: func(ctx context.Context, c *Cluster) error { return errors.Join(kill(site)(ctx, c), wipe(c, site)) },
		heal:   begin(site)}
}

// crash is kill -9; the disk is still there afterwards.
func crash(sites ...int) *Fault {
	return &Fault{Name: "kill " + names(sites...), Lost: sites, inject: kill(sites...), heal: begin(sites...)}
}

// freeze stops a site where it stands; its connections stay open and nobody answers.
func freeze(site int) *Fault {
	return &Fault{Name: "freeze " + names(site), Lost: []int{site},
		inject: func(ctx context.Context, c *Cluster) error { return c.Sites[site].Freeze(ctx) },
		heal:   func(_ context.Context, c *Cluster) error { return c.Sites[site].Thaw() }}
}

// stop ends one site as an operator does, and starts it again.
func stop(site int) *Fault {
	return &Fault{Name: "restart " + names(site), Lost: []int{site},
		inject: func(ctx context.Context, c *Cluster) error { return c.Sites[site].Stop(ctx) },
		heal:   begin(site)}
}

// power is a power loss of all sites at once: what was not on stable storage is gone. Each site has a disk of its own.
func power(n int) *Fault {
	return &Fault{Name: "power loss everywhere", Lost: all(n),
		inject: func(ctx context.Context, c *Cluster) error {
			// Power takes processor and disk at once: no process may hear of syncs that the dying disk has not done.
			err := each(c, all(n), func(s *Site) error { return s.Freeze(ctx) })
			if err == nil {
				err = each(c, all(n), func(s *Site) error { return s.disk.Cut() })
			}
			return errors.Join(err, kill(all(n)...)(ctx, c))
		},
		heal: func(ctx context.Context, c *Cluster) error {
			if err := each(c, all(n), func(s *Site) error { return s.disk.Remount() }); err != nil {
				return err
			}
			return begin(all(n)...)(ctx, c)
		}}
}

// stale brings a site back with an old copy of its data, as a restored snapshot of a machine does.
func stale(site int) *Fault {
	var copied string
	return &Fault{Name: "old copy at " + names(site), Lost: []int{site},
		prepare: func(ctx context.Context, c *Cluster) error {
			s := c.Sites[site]
			s.Kill()
			var err error
			if copied, err = s.Copy(); err != nil {
				return err
			}
			if err := s.Begin(); err != nil {
				return err
			}
			if err := c.Settle(ctx); err != nil {
				return err
			}
			return rest(ctx, staleBy)
		},
		inject: kill(site),
		heal: func(_ context.Context, c *Cluster) error {
			s := c.Sites[site]
			return errors.Join(s.Replace(copied), s.Begin())
		}}
}

// rollBack is a planted loss that no server can help: every site comes back with an old copy of its data.
func rollBack(n int) *Fault {
	copies := make([]string, n)
	f := crash(all(n)...)
	f.Name = "roll all sites back"
	f.prepare = func(ctx context.Context, c *Cluster) error {
		for i, s := range c.Sites {
			s.Kill()
			var err error
			if copies[i], err = s.Copy(); err != nil {
				return err
			}
		}
		if err := c.Start(ctx); err != nil {
			return err
		}
		return rest(ctx, staleBy)
	}
	f.heal = func(_ context.Context, c *Cluster) error {
		for i, s := range c.Sites {
			if err := errors.Join(s.Replace(copies[i]), s.Begin()); err != nil {
				return err
			}
		}
		return nil
	}
	return f
}

// amnesia is the trap of every majority protocol: one site lags, one has lost its disk, and the only one that knows everything is
// away. The two that are there are a majority in number, and must not act as one.
func amnesia(laggard, amnesiac, knower int) *Fault {
	return &Fault{Name: fmt.Sprintf("%s lags, %s burns, %s is away", names(laggard), names(amnesiac), names(knower)),
		Lost: []int{amnesiac, knower}, Wipe: []int{amnesiac},
		prepare: func(ctx context.Context, c *Cluster) error {
			if err := c.Sites[laggard].Freeze(ctx); err != nil {
				return err
			}
			return rest(ctx, lagBy)
		},
		inject: func(ctx context.Context, c *Cluster) error {
			err := errors.Join(kill(amnesiac)(ctx, c), wipe(c, amnesiac), c.Sites[knower].Freeze(ctx))
			return errors.Join(err, c.Sites[laggard].Thaw(), c.Sites[amnesiac].Begin())
		},
		heal: func(_ context.Context, c *Cluster) error { return c.Sites[knower].Thaw() }}
}

// second takes a second site away while the first is still catching up after a fire: writes stop until it is back, and nothing is lost.
func second(first, other int) *Fault {
	return &Fault{Name: fmt.Sprintf("kill %s while %s catches up", names(other), names(first)), Lost: []int{first, other}, Wipe: []int{first},
		prepare: func(ctx context.Context, c *Cluster) error {
			if err := errors.Join(kill(first)(ctx, c), wipe(c, first)); err != nil {
				return err
			}
			return rest(ctx, lagBy)
		},
		inject: func(ctx context.Context, c *Cluster) error {
			return errors.Join(c.Sites[first].Begin(), kill(other)(ctx, c))
		},
		heal: begin(other)}
}

func all(n int) []int {
	sites := make([]int, n)
	for i := range sites {
		sites[i] = i
	}
	return sites
}

// names are the sites' names in words.
func names(sites ...int) string {
	words := make([]string, len(sites))
	for i, s := range sites {
		words[i] = siteNames[s]
	}
	return strings.Join(words, " and ")
}
