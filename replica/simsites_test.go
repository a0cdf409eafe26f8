package replica_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

var fiveNames = []string{"busan", "daegu", "jeju", "seoul", "ulsan"}

// TestSimulationOfSites lets clients wander between three sites, or five, which crash, come back with their rows as they are, older or gone, are
// cut off, lag, have wrong clocks, and have their journal trimmed. A client repeats a write, at whichever site it finds, until it
// has a verdict. In the end every acknowledged write has had one effect, every other at most one, a refused one none; who asks a site
// that has caught up is never denied what was acknowledged; and the sites are alike.
//
// A seed fixes what goes wrong, not how goroutines take turns. BONGSU_SIM_SEEDS says how many seeds, BONGSU_SIM_SEED which one.
func TestSimulationOfSites(t *testing.T) {
	var total simCounts
	for seed := range replicatest.Seeds(25) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			counts, faults := simulateSites(t, seed, plant{})
			for _, f := range faults {
				t.Errorf("seed %d: %s", seed, f)
			}
			total.add(counts)
		})
	}
	t.Logf("%+v", total)
	if total.acked == 0 || total.refused == 0 || total.given == 0 || total.asked == 0 {
		t.Errorf("something never happened: %+v", total)
	}
}

// The simulation finds what it is for: each of these faults, planted between the replica and the world, shows in some seed.
func TestSimulationFindsPlantedFaults(t *testing.T) {
	for name, p := range map[string]plant{
		"keys are forgotten":              {forgetKeys: true},
		"repeats of records are taken":    {takeRepeats: true},
		"messages come without numbers":   {noNumbers: true},
		"refusals are not kept":           {rules: 1},
		"denied without having caught up": {noCatchUp: true},
		"one site makes another state":    {oddSite: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 60; seed++ {
				if _, faults := simulateSites(t, seed, p); len(faults) > 0 {
					t.Logf("seed %d: %s", seed, faults[0])
					return
				}
			}
			t.Error("it was not found")
		})
	}
}

type simCounts struct{ acked, refused, given, asked, crashes int }

func (c *simCounts) add(d simCounts) {
	c.acked += d.acked
	c.refused += d.refused
	c.given += d.given
	c.asked += d.asked
	c.crashes += d.crashes
}

// siteSim is one run.
type siteSim struct {
	t     *testing.T
	seed  uint64
	plant plant
	names []string
	store *mem.Store
	shelf *replicatest.Shelf

	// Of the goroutine that is fate.
	rng   *rand.Rand
	sites []*simSite
	boot  uint64

	mu     sync.Mutex
	wants  map[string]want
	faults []string
	counts simCounts
}

// want is how often something must have happened at least and at most.
type want struct{ least, most int64 }

type simSite struct {
	name string
	disk *replicatest.Disk
	j    *mem.Journal
	r    *replica.Replica // nil while the site is down; guarded by siteSim.mu
	skew time.Duration    // likewise
}

func simulateSites(t *testing.T, seed uint64, p plant) (counts simCounts, faults []string) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := &siteSim{t: t, seed: seed, plant: p, names: threeNames, shelf: replicatest.NewShelf(dir), store: mem.NewStore(3), rng: rand.New(rand.NewPCG(seed, 0)),
			wants: map[string]want{}}
		if seed%5 == 0 {
			s.names = fiveNames
		}
		s.run()
		counts, faults = s.counts, s.faults
	})
	return counts, faults
}

func (s *siteSim) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *siteSim) run() {
	for _, name := range s.names {
		site := &simSite{name: name, disk: replicatest.NewDisk(s.t)}
		s.sites = append(s.sites, site)
		s.start(site)
	}
	var clients sync.WaitGroup
	for c := range 6 {
		clients.Go(func() { s.client(c) })
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(time.Duration(s.rng.IntN(400)) * time.Millisecond):
			s.strike(s.sites[s.rng.IntN(len(s.sites))])
		}
	}
	s.calm()
	time.Sleep(3 * time.Minute) // what is on its way arrives
	s.check()
	for _, site := range s.sites {
		s.crash(site)
		site.disk.Abandon()
	}
}

