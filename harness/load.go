package harness

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// LoadConfig says how much is going on.
type LoadConfig struct {
	Users int           // each has a device, a sync loop and writes; default 6
	Rooms int           // that all are in, from the start; more are made under way; default 3
	Pause time.Duration // longest pause of a user between two actions; default 8 ms
	Seed  uint64

	Prefix   string // of the accounts' names
	Password string // of all accounts; default "password of NAME"

	// Client makes the client of a user, for instance one that roams between sites. Default: NewClient.
	Client func(user string) *Client
}

// Load is people at work on a server that may vanish at any moment: whoever gets no answer asks again. Everything is written
// down in History.
type Load struct {
	History *History

	cfg       LoadConfig
	people    []*person
	followers []*Follower

	mu    sync.Mutex
	rooms []roomOf

	stop    chan struct{} // closed: finish what you are at
	writers sync.WaitGroup
	readers sync.WaitGroup
	quit    context.CancelFunc // ends the sync loops
	actions context.Context    // bounds every action
	cancel  context.CancelFunc
}

// roomOf is a room with people in it.
type roomOf struct {
	id      string
	members []*person
}

// answerWithin is how long somebody asks again before it counts as never answered.
const answerWithin = 90 * time.Second

func (cfg LoadConfig) password(name string) string {
	return cmp.Or(cfg.Password, "password of "+name)
}

// NewLoad makes the accounts and rooms on the server at base, and lets everybody begin.
func NewLoad(ctx context.Context, base string, cfg LoadConfig) (*Load, error) {
	if cfg.Users == 0 {
		cfg.Users = 6
	}
	if cfg.Rooms == 0 {
		cfg.Rooms = 3
	}
	if cfg.Pause == 0 {
		cfg.Pause = 8 * time.Millisecond
	}
	if cfg.Client == nil {
		cfg.Client = func(string) *Client { return NewClient(base) }
	}
	l := &Load{History: NewHistory(), cfg: cfg, stop: make(chan struct{})}
	for i := range cfg.Users {
		name := fmt.Sprintf("%suser%d", cfg.Prefix, i)
		p := &person{name: name, c: cfg.Client(name), load: l,
			rng: rand.New(rand.NewPCG(cfg.Seed, uint64(i)))} //nolint:gosec // repeatable on purpose
		if err := p.c.Register(ctx, p.name, cfg.password(p.name)); err != nil {
			return nil, fmt.Errorf("register %s: %w", p.name, err)
		}
		l.people = append(l.people, p)
	}
	for i := range cfg.Rooms {
		if err := l.people[i%len(l.people)].makeRoom(ctx, l.people); err != nil {
			return nil, err
		}
	}
	l.actions, l.cancel = context.WithCancel(context.Background())
	reading, quit := context.WithCancel(l.actions)
	l.quit = quit
	for i, p := range l.people {
		filter := ""
		if i%2 == 1 { // small enough to have gaps after every outage
			filter = `{"room":{"timeline":{"limit":4}}}`
		}
		f := NewFollower(p.name, p.c, filter, l.History)
		l.followers = append(l.followers, f)
		l.readers.Go(func() { f.Run(reading) })
		l.writers.Go(p.work)
	}
	return l, nil
}

// Stop lets everybody finish what they are at, for which the server must be there, and returns when nobody writes.
func (l *Load) Stop() {
	close(l.stop)
	l.writers.Wait()
	l.quit()
	l.readers.Wait()
}

// Close ends everything at once; after Stop it only frees what is left.
func (l *Load) Close() {
	l.cancel()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.writers.Wait()
	l.readers.Wait()
	for _, p := range l.people {
		p.c.Close()
	}
}

// Judge lets everybody read to the end and checks all promises, against what each of the sites answers (by base URL; none: what
// the clients are answered). Call it after Stop, best after a restart, so that nothing is in flight.
func (l *Load) Judge(ctx context.Context, sites ...string) []string {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	clients := map[string]*Client{}
	for _, p := range l.people {
		clients[p.name] = p.c
	}
	// Somebody with another device, who has seen nothing yet.
	name := l.people[0].name
	newcomer := l.cfg.Client(name)
	defer newcomer.Close()
	if err := newcomer.Login(ctx, name, l.cfg.password(name)); err != nil {
		l.History.Fail("refused: login of %s: %v", name, err)
	}
	clients[name+" anew"] = newcomer
	truth, findings := readTruths(ctx, l.History, clients, sites)
	var all sync.WaitGroup
	for _, f := range append(l.followers, NewFollower(name+" anew", newcomer, "", l.History)) {
		all.Go(func() { f.CatchUp(ctx, truth) })
	}
	all.Wait()
	return append(findings, Check(l.History, truth)...)
}

// readTruths reads the truth at every site, and says where they differ; the first site's is returned.
func readTruths(ctx context.Context, h *History, clients map[string]*Client, sites []string) (*Truth, []string) {
	if len(sites) == 0 {
		return ReadTruth(ctx, h, clients)
	}
	var first *Truth
	var findings []string
	for _, site := range sites {
		there := map[string]*Client{}
		for name, c := range clients {
			there[name] = c.As(site)
			defer there[name].Close()
		}
		truth, found := ReadTruth(ctx, h, there)
		for _, f := range found {
			findings = append(findings, f+", at "+site)
		}
		if first == nil {
			first = truth
		} else {
			findings = append(findings, Differ(sites[0], first, site, truth)...)
		}
	}
	return first, findings
}

// Spotcheck reads some of the newest acknowledged events and a file.
func (l *Load) Spotcheck(ctx context.Context, n int) []string {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var findings []string
	for _, p := range l.people {
		for _, marker := range p.newest(n) {
			l.History.mu.Lock()
			s := l.History.Sends[marker]
			l.History.mu.Unlock()
			var e Event
			err := p.c.Insist(ctx, "GET", Path("v3", "rooms", s.Room, "event", s.ID), nil, &e)
			switch {
			case passing(err):
				findings = append(findings, fmt.Sprintf("stuck: %q cannot be read in %s: %v", marker, s.Room, err))
			case err != nil || e.Marker() != marker:
				findings = append(findings, fmt.Sprintf("lost: %q was acknowledged as %s in %s: %v", marker, s.ID, s.Room, err))
			}
		}
	}
	return findings
}
