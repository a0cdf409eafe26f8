package drill

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// movers are the clients of the load, which wander between sites without a reason, as phones do.
type movers struct {
	urls []string

	mu      sync.Mutex
	all     []interface{ Move(string) error }
	stop    context.CancelFunc
	running sync.WaitGroup
}

// moveEvery is the longest time between two moves of somebody.
const moveEvery = 600 * time.Millisecond

func (m *movers) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all)
}

func (m *movers) add(rt interface{ Move(string) error }) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, rt)
}

func (m *movers) start(seed uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	rng := rand.New(rand.NewPCG(seed, 77)) //nolint:gosec // repeatable on purpose
	m.running.Go(func() {
		for rest(ctx, time.Duration(rng.Int64N(int64(moveEvery)))) == nil {
			m.mu.Lock()
			who := m.all[rng.IntN(len(m.all))]
			m.mu.Unlock()
			_ = who.Move(m.urls[rng.IntN(len(m.urls))]) // one of its sites
		}
	})
}

func (m *movers) end() {
	if m.stop != nil {
		m.stop()
	}
	m.running.Wait()
}
