package drill

import (
	"context"
	"fmt"
	"time"
)

// skewVariable makes a server's clock wrong by a duration; it is no flag, so that nobody sets it by mistake.
const skewVariable = "BONGSU_CLOCK_SKEW"

const (
	skew = time.Hour
	// The time of the state may be so far from the machine's: ahead by what a status takes on its way here, behind by the longest
	// silence of a site.
	mostAhead  = 2 * time.Second
	mostBehind = 20 * time.Second
)

// clockSteps let the clocks of two sites jump, one forwards and one backwards, and set them right.
func clockSteps(p *planner) []step {
	a := p.site()
	b := p.other(a)
	faults := []*Fault{setClock(a, skew), setClock(a, 0)}
	if !p.cfg.Short {
		faults = append(faults, setClock(b, -skew), setClock(b, 0))
	}
	return p.each(faults...)
}

// setClock restarts a site with a clock that is wrong by some time, or right with 0. The time of the state must go on as if nothing
// had happened. It never runs backwards, so that one look afterwards tells of every leap.
func setClock(site int, by time.Duration) *Fault {
	name := fmt.Sprintf("the clock of %s is wrong by %v", names(site), by)
	var env []string
	if by == 0 {
		name = fmt.Sprintf("the clock of %s is right again", names(site))
	} else {
		env = []string{skewVariable + "=" + by.String()}
	}
	f := stop(site)
	f.Name = name
	f.heal = func(_ context.Context, c *Cluster) error {
		s := c.Sites[site].server
		s.Use(s.Program(), append(env, c.Sites[site].env...)...)
		return c.Sites[site].Begin()
	}
	f.check = func(ctx context.Context, c *Cluster) []string {
		if err := c.until(ctx, mostBehind, func(st *Status) error { return st.onTime(time.Now()) }); err != nil {
			return []string{fmt.Sprintf("time: %v", err)}
		}
		return nil
	}
	return f
}

// onTime says which partition's time is not that of the machine, or nil.
func (st *Status) onTime(now time.Time) error {
	for _, p := range st.Partitions {
		if ahead := time.UnixMilli(p.WallMS).Sub(now); ahead > mostAhead || ahead < -mostBehind {
			return fmt.Errorf("the time of partition %d is %v ahead", p.Partition, ahead)
		}
	}
	return nil
}
