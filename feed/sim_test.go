package feed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/clock"
	"bongsu/ephemeral"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/room"
)

// TestSimulationOfFeed lets users write in rooms and to each other's devices, and clients sync, at whichever of three sites, or five,
// they find. Sites crash, come back with their rows as they are, older or gone, are cut off, lag, have wrong clocks, and have their
// journal trimmed. A client takes its token from site to site. What it puts together of each room is in the end the room's
// history, without a gap, a repetition or another order; it has got each message to its device once, and the keys of all others; no token was refused; a wait is
// ended by what is waited for; and the sites are alike and say the same to somebody who begins anew.
//
// A seed fixes what goes wrong, not how goroutines take turns. BONGSU_SIM_SEEDS says how many seeds, BONGSU_SIM_SEED which one.
func TestSimulationOfFeed(t *testing.T) {
	seeds := 10
	if testing.Short() {
		seeds = 2
	}
	var total simCounts
	for seed := range replicatest.Seeds(seeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			counts, faults := simulate(t, seed, plant{})
			for _, f := range faults {
				t.Errorf("seed %d: %s", seed, f)
			}
			total.add(counts)
		})
	}
	t.Logf("%+v", total)
	if total.events == 0 || total.moves == 0 || total.paged == 0 || total.messages == 0 || total.remade == 0 {
		t.Errorf("something never happened: %+v", total)
	}
}

// simCounts is what has happened.
type simCounts struct {
	acked, syncs, moves int // writes that were acknowledged, answers to syncs, and of them at another site than the one before
	events, paged       int // that clients have got: by syncs, by paging back
	messages            int // to devices
	crashes, remade     int
}

func (c *simCounts) add(d simCounts) {
	c.acked += d.acked
	c.syncs += d.syncs
	c.moves += d.moves
	c.events += d.events
	c.paged += d.paged
	c.messages += d.messages
	c.crashes += d.crashes
	c.remade += d.remade
}

// simParts is how many partitions there are.
const simParts = 3

// sim is one run of the simulation.
type sim struct {
	t     *testing.T
	seed  uint64
	plant plant
	names []string
	shelf *replicatest.Shelf
	home  []id.RoomID // rooms in which everybody stays
	store *mem.Store

	// Of the goroutine that is fate.
	rng   *rand.Rand
	sites []*simSite
	boot  uint64

	mu     sync.Mutex
	lobby  []id.RoomID // rooms that users come to and leave
	kept   map[id.RoomID]map[id.EventID]bool
	sent   map[string][]string // messages to devices, by user and device, acknowledged
	faults []string
	counts simCounts
}

// simSite is a site, whether it runs or not.
type simSite struct {
	name string
	disk *replicatest.Disk
	j    *mem.Journal
	run  *simRun       // nil while the site is down; guarded by sim.mu
	skew time.Duration // likewise
}

// simRun is one run of a site's process.
type simRun struct {
	site     string
	r        *replica.Replica
	rooms    *room.Service
	accounts *account.Service
	keys     *keys.Keys
	typing   *ephemeral.Typing
	feed     *Feed
	ctx      context.Context //nolint:containedctx // ends with the process
	kill     context.CancelFunc
	requests sync.WaitGroup
}

func simulate(t *testing.T, seed uint64, p plant) (counts simCounts, faults []string) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &sim{t: t, seed: seed, plant: p, names: []string{"busan", "jeju", "seoul"}, shelf: replicatest.NewShelf(dir), store: mem.NewStore(simParts),
			rng:  rand.New(rand.NewPCG(seed, 0)),
			kept: map[id.RoomID]map[id.EventID]bool{}, sent: map[string][]string{}}
		if seed%5 == 0 {
			s.names = append(s.names, "daegu", "ulsan")
		}
		s.run()
		counts, faults = s.counts, s.faults
	})
	return counts, faults
}

func (s *sim) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *sim) count(change func(c *simCounts)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.counts)
}

func (s *sim) run() {
	for _, name := range s.names {
		site := &simSite{name: name, disk: replicatest.NewDisk(s.t)}
		s.sites = append(s.sites, site)
		s.start(site)
	}
	clients := s.settle()
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	for i, name := range names {
		writers.Go(func() { s.write(rand.New(rand.NewPCG(s.seed, uint64(i)+1)), name) })
	}
	for i, c := range clients {
		readers.Go(func() { c.follow(rand.New(rand.NewPCG(s.seed, uint64(i)+100)), stop) })
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(time.Duration(s.rng.IntN(400)) * time.Millisecond):
			s.strike(s.sites[s.rng.IntN(len(s.sites))])
		}
	}
	s.calm()
	close(stop)
	readers.Wait()
	time.Sleep(3 * time.Minute) // what is on its way arrives
	s.check(clients)
	for _, site := range s.sites {
		s.crash(site)
		site.disk.Abandon()
	}
}