// start starts a site on whatever rows there are.
func (s *siteSim) start(site *simSite) {
	s.boot++
	rates := mem.Rates{Fail: 0.1, LoseAck: 0.15, Forget: 0.2, LosePush: 0.1, Delay: 40 * time.Millisecond, AckDelay: 40 * time.Millisecond}
	site.j = s.store.Open(s.plant.appends(mem.Seeded(s.seed+s.boot<<32, rates)))
	for p := range site.j.Partitions() {
		site.j.Lead(journal.Partition(p), s.rng.IntN(2) == 0) // nobody, one or several
	}
	cfg := replica.Config{DB: site.disk.DB, Journal: s.plant.journal(site.j), Machines: []replica.Machine{s.plant.machine(site.name)}, Rules: 2,
		Site: site.name, Boot: s.plant.boot(s.boot), Sites: s.names, Queue: 64 << 10, Checkpoint: s.shelf.Fetch,
		Clock: clock.Func(func() time.Time {
			s.mu.Lock()
			defer s.mu.Unlock()
			return time.Now().Add(site.skew)
		})}
	if s.plant.rules != 0 {
		cfg.Rules = s.plant.rules
	}
	r, err := replica.Open(s.t.Context(), cfg)
	if err == nil {
		err = r.Start(s.t.Context(), nil)
	}
	if err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	s.mu.Lock()
	site.r = r
	s.mu.Unlock()
}

// strike lets something happen to a site.
func (s *siteSim) strike(site *simSite) {
	if site.r == nil {
		s.start(site)
		return
	}
	switch s.rng.IntN(10) {
	case 0, 1, 2:
		s.crash(site)
		site.disk.Lose(s.t, s.rng)
	case 3, 4:
		site.j.Cut(true)
	case 5, 6:
		site.j.Cut(false)
	case 7:
		site.j.Lag(time.Duration(s.rng.IntN(2)*s.rng.IntN(1500)) * time.Millisecond)
	case 8:
		s.mu.Lock()
		site.skew = time.Duration(s.rng.IntN(60_000)-30_000) * time.Millisecond
		s.mu.Unlock()
	case 9:
		p := journal.Partition(s.rng.IntN(3))
		if s.rng.IntN(2) == 0 {
			site.r.Remake(p, errors.New("planted"))
		} else {
			s.shelf.Trim(s.t.Context(), site.r, site.j, p)
		}
	}
}

// crash ends the site in the middle of what it does.
func (s *siteSim) crash(site *simSite) {
	s.mu.Lock()
	r := site.r
	site.r = nil
	s.mu.Unlock()
	if r == nil {
		return
	}
	s.counts.crashes++
	site.j.Crash()
	r.Close()
	for _, f := range replicatest.Unsound(r) {
		s.fault("%s: %s", site.name, f)
	}
}

// calm ends what goes wrong.
func (s *siteSim) calm() {
	for _, site := range s.sites {
		if site.r == nil {
			s.start(site)
		}
		site.j.Cut(false)
		site.j.Lag(0)
	}
}

// check compares what there is with what there must be, at every site, and the sites with each other.
func (s *siteSim) check() {
	for _, site := range s.sites {
		for p := range journal.Partition(3) {
			a, b := s.sites[0].r.Status(p), site.r.Status(p)
			for range 200 { // a record may be on its way between the two
				if a.Applied == b.Applied {
					break
				}
				time.Sleep(37 * time.Millisecond)
				a, b = s.sites[0].r.Status(p), site.r.Status(p)
			}
			if a.Applied != b.Applied || a.Digest != b.Digest {
				s.fault("partition %d: %s is at %d %x, %s at %d %x", p, s.sites[0].name, a.Applied, a.Digest[:4], site.name, b.Applied, b.Digest[:4])
			}
		}
		for name, w := range s.wants {
			if n := count(site.r, name); n < w.least || n > w.most {
				s.fault("%s: %s has %d, not %d to %d", site.name, name, n, w.least, w.most)
			}
		}
	}
}

// expect notes a write's effect on an account.
func (s *siteSim) expect(name string, least, most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.wants[name]
	s.wants[name] = want{w.least + least, w.most + most}
}

// somewhere is a site that runs, or nil.
func (s *siteSim) somewhere(rng *rand.Rand) *replica.Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sites[rng.IntN(len(s.sites))].r
}

