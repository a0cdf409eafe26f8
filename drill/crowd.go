package drill

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"bongsu/harness"
	"bongsu/roam"
)

// crowd is many clients that wait in long polls, as phones do, spread over all sites. They share a few accounts, each with a room in
// which somebody says something every second. It can also write much more than usual for a while.
type crowd struct {
	History *harness.History // of what they read, and of what was written in a rush

	guests  *guests
	talkers []*talker
	rushers []*talker // others: nobody follows what they write
	members []*member

	stop    context.CancelFunc
	talk    sync.WaitGroup
	quit    context.CancelFunc // ends the long polls
	reading sync.WaitGroup
}

const (
	crowdAccounts = 8
	crowdPatience = 3 * time.Second // until a waiting client asks whether its site is still there: what roam takes by default
	talkEvery     = time.Second
	rushHands     = 8 // writers of each account in a rush
)

// talker is an account with a room of its own.
type talker struct {
	name string
	c    *harness.Client
	room string
}

// member is a client of the crowd.
type member struct {
	*harness.Follower
	rt *roam.Transport

	mu       sync.Mutex
	answered []time.Duration // when syncs were
}

// newCrowd makes the accounts and connects n clients. When there is an error the crowd may be nil or incomplete, and is to be closed.
func newCrowd(ctx context.Context, g *guests, n int) (*crowd, error) {
	c := &crowd{History: harness.NewHistory(), guests: g}
	for i := range crowdAccounts {
		home := g.urls[i%len(g.urls)]
		t, err := c.enter(ctx, fmt.Sprintf("%scrowd%d", g.prefix, i), home)
		if err != nil {
			return nil, err
		}
		c.talkers = append(c.talkers, t)
		if t, err = c.enter(ctx, fmt.Sprintf("%srush%d", g.prefix, i), home); err != nil {
			return nil, err
		}
		c.rushers = append(c.rushers, t)
	}
	for i := range n {
		t := c.talkers[i%crowdAccounts]
		client, rt, err := c.another(t, i/crowdAccounts)
		if err != nil {
			return nil, err
		}
		f := harness.NewFollower(fmt.Sprintf("%s-%d", t.name, i), client, "", c.History)
		c.members = append(c.members, &member{Follower: f, rt: rt})
	}
	reading, quit := context.WithCancel(context.Background())
	c.quit = quit
	for _, m := range c.members {
		c.reading.Go(func() { m.run(reading, c.guests.rec) })
	}
	return c, c.assembled(ctx)
}

func (c *crowd) enter(ctx context.Context, name, home string) (*talker, error) {
	client, _, err := c.guests.register(ctx, name, home)
	if err != nil {
		return nil, err
	}
	room, err := client.CreateRoom(ctx, map[string]any{"preset": "private_chat"})
	if err != nil {
		return nil, fmt.Errorf("drill: room of %s: %w", name, err)
	}
	return &talker{name, client, room}, nil
}

// another is one more client of an account, with connections of its own.
func (c *crowd) another(t *talker, home int) (*harness.Client, *roam.Transport, error) {
	client, rt, err := c.guests.roamer(c.guests.urls[home%len(c.guests.urls)], crowdPatience)
	if err == nil {
		client.User, client.Device, client.Token = t.c.User, t.c.Device, t.c.Token
	}
	return client, rt, err
}