// start starts a site on whatever rows there are.
func (s *sim) start(site *simSite) {
	s.boot++
	rates := mem.Rates{Fail: 0.1, LoseAck: 0.15, Forget: 0.2, LosePush: 0.1, Delay: 40 * time.Millisecond, AckDelay: 40 * time.Millisecond}
	site.j = s.store.Open(mem.Seeded(s.seed+s.boot<<32, rates))
	for p := range site.j.Partitions() {
		site.j.Lead(journal.Partition(p), s.rng.IntN(2) == 0) // nobody, one or several
	}
	now := clock.Func(func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return time.Now().Add(site.skew)
	})
	r, err := replica.Open(s.t.Context(), replica.Config{DB: site.disk.DB, Journal: s.plant.journal(site.name, site.j), Rules: 3,
		Machines: []replica.Machine{account.Machine(), room.Machine(), keys.Machine()},
		Site:     site.name, Boot: s.boot, Sites: s.names, Checkpoint: s.shelf.Fetch, Clock: now})
	if err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	run := &simRun{site: site.name, r: r, typing: ephemeral.New(ephemeral.Config{Clock: now})}
	run.ctx, run.kill = context.WithCancel(s.t.Context())
	run.rooms = room.New(room.Config{Replica: r, Server: "h", Clock: now,
		Profile: func(_ kv.Reader, u id.UserID) (room.Profile, bool) { return room.Profile{}, u.Server() == "h" }})
	run.accounts = account.New(account.Config{Replica: r, Server: "h", Passwords: auth.NewPasswords(auth.Config{Memory: 8, Passes: 1})})
	run.keys = keys.New(keys.Config{Replica: r, Server: "h", CatchUp: r.CatchUp,
		Devices: func(kv.Reader, id.UserID) []keys.Device { return []keys.Device{{ID: "A"}, {ID: "B"}} }})
	run.feed = New(Config{Replica: r, Typing: run.typing, Site: site.name, Boot: s.boot, Acked: run.keys.Acked, Clock: now})
	if err := r.Start(s.t.Context(), s.plant.sink(site.name, run.feed)); err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	s.mu.Lock()
	site.run = run
	s.mu.Unlock()
}

// errDown is what a client sees of a site that does not run, or whose answer may be of rows that were discarded.
func errDown() error { return errs.New("sim", errs.Unavailable, "", "no answer") }

// any is some site.
func (s *sim) any(rng *rand.Rand) *simSite { return s.sites[rng.IntN(len(s.sites))] }

// ask makes a request at a site, as the edge does: nothing is answered from rows that are being made anew, and nothing denied before
// the site has caught up.
func (s *sim) ask(at *simSite, limit time.Duration, do func(ctx context.Context, run *simRun) error) error {
	s.mu.Lock()
	run := at.run
	if run == nil {
		s.mu.Unlock()
		return errDown()
	}
	run.requests.Add(1)
	s.mu.Unlock()
	defer run.requests.Done()
	ctx, cancel := context.WithTimeout(run.ctx, limit)
	defer cancel()
	generation := run.r.Generation()
	if err := run.r.Serving(); err != nil {
		return err
	}
	err := do(ctx, run)
	if err != nil && !errs.Is(err, errs.Unavailable) {
		if caught := run.r.CatchUp(ctx); caught != nil {
			return caught
		}
		err = do(ctx, run)
	}
	if run.ctx.Err() != nil || run.r.Generation() != generation {
		return errDown()
	}
	return err
}

// insist makes a request at one site after the other until there is an answer; an answer that is an error is a fault, unless it is of
// a kind that is allowed. It reports whether all went well.
func (s *sim) insist(rng *rand.Rand, what string, do func(ctx context.Context, run *simRun) error, allowed ...errs.Kind) bool {
	for begun := time.Now(); time.Since(begun) < 10*time.Minute; time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond) {
		err := s.ask(s.any(rng), time.Duration(1+rng.IntN(1000))*time.Millisecond, do)
		if err == nil {
			return true
		}
		for _, k := range allowed {
			if errs.Is(err, k) {
				return false
			}
		}
		if !errs.Is(err, errs.Unavailable) {
			s.fault("%s: %v", what, err)
			return false
		}
	}
	s.fault("%s: no answer for ten minutes", what)
	return false
}
