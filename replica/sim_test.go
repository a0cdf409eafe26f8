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

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// TestSimulation lets clients write through one site that crashes again and again, over a journal that delays, loses and repeats
// appends, and whose rows come back from each crash as they were at an earlier commit, or not at all. Each client repeats a write
// until it gets a verdict. In the end every write has had exactly one effect, whichever way it went: directly, through the outbox
// or by a timer.
//
// A seed fixes what goes wrong, not how goroutines take turns. BONGSU_SIM_SEEDS says how many seeds, BONGSU_SIM_SEED which one.
func TestSimulation(t *testing.T) {
	for seed := range replicatest.Seeds(15) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newSimulation(t, seed).run() })
		})
	}
}

var simNames = [...]string{"amy", "bob", "cleo", "dan", "eve"}

type simulation struct {
	t     *testing.T
	seed  uint64
	store *mem.Store

	// Of the goroutine that crashes the site.
	rng  *rand.Rand
	disk *replicatest.Disk
	j    *mem.Journal
	boot uint64

	mu   sync.Mutex
	r    *replica.Replica // nil while the site is down
	want map[string]int64
	acks int
	once map[string]bool // writes without a key, which were tried once, and whether they were acknowledged
}

func newSimulation(t *testing.T, seed uint64) *simulation {
	return &simulation{t: t, seed: seed, store: mem.NewStore(3), rng: rand.New(rand.NewPCG(seed, 0)), disk: replicatest.NewDisk(t),
		want: map[string]int64{}, once: map[string]bool{}}
}

func (s *simulation) run() {
	s.start()
	var clients sync.WaitGroup
	for c := range 5 {
		clients.Go(func() { s.client(c) })
	}
	done := make(chan struct{})
	go func() { clients.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(time.Duration(s.rng.IntN(1000)) * time.Millisecond):
			s.crash()
			s.start()
		}
	}
	time.Sleep(2 * time.Minute) // what is on its way arrives
	s.check(s.r, "the site")
	reached := s.r.Positions()
	s.crash()
	s.disk.Empty(s.t)
	s.start()
	time.Sleep(2 * time.Minute)
	s.check(s.r, "a site rebuilt from the journal")
	for p, pos := range s.r.Positions() {
		if pos < reached[p] {
			s.t.Errorf("seed %d: partition %d: %d after %d", s.seed, p, pos, reached[p])
		}
	}
	s.crash()
	s.disk.Abandon()
}

// start opens the site on whatever rows there are.
func (s *simulation) start() {
	s.boot++
	s.j = s.store.Open(mem.Seeded(s.seed+s.boot<<32, mem.Rates{Full: 0.02, Fail: 0.1, LoseAck: 0.15, Forget: 0.2, LosePush: 0.1,
		Delay: 40 * time.Millisecond, AckDelay: 40 * time.Millisecond}))
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	skew := time.Duration(s.rng.IntN(60_000)-30_000) * time.Millisecond // the clock was set while the site was down
	r, err := replica.Open(ctx, replica.Config{DB: s.disk.DB, Journal: s.j, Machines: []replica.Machine{ledger()}, Site: "site",
		Boot: s.boot, Queue: 64 << 10, Clock: clockFunc(func() time.Time { return time.Now().Add(skew) })})
	if err != nil {
		s.t.Fatalf("seed %d: %v", s.seed, err)
	}
	if err := r.Start(ctx, nil); err != nil { // the first record found the disk full
		r.Close()
		s.j.Crash()
		s.start()
		return
	}
	s.mu.Lock()
	s.r = r
	s.mu.Unlock()
}

// crash ends the site in the middle of what it does. Its rows come back as they are, as they were, or not at all.
func (s *simulation) crash() {
	s.mu.Lock()
	r := s.r
	s.r = nil
	s.mu.Unlock()
	s.j.Crash()
	r.Close()
	for _, f := range replicatest.Unsound(r) {
		s.t.Errorf("seed %d: %s", s.seed, f)
	}
	s.disk.Lose(s.t, s.rng)
}

// client makes some writes, one after the other, and repeats each until it has its verdict.
func (s *simulation) client(c int) {
	rng := rand.New(rand.NewPCG(s.seed, uint64(c)+1))
	name := func() string { return simNames[rng.IntN(len(simNames))] }
	for i := range 40 {
		s.tryOnce(rng, fmt.Sprintf("once-%d-%d", c, i))
		from, to := name(), name()
		p := propose([]string{"ledger.add", "ledger.add", "ledger.give", "ledger.later"}[rng.IntN(4)], from)
		if p.Kind == "ledger.give" {
			p.Body = []byte(from + " " + to)
		}
		p.Key, p.Lane = replica.NewKey("@amy:x", id.DeviceID(strconv.Itoa(c)), "op", strconv.Itoa(i)), strconv.Itoa(c)
		answer, ok := s.insist(rng, p)
		if ok && rng.IntN(3) == 0 {
			if again, _ := s.insist(rng, p); again != answer {
				s.t.Errorf("seed %d: a write was answered %q, its repetition %q", s.seed, answer, again)
			}
		}
		if !ok {
			continue
		}
		s.mu.Lock()
		s.acks++
		switch p.Kind {
		case "ledger.give":
			s.want[from]--
			s.want[to]++
		default:
			s.want[from]++
		}
		s.mu.Unlock()
	}
}

// tryOnce makes a write without a key. Nobody repeats it but the site itself, which must know its own records again.
func (s *simulation) tryOnce(rng *rand.Rand, name string) {
	s.mu.Lock()
	r := s.r
	s.mu.Unlock()
	if r == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(500))*time.Millisecond)
	defer cancel()
	_, err := r.Submit(ctx, propose("ledger.add", name))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.once[name] = err == nil
}

func (s *simulation) insist(rng *rand.Rand, p replica.Proposal) (answer string, ok bool) {
	for {
		s.mu.Lock()
		r := s.r
		s.mu.Unlock()
		if r != nil {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rng.IntN(500))*time.Millisecond)
			out, err := r.Submit(ctx, p)
			cancel()
			var refusal replica.Refusal
			switch {
			case err == nil:
				return string(out), true
			case errors.As(err, &refusal):
				return "", false
			case !errs.Is(err, errs.Unavailable):
				s.t.Errorf("seed %d: %v", s.seed, err)
			}
		}
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
	}
}

func (s *simulation) check(r *replica.Replica, who string) {
	for _, name := range simNames {
		if n := count(r, name); n != s.want[name] {
			s.t.Errorf("seed %d: at %s, %s has %d, not %d", s.seed, who, name, n, s.want[name])
		}
	}
	for name, acked := range s.once {
		if n := count(r, name); n > 1 || acked && n == 0 {
			s.t.Errorf("seed %d: at %s, %s was done %d times; acknowledged: %v", s.seed, who, name, n, acked)
		}
	}
	if s.acks == 0 {
		s.t.Errorf("seed %d: nothing was acknowledged", s.seed)
	}
}
