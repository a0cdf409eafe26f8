package drill

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"bongsu/harness"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/roam"
)

// probes measure how long service is away: for every partition somebody who writes into a room of it, one after the other, and
// for every site a client at home there who reads. They roam as all clients do, but the writers keep away from sites that are about to
// be lost: what is measured is when the cluster takes writes, not when a client finds it.
type probes struct {
	History *harness.History // of what the writers wrote

	rec     *recorder
	guests  *guests
	writers []*prober
	readers []*prober
	stop    context.CancelFunc
	running sync.WaitGroup
}

// prober does one thing again and again.
type prober struct {
	name  string
	home  string // base URL
	c     *harness.Client
	rt    *roam.Transport
	pause time.Duration
	room  string
	do    func(ctx context.Context, p *prober, n int) error

	mu      sync.Mutex
	samples []sample
}

const (
	writePause = 20 * time.Millisecond
	readPause  = 50 * time.Millisecond
	// The same at a cluster that others use.
	modestWritePause = 100 * time.Millisecond
	modestReadPause  = 200 * time.Millisecond
)

// newProbes makes the accounts and rooms. A writer and a reader pause for so long between two goes.
func newProbes(ctx context.Context, g *guests, partitions int, write, read time.Duration) (*probes, error) {
	p := &probes{History: harness.NewHistory(), rec: g.rec, guests: g}
	urls := g.urls
	for i := range partitions {
		w := &prober{name: fmt.Sprintf("%swriter%d", g.prefix, i), home: urls[i%len(urls)], pause: write, do: p.write}
		if err := p.enter(ctx, w); err != nil {
			return nil, err
		}
		for want := i; ; {
			room, err := w.c.CreateRoom(ctx, map[string]any{"preset": "private_chat"})
			if err != nil {
				return nil, fmt.Errorf("drill: room of %s: %w", w.name, err)
			}
			if int(replica.PartitionOf(id.SlotOf(room), partitions)) == want {
				w.room = room
				break
			}
		}
		p.writers = append(p.writers, w)
	}
	for i, home := range urls {
		r := &prober{name: fmt.Sprintf("%sreader%d", g.prefix, i), home: home, pause: read, do: look}
		if err := p.enter(ctx, r); err != nil {
			return nil, err
		}
		p.readers = append(p.readers, r)
	}
	return p, nil
}

func (p *probes) enter(ctx context.Context, w *prober) error {
	var err error
	w.c, w.rt, err = p.guests.register(ctx, w.name, w.home)
	return err
}

// write sends one event until it is acknowledged.
func (p *probes) write(ctx context.Context, w *prober, n int) error {
	marker := fmt.Sprintf("%s-%d", w.name, n)
	s := harness.Sent{Client: w.name, Room: w.room, Txn: "t" + marker, Began: time.Now()}
	p.History.Send(marker, s)
	id, err := w.c.Send(ctx, w.room, "m.room.message", s.Txn, map[string]string{"msgtype": "m.text", "body": "probe", "marker": marker})
	if err != nil {
		return err
	}
	s.ID, s.Ended = id, time.Now()
	p.History.Send(marker, s)
	return nil
}

func look(ctx context.Context, r *prober, _ int) error {
	return r.c.Insist(ctx, http.MethodGet, harness.Path("v3", "joined_rooms"), nil, nil)
}

// start lets all begin.
func (p *probes) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	for _, w := range append(append([]*prober(nil), p.writers...), p.readers...) {
		p.running.Go(func() { w.run(ctx, p) })
	}
}

func (w *prober) run(ctx context.Context, p *probes) {
	for n := 0; ; n++ {
		began := p.rec.now()
		err := w.do(ctx, w, n)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.History.Fail("refused: %s: %v", w.name, err)
		} else {
			w.mu.Lock()
			w.samples = append(w.samples, sample{began, p.rec.now()})
			w.mu.Unlock()
		}
		if rest(ctx, w.pause) != nil {
			return
		}
	}
}

func (w *prober) all() []sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.samples[:len(w.samples):len(w.samples)]
}

// avoid keeps the writers away from sites, and sends everybody home who has a home elsewhere.
func (p *probes) avoid(sites ...string) error {
	for _, w := range append(append([]*prober(nil), p.writers...), p.readers...) {
		if err := w.rt.Move(w.home); err != nil {
			return err
		}
	}
	for _, w := range p.writers {
		w.rt.Avoid(sites...)
	}
	return nil
}

// release lets everybody go everywhere again.
func (p *probes) release() {
	for _, w := range p.writers {
		w.rt.Avoid()
	}
}

// halt ends all. What is in flight is given up.
func (p *probes) halt() {
	if p.stop != nil {
		p.stop()
	}
	p.running.Wait()
}

// close is halt, and gives the connections back.
func (p *probes) close() {
	p.halt()
	for _, w := range append(append([]*prober(nil), p.writers...), p.readers...) {
		w.c.Close()
	}
}

// judge checks what the writers wrote, as each of the sites has it.
func (p *probes) judge(ctx context.Context, urls []string) []string {
	var findings []string
	for _, url := range urls {
		clients := map[string]*harness.Client{}
		for _, w := range p.writers {
			clients[w.name] = w.c.As(url)
			defer clients[w.name].Close()
		}
		truth, found := harness.ReadTruth(ctx, p.History, clients)
		for _, f := range append(found, harness.Check(p.History, truth)...) {
			findings = append(findings, f+", at "+url)
		}
	}
	return findings
}
