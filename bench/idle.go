package bench

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// idlers are clients that long-poll and do nothing else.
type idlers struct {
	*load
	users       int
	before      usage
	heapBefore  int64
	beforeError error
}

// dialsPerStep and dialStep pace the connections, so that the server's queue of new ones does not overflow.
const (
	dialsPerStep = 50
	dialStep     = 20 * time.Millisecond
)

// startIdle starts the idle clients. Each has its own connection; they share a few users, because a thousand registrations
// would take longer than the measurement.
func (l *load) startIdle(ctx, syncing context.Context, loops *sync.WaitGroup, users []user) (*idlers, error) {
	i := &idlers{load: l, users: min(l.cfg.IdleUsers, l.cfg.Idle)}
	since := make([][]byte, i.users)
	err := l.each(ctx, i.users, l.cfg.SetupWorkers, func(ctx context.Context, c *client, n int) error {
		p := newPoller(c.as(users[n]), l.cfg)
		if err := p.poll(ctx, 0); err != nil {
			return err
		}
		p.advance()
		since[n] = p.since
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("initial sync of an idle user: %w", err)
	}
	i.heapBefore = l.meter.heap(ctx)
	i.before, i.beforeError = l.meter.read(ctx)
	for n := range l.cfg.Idle {
		l.status.say("%d of %d idle clients", n, l.cfg.Idle)
		u := n % i.users
		p := newPoller(l.client(n, users[u].Token), l.cfg)
		p.since = append(p.since, since[u]...)
		loops.Go(func() { i.loop(syncing, &p) })
		if n%dialsPerStep == dialsPerStep-1 && !sleep(ctx, dialStep) {
			return nil, ctx.Err()
		}
	}
	return i, nil
}

func (i *idlers) loop(ctx context.Context, p *poller) {
	defer p.c.close()
	for ctx.Err() == nil {
		if err := p.poll(ctx, p.timeout); err != nil {
			if !sleep(ctx, time.Second) {
				return
			}
			continue
		}
		p.advance()
	}
}

// report says what the clients cost, from readings before they came and at the end of the measurement.
func (i *idlers) report(ctx context.Context, from, to mark) {
	n := int64(i.cfg.Idle)
	r := &IdleReport{Clients: i.cfg.Idle, Users: i.users}
	r.Polls = float64(to.counts.syncs-from.counts.syncs) / (to.at - from.at).Seconds()
	if i.beforeError == nil && to.err == nil {
		r.RSSPerClient = (to.servers.rss - i.before.rss) / n
		r.MostPerClient = to.servers.rss / n
	}
	if heap := i.meter.heap(ctx); heap > 0 && i.heapBefore > 0 {
		r.HeapPerClient = (heap - i.heapBefore) / n
	}
	i.bench.report.Idle = r
}
