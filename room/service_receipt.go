package room

import (
	"context"
	"sync"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/replica"
)

// maxWaiting is how many receipts wait at most.
const maxWaiting = 100_000

// receiptQueue gathers receipts for a moment, so that twenty people who read a message make one write of it. Each caller waits
// until its receipt is durable.
type receiptQueue struct {
	s    *Service
	wake chan struct{} // has an element when something waits
	quit chan struct{}
	done chan struct{}

	mu      sync.Mutex
	closed  bool
	waiting int
	rooms   map[id.RoomID]*receiptBatch
}

// receiptBatch is what waits for one room.
type receiptBatch struct {
	at    map[receiptName]int // index in items
	items []receiptItem
	place []Place // of the event, for each item
	done  chan struct{}
	err   error // valid after done
}

type receiptName struct {
	user        id.UserID
	typ, thread string
}

func newReceiptQueue(s *Service) *receiptQueue {
	q := &receiptQueue{s: s, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		rooms: map[id.RoomID]*receiptBatch{}}
	go q.run()
	return q
}

// Reading says up to where somebody has read: an event, in one thread ("main" or the id of its root) or, with no thread, in all of
// the room. Type is Read or ReadPrivate.
type Reading struct {
	Type, Thread string
	Event        id.EventID
}

// Receipts says how far the user has read. It returns when this is durable, which it becomes together with the receipts of others.
// A receipt for an earlier event than the last changes nothing.
//
// Errors: Invalid, also for an event that is not in the thread; Forbidden; NotFound if the room has no such event; Unavailable.
func (s *Service) Receipts(ctx context.Context, user id.UserID, room id.RoomID, readings ...Reading) error {
	const op = "room.Receipts"
	v, ok := Open(s.cfg.Replica.Rows(), room)
	if !ok || !v.IsJoined(user) {
		return errs.New(op, errs.Forbidden, "", "you are not in the room")
	}
	places := make([]Place, len(readings))
	for i, r := range readings {
		if r.Type != Read && r.Type != ReadPrivate {
			return errs.New(op, errs.Invalid, errs.InvalidParam, "%q is not a type of receipt", r.Type)
		}
		if len(r.Thread) > id.MaxLen {
			return errs.New(op, errs.Invalid, errs.InvalidParam, "a thread id has at most %d bytes", id.MaxLen)
		}
		e, ok := v.Event(r.Event)
		if !ok {
			return errs.New(op, errs.NotFound, "", "the room has no such event")
		}
		if !v.readIn(r.Thread, e.Event) {
			return errs.New(op, errs.Invalid, errs.InvalidParam, "the event is not in the thread %s", r.Thread)
		}
		places[i] = e.Place
	}
	batches := make([]*receiptBatch, len(readings))
	for i, r := range readings {
		b, err := s.receipts.add(room, receiptItem{User: user, Type: r.Type, Thread: r.Thread, Event: r.Event}, places[i])
		if err != nil {
			return err
		}
		batches[i] = b
	}
	for _, b := range batches {
		select {
		case <-b.done:
			if b.err != nil {
				return b.err
			}
		case <-ctx.Done():
			return errs.New(op, errs.Unavailable, "", "the receipt was not confirmed in time")
		}
	}
	return nil
}

// Receipt is Receipts for one.
func (s *Service) Receipt(ctx context.Context, user id.UserID, room id.RoomID, typ, thread string, e id.EventID) error {
	return s.Receipts(ctx, user, room, Reading{typ, thread, e})
}

func (q *receiptQueue) add(room id.RoomID, item receiptItem, at Place) (*receiptBatch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return nil, errs.New("room.Receipts", errs.Unavailable, "", "the server is stopping")
	case q.waiting >= maxWaiting:
		return nil, errs.New("room.Receipts", errs.Unavailable, "", "too many receipts are waiting")
	}
	b := q.rooms[room]
	if b == nil {
		b = &receiptBatch{at: map[receiptName]int{}, done: make(chan struct{})}
		q.rooms[room] = b
	}
	name := receiptName{item.User, item.Type, item.Thread}
	i, ok := b.at[name]
	switch {
	case !ok:
		b.at[name] = len(b.items)
		b.items, b.place = append(b.items, item), append(b.place, at)
		q.waiting++
	case b.place[i].Before(at): // two devices may be at different points: the later one counts
		b.items[i], b.place[i] = item, at
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return b, nil
}

func (q *receiptQueue) take() map[id.RoomID]*receiptBatch {
	q.mu.Lock()
	defer q.mu.Unlock()
	rooms := q.rooms
	q.rooms, q.waiting = map[id.RoomID]*receiptBatch{}, 0
	return rooms
}

func (q *receiptQueue) run() {
	defer close(q.done)
	for {
		select {
		case <-q.wake:
		case <-q.quit:
			q.flush()
			return
		}
		pause := time.NewTimer(q.s.cfg.ReceiptDelay)
		select {
		case <-pause.C:
		case <-q.quit:
		}
		pause.Stop()
		q.flush()
	}
}

// flush writes what waits, all rooms at once, so that they share records; few enough at a time to leave room in the queues.
func (q *receiptQueue) flush() {
	const atOnce = 64
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for room, b := range q.take() {
		slots <- struct{}{}
		wg.Go(func() {
			b.err = q.write(room, b.items)
			close(b.done)
			<-slots
		})
	}
	wg.Wait()
}

// write proposes the receipts of a room, at most a thousand at a time.
func (q *receiptQueue) write(room id.RoomID, items []receiptItem) error {
	const most = 1000
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for len(items) > 0 {
		n := min(len(items), most)
		body := receiptsBody{Room: room, Receipts: items[:n]}
		if _, err := q.s.submit(ctx, kindReceipts, room, "receipts", replica.Key{}, &body); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func (q *receiptQueue) close() {
	q.mu.Lock()
	already := q.closed
	q.closed = true
	q.mu.Unlock()
	if !already {
		close(q.quit)
	}
	<-q.done
}