// assembled waits until all have had their first answer.
func (c *crowd) assembled(ctx context.Context) error {
	for {
		if !slices.ContainsFunc(c.members, func(m *member) bool { _, ok := m.after(0); return !ok }) {
			return nil
		}
		if err := rest(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// run follows until ctx ends.
func (m *member) run(ctx context.Context, rec *recorder) {
	for ctx.Err() == nil {
		if m.Step(ctx, 20*time.Second) {
			m.mu.Lock()
			m.answered = append(m.answered, rec.now())
			m.mu.Unlock()
		} else {
			_ = rest(ctx, 10*time.Millisecond)
		}
	}
}

// at are the members whose site is one of these, by base URL. There may be no crowd.
func (c *crowd) at(sites []string) []*member {
	if c == nil {
		return nil
	}
	var all []*member
	for _, m := range c.members {
		if slices.Contains(sites, m.rt.Site()) {
			all = append(all, m)
		}
	}
	return all
}

// after is how long after a moment the next sync was answered; false: not yet.
func (m *member) after(at time.Duration) (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.answered {
		if t > at {
			return t - at, true
		}
	}
	return 0, false
}

// start lets the talkers talk.
func (c *crowd) start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	for _, t := range c.talkers {
		c.talk.Go(func() {
			for n := 0; rest(ctx, talkEvery) == nil; n++ {
				// What was begun is finished: whoever is interrupted does not know what came of it.
				c.say(context.WithoutCancel(ctx), t, t.c, fmt.Sprintf("%s-%d", t.name, n))
			}
		})
	}
}

// say sends one event until it is acknowledged.
func (c *crowd) say(ctx context.Context, t *talker, by *harness.Client, marker string) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	s := harness.Sent{Client: t.name, Room: t.room, Txn: "t" + marker, Began: time.Now()}
	c.History.Send(marker, s)
	id, err := by.Send(ctx, t.room, "m.room.message", s.Txn, map[string]string{"msgtype": "m.text", "body": "in the crowd", "marker": marker})
	if err != nil {
		c.History.Fail("refused: %s: %v", t.name, err)
		return
	}
	s.ID, s.Ended = id, time.Now()
	c.History.Send(marker, s)
}

// Rush is what happened while much more was written than usual.
type Rush struct {
	Asked  float64       `json:"asked_per_s"`
	Done   float64       `json:"done_per_s"`
	Median time.Duration `json:"median_ns"` // until a write was acknowledged, refusals and new attempts among it
	P99    time.Duration `json:"p99_ns"`
	Began  time.Duration `json:"began_ns"`
	Ended  time.Duration `json:"ended_ns"`

	Pause   time.Duration `json:"pause_ns"` // the longest in the writes of a partition
	Calls   int           `json:"calls"`    // of all clients meanwhile
	Refused int           `json:"refused"`  // of these, those that were answered 5xx
}

// rush writes so often for a while, from as many clients as that takes, but each one waits for its answer.
func (c *crowd) rush(ctx context.Context, perSecond float64, d time.Duration) (*Rush, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var mu sync.Mutex
	var took []time.Duration
	var all sync.WaitGroup
	rec := c.guests.rec
	r := &Rush{Asked: perSecond, Began: rec.now()}
	every := time.Duration(float64(crowdAccounts*rushHands) / perSecond * float64(time.Second))
	for i := range crowdAccounts * rushHands {
		t := c.rushers[i%crowdAccounts]
		client, _, err := c.another(t, i)
		if err != nil {
			return nil, err
		}
		all.Go(func() {
			defer client.Close()
			next := time.NewTicker(every)
			defer next.Stop()
			for n := 0; ctx.Err() == nil; n++ {
				began := rec.now()
				c.say(context.WithoutCancel(ctx), t, client, fmt.Sprintf("%s-%d-%d", t.name, i, n))
				mu.Lock()
				took = append(took, rec.now()-began)
				mu.Unlock()
				select {
				case <-ctx.Done():
				case <-next.C:
				}
			}
		})
	}
	all.Wait()
	if len(took) == 0 {
		return nil, context.Cause(ctx)
	}
	r.Ended = rec.now()
	r.Done = float64(len(took)) / (r.Ended - r.Began).Seconds()
	slices.Sort(took)
	r.Median, r.P99 = took[len(took)/2], took[len(took)*99/100]
	for _, call := range rec.all() {
		if call.Began+call.Took >= r.Began && call.Began < r.Ended {
			r.Calls++
			if call.Status >= 500 {
				r.Refused++
			}
		}
	}
	return r, nil
}

// end lets the talkers finish what they are at.
func (c *crowd) end() {
	if c.stop != nil {
		c.stop()
	}
	c.talk.Wait()
}

// close ends everything.
func (c *crowd) close() {
	c.end()
	c.quit()
	c.reading.Wait()
	for _, m := range c.members {
		m.Client.Close()
	}
}

// judge lets everybody read to the end and checks what they read and what was written, as each of the sites has it.
func (c *crowd) judge(ctx context.Context, urls []string) []string {
	c.quit()
	c.reading.Wait()
	var findings []string
	for i, url := range urls {
		clients := map[string]*harness.Client{}
		for _, t := range slices.Concat(c.talkers, c.rushers) {
			clients[t.name] = t.c.As(url)
			defer clients[t.name].Close()
		}
		truth, found := harness.ReadTruth(ctx, c.History, clients)
		for n, m := range c.members {
			truth.Joined[m.Name] = truth.Joined[c.talkers[n%crowdAccounts].name]
		}
		if i == 0 {
			var all sync.WaitGroup
			for _, m := range c.members {
				all.Go(func() { m.CatchUp(ctx, truth) })
			}
			all.Wait()
		}
		for _, f := range append(found, harness.Check(c.History, truth)...) {
			findings = append(findings, f+", at "+url)
		}
	}
	return findings
}