// client makes some writes, one after the other.
func (s *siteSim) client(c int) {
	rng := rand.New(rand.NewPCG(s.seed, uint64(c)+1))
	name := func() string { return simNames[rng.IntN(len(simNames))] }
	for i := range 25 {
		key := func(what string) replica.Key {
			return replica.NewKey("@amy:x", id.DeviceID(strconv.Itoa(c)), what, strconv.Itoa(i))
		}
		propose := func(kind, body string) replica.Proposal {
			p := propose(kind, body)
			p.Key, p.Lane = key(kind), strconv.Itoa(c)
			return p
		}
		switch rng.IntN(5) {
		case 0: // a write that is given up, answered or not
			alone := fmt.Sprintf("once-%d-%d", c, i)
			p := propose("ledger.add", alone)
			if rng.IntN(2) == 0 {
				p.Key = replica.Key{} // nobody repeats it but the site itself, which must know its own records again
			}
			if accepted, ok := s.try(rng, p); accepted && ok {
				s.expect(alone, 1, 1)
			} else {
				s.expect(alone, 0, 1)
			}
		case 1:
			s.refuse(rng, propose, fmt.Sprintf("poor-%d-%d", c, i), fmt.Sprintf("rich-%d-%d", c, i))
		case 2:
			from, to := name(), name()
			if s.insist(rng, propose("ledger.give", from+" "+to)) {
				s.expect(from, -1, -1)
				s.expect(to, 1, 1)
			}
		case 3:
			to := name()
			s.accept(rng, propose("ledger.later", to))
			s.expect(to, 1, 1)
		default:
			seen := fmt.Sprintf("seen-%d-%d", c, i)
			s.accept(rng, propose("ledger.add", seen))
			s.expect(seen, 1, 1)
			s.ask(rng, seen)
		}
	}
}

// refuse makes a write that is refused, then what it lacked, and sometimes the write again. To be told that it was refused and to find
// it done later is a fault.
func (s *siteSim) refuse(rng *rand.Rand, propose func(kind, body string) replica.Proposal, poor, rich string) {
	give := propose("ledger.give", poor+" "+rich)
	if s.insist(rng, give) {
		s.fault("%s gave what it did not have", poor)
	}
	s.accept(rng, propose("ledger.add", poor))
	if rng.IntN(2) == 0 {
		s.expect(poor, 1, 1)
		s.expect(rich, 0, 0)
		return
	}
	s.accept(rng, give)
	s.expect(poor, 0, 0)
	s.expect(rich, 1, 1)
	s.mu.Lock()
	s.counts.given++
	s.mu.Unlock()
}

// ask asks sites for what was acknowledged. One that says to have caught up must know it.
func (s *siteSim) ask(rng *rand.Rand, name string) {
	for range 3 {
		r := s.somewhere(rng)
		if r == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(2000))*time.Millisecond)
		generation, err := r.Generation(), r.Serving()
		if !s.plant.noCatchUp {
			err = errors.Join(err, r.CatchUp(ctx))
		}
		cancel()
		n, up := s.read(r, name)
		if err != nil || !up || r.Serving() != nil || r.Generation() != generation {
			continue
		}
		if n == 0 {
			s.fault("%s was denied", name)
		}
		s.mu.Lock()
		s.counts.asked++
		s.mu.Unlock()
	}
}

// accept repeats a write that nothing speaks against.
func (s *siteSim) accept(rng *rand.Rand, p replica.Proposal) {
	if !s.insist(rng, p) {
		s.fault("%s %s was refused", p.Kind, p.Body)
	}
}

// read counts at a site, if it still runs.
func (s *siteSim) read(r *replica.Replica, name string) (n int64, up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, site := range s.sites {
		if site.r == r {
			return count(r, name), true
		}
	}
	return 0, false
}

// insist repeats a write until it has a verdict, and reports whether it was accepted.
func (s *siteSim) insist(rng *rand.Rand, p replica.Proposal) bool {
	for begun := time.Now(); time.Since(begun) < 10*time.Minute; {
		if accepted, ok := s.try(rng, p); ok {
			return accepted
		}
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
	}
	s.fault("%s %s had no verdict for ten minutes", p.Kind, p.Body)
	return false
}

// try makes a write at some site; ok: there is a verdict.
func (s *siteSim) try(rng *rand.Rand, p replica.Proposal) (accepted, ok bool) {
	r := s.somewhere(rng)
	if r == nil {
		return false, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(500))*time.Millisecond)
	defer cancel()
	if s.plant.forgetKeys {
		p.Key = replica.Key{}
	}
	_, err := r.Submit(ctx, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	var refusal replica.Refusal
	switch {
	case err == nil:
		s.counts.acked++
		return true, true
	case errors.As(err, &refusal):
		s.counts.refused++
		return false, true
	case !errs.Is(err, errs.Unavailable):
		s.faults = append(s.faults, err.Error())
	}
	return false, false
}
