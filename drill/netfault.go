package drill

import (
	"context"
	"fmt"
	"time"
)

// The one-way delays between sites with --netns: half of what a ping says between data centres in these towns.
const (
	nearDelay = time.Millisecond     // Seoul and Chuncheon
	farDelay  = 3 * time.Millisecond // all others
)

// distances lays out the network.
func (c *Cluster) distances() {
	for a := range c.Sites {
		for b := range a {
			delay := farDelay
			if b == 0 && a == 1 {
				delay = nearDelay
			}
			c.wan.Delay(a, b, delay)
		}
	}
}

// isolate cuts a site off from all others and from its clients; it goes on by itself.
func isolate(site int) *Fault {
	cut := func(on bool) func(context.Context, *Cluster) error {
		return func(_ context.Context, c *Cluster) error {
			c.wan.Isolate(site, on)
			c.Sites[site].setUp(!on)
			return nil
		}
	}
	return &Fault{Name: "cut off " + names(site), Lost: []int{site}, inject: cut(true), heal: cut(false)}
}

// separate takes two sites out of each other's sight; the third sees both, and clients see all. Who leads and where writes go then is up to
// the engine: it is measured, and no limit is promised. Reading and correctness are.
func separate(a, b int) *Fault {
	cut := func(on bool) func(context.Context, *Cluster) error {
		return func(_ context.Context, c *Cluster) error {
			c.wan.Cut(a, b, on)
			c.wan.Cut(b, a, on)
			return nil
		}
	}
	return &Fault{Name: fmt.Sprintf("cut between %s and %s", siteNames[a], siteNames[b]), Measured: true, inject: cut(true), heal: cut(false)}
}

// oneWay drops what one site sends to another, and lets the answers' direction be: the half-open failure of routers.
func oneWay(from, to int) *Fault {
	cut := func(on bool) func(context.Context, *Cluster) error {
		return func(_ context.Context, c *Cluster) error { c.wan.Cut(from, to, on); return nil }
	}
	return &Fault{Name: fmt.Sprintf("cut from %s to %s only", siteNames[from], siteNames[to]), Measured: true, inject: cut(true), heal: cut(false)}
}

// The slow link.
const (
	slowDelay = 150 * time.Millisecond
	slowRate  = 1 << 20 // bytes per second
)

// slow makes a site's links to all others long and narrow.
func slow(site int) *Fault {
	return &Fault{Name: "slow links of " + names(site), Measured: true,
		inject: func(_ context.Context, c *Cluster) error {
			for other := range c.Sites {
				if other != site {
					c.wan.Delay(site, other, slowDelay)
					c.wan.Throttle(site, other, slowRate)
				}
			}
			return nil
		},
		heal: func(_ context.Context, c *Cluster) error {
			for other := range c.Sites {
				if other != site {
					c.wan.Throttle(site, other, 0)
				}
			}
			c.distances()
			return nil
		}}
}
