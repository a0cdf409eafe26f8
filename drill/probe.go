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
	urls    []string
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
	// signOfLife is the patience of the drill's clients with a site that does not answer. It is shorter than the default of roam,
	// as in an app on a screen that somebody looks at.
	signOfLife = 700 * time.Millisecond
)

// newRoamer makes a client that knows all sites and begins at one of them.
func newRoamer(urls []string, home string, rec *recorder) (*harness.Client, *roam.Transport, error) {
	cfg := roam.Config{Sites: urls, SignOfLife: signOfLife, RaceEvery: time.Hour, MaxPause: 300 * time.Millisecond}
	if rec != nil {
		cfg.Observe = rec.observe
	}
	rt, err := roam.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	return harness.NewClientOver(urls[0], rt), rt, rt.Move(home)
}

// newProbes makes the accounts and rooms.
func newProbes(ctx context.Context, urls []string, partitions int, rec *recorder) (*probes, error) {
	p := &probes{History: harness.NewHistory(), rec: rec, urls: urls}
	for i := range partitions {
		w := &prober{name: fmt.Sprintf("writer%d", i), home: urls[i%len(urls)], pause: writePause, do: p.write}
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
		r := &prober{name: fmt.Sprintf("reader%d", i), home: home, pause: readPause, do: read}
		if err := p.enter(ctx, r); err != nil {
			return nil, err
		}
		p.readers = append(p.readers, r)
	}
	return p, nil
}

func (p *probes) enter(ctx context.Context, w *prober) error {
	var err error
	if w.c, w.rt, err = newRoamer(p.urls, w.home, p.rec); err != nil {
		return err
	}
	if err := w.c.Register(ctx, w.name, "password of "+w.name); err != nil {
		return fmt.Errorf("drill: register %s: %w", w.name, err)
	}
	return nil
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

func read(ctx context.Context, r *prober, _ int) error {
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

// judge checks what the writers wrote, as each site has it.
func (p *probes) judge(ctx context.Context) []string {
	var findings []string
	for _, url := range p.urls {
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
