package mem

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"bongsu/journal"
)

// A handle is a site. What it sees of the store may be less than what there is: it may be cut off from the others, or lag behind
// them. Which handle leads is said by the test.

// strandedAfter is how long the caller of an append waits at a site that is cut off.
const strandedAfter = 500 * time.Millisecond

// view is what a site sees; guarded by the handle's mutex.
type view struct {
	healed chan struct{}      // nil while the site is connected; closed when it is connected again
	lag    time.Duration      // records are seen this long after they were stored
	shown  []journal.Position // up to where it has seen each partition
	leads  []bool
}

func newView(n int) view {
	v := view{shown: make([]journal.Position, n), leads: make([]bool, n)}
	for p := range v.leads {
		v.leads[p] = true
	}
	return v
}

// Cut cuts the site off from the others, or connects it again. While it is cut off it sees only what it had; its appends are
// uncertain: some land when it is connected again, some never.
func (j *Journal) Cut(off bool) {
	for p := range j.store.parts {
		j.sees(journal.Partition(p))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case off && j.view.healed == nil:
		j.view.healed = make(chan struct{})
	case !off && j.view.healed != nil:
		close(j.view.healed)
		j.view.healed = nil
	}
}

// Lag makes the site see records only d after they were stored. It never sees less than it has seen.
func (j *Journal) Lag(d time.Duration) {
	for p := range j.store.parts {
		j.sees(journal.Partition(p))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.view.lag = d
}

// Lead says whether this site leads p from now on.
func (j *Journal) Lead(p journal.Partition, on bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.view.leads[p] = on
}

// Leads implements journal.Journal.
func (j *Journal) Leads(p journal.Partition) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.view.leads[p]
}

func (j *Journal) connected() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.view.healed == nil
}

// sees is up to where this site sees p now, and how long until it sees the next record that is there; 0: none is known.
func (j *Journal) sees(p journal.Partition) (journal.Position, time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var next time.Duration
	if j.view.healed == nil {
		var last journal.Position
		last, next = j.store.parts[p].before(j.view.lag)
		j.view.shown[p] = max(j.view.shown[p], last)
	}
	return j.view.shown[p], next
}

// strand keeps an append that could not leave: half of them land as soon as the site is connected again, unless the handle is
// closed before.
func (j *Journal) strand(a Attempt, land func()) error {
	j.mu.Lock()
	healed := j.view.healed
	j.mu.Unlock()
	h := fnv.New32a()
	fmt.Fprintf(h, "%d %s %d", a.Partition, a.MsgID, a.N)
	if healed == nil || h.Sum32()%2 == 0 || j.enter() != nil {
		j.pause(strandedAfter)
		return ErrUncertain
	}
	go func() {
		defer j.work.Done()
		select {
		case <-healed:
			land()
		case <-j.closing:
		}
	}()
	j.pause(strandedAfter)
	return ErrUncertain
}

// bus delivers between the handles of a store.
type bus struct {
	mu   sync.Mutex
	subs []*subscriber
}

type subscriber struct {
	site  *Journal
	topic string
	fn    func([]byte)
	mu    sync.Mutex // held while fn runs
}

// Publish implements journal.Bus. A site that is cut off is heard by itself alone.
func (j *Journal) Publish(topic string, data []byte) error {
	if err := journal.CheckTopic(topic); err != nil {
		return err
	}
	if err := j.enter(); err != nil {
		return err
	}
	defer j.work.Done()
	b := &j.store.bus
	b.mu.Lock()
	subs := append([]*subscriber(nil), b.subs...)
	b.mu.Unlock()
	for _, s := range subs {
		if s.topic == topic && !s.site.ended() && (s.site == j || j.connected() && s.site.connected()) {
			s.mu.Lock()
			s.fn(bytes.Clone(data))
			s.mu.Unlock()
		}
	}
	return nil
}

// Subscribe implements journal.Bus.
func (j *Journal) Subscribe(topic string, fn func(data []byte)) (stop func(), err error) {
	if err := journal.CheckTopic(topic); err != nil {
		return nil, err
	}
	if err := j.enter(); err != nil {
		return nil, err
	}
	defer j.work.Done()
	b, s := &j.store.bus, &subscriber{site: j, topic: topic, fn: fn}
	b.mu.Lock()
	b.subs = append(b.subs, s)
	b.mu.Unlock()
	return func() { j.unsubscribe(s) }, nil
}

func (j *Journal) unsubscribe(gone *subscriber) {
	b := &j.store.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, s := range b.subs {
		if s == gone {
			b.subs = append(b.subs[:i:i], b.subs[i+1:]...)
			return
		}
	}
}
