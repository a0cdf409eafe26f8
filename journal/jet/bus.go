package jet

import (
	"errors"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"bongsu/journal"
)

var _ journal.Bus = (*Journal)(nil)

const (
	busSubject = "bus." // and the topic
	busQueue   = 4096   // messages that wait for a subscriber; more are dropped
	busBytes   = 8 << 20
)

// errNoEngine: a passing message is not worth waiting for.
var errNoEngine = errors.New("jet: the engine is being started again")

// subscription outlives engines.
type subscription struct {
	subject string
	fn      func(*nats.Msg)
	sub     *nats.Subscription // on the present engine
}

// subscriptions are those of the bus.
type subscriptions struct {
	mu  sync.Mutex
	all []*subscription
	nc  *nats.Conn // nil while there is no engine
}

// Publish implements journal.Bus.
func (j *Journal) Publish(topic string, data []byte) error {
	if err := journal.CheckTopic(topic); err != nil {
		return err
	}
	if len(data) > journal.MaxRecord {
		return journal.ErrTooLarge
	}
	return j.publish(busSubject+topic, data)
}

func (j *Journal) publish(subject string, data []byte) error {
	if j.ctx.Err() != nil {
		return journal.ErrClosed
	}
	e := j.present()
	if e == nil {
		return errNoEngine
	}
	return e.bus.Publish(subject, data)
}

// Subscribe implements journal.Bus.
func (j *Journal) Subscribe(topic string, fn func(data []byte)) (stop func(), err error) {
	if err := journal.CheckTopic(topic); err != nil {
		return nil, err
	}
	return j.subscribe(busSubject+topic, func(msg *nats.Msg) { fn(msg.Data) })
}

func (j *Journal) subscribe(subject string, fn func(*nats.Msg)) (stop func(), err error) {
	if j.ctx.Err() != nil {
		return nil, journal.ErrClosed
	}
	s := &subscription{subject: subject, fn: fn}
	b := &j.bus
	b.mu.Lock()
	b.all = append(b.all, s)
	s.attach(b.nc)
	nc := b.nc
	b.mu.Unlock()
	if nc != nil {
		_ = nc.Flush() // so that nothing published here after Subscribe has returned is missed; an engine that has gone misses all
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all = slices.DeleteFunc(b.all, func(o *subscription) bool { return o == s })
		if s.sub != nil {
			_ = s.sub.Unsubscribe() // it fails when the engine has gone, and then there is nothing to end
		}
	}, nil
}

// attach subscribes at an engine; it does nothing when there is none. What fails is tried again with the next engine.
func (s *subscription) attach(nc *nats.Conn) {
	s.sub = nil
	if nc == nil {
		return
	}
	if sub, err := nc.Subscribe(s.subject, s.fn); err == nil {
		_ = sub.SetPendingLimits(busQueue, busBytes)
		s.sub = sub
	}
}

// move moves all subscriptions to an engine, or to none.
func (b *subscriptions) move(e *engine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.nc = nil
	if e != nil {
		b.nc = e.bus
	}
	for _, s := range b.all {
		s.attach(b.nc)
	}
}
