package replica

import (
	"sync"

	"bongsu/errs"
	"bongsu/journal"
)

// queue holds the requests for one partition until they leave in a record. It is bounded in bytes, and fair: each user has
// a lane, and lanes are emptied in turn, so that one user's flood delays nobody else. The replica's own proposals wait in
// the lane "", which begins in front, takes its turns like the others, and is not bounded.
type queue struct {
	max int // bytes

	mu     sync.Mutex
	lanes  map[string]*lane
	turn   []*lane // lanes with requests, in the order of their turns
	bytes  int
	closed *errs.Error   // for good
	paused *errs.Error   // for now
	ready  chan struct{} // has an element while there is something to take
}

type lane struct {
	name  string
	reqs  []*request
	bytes int
}

// request is one proposal on its way, and where its verdict goes.
type request struct {
	p       Proposal
	known   journal.Position // what was applied here when it came
	verdict chan result      // has room for one
}

type result struct {
	body []byte
	err  *errs.Error
}

// finish hands over the verdict. It is called once.
func (r *request) finish(body []byte, err *errs.Error) { r.verdict <- result{body, err} }

func newQueue(max int) *queue {
	return &queue{max: max, lanes: map[string]*lane{}, ready: make(chan struct{}, 1)}
}

// push adds a request, or says why not. One lane may use at most a quarter of the queue.
func (q *queue) push(req *request) *errs.Error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return q.closed
	}
	if q.paused != nil {
		return q.paused
	}
	size, name := req.p.size(), req.p.Lane
	l := q.lanes[name]
	if name != "" && (q.bytes+size > q.max || l != nil && l.bytes+size > q.max/4) {
		return unavailable("too much is waiting to be written")
	}
	if l == nil {
		l = &lane{name: name}
		q.lanes[name] = l
		if name == "" {
			q.turn = append([]*lane{l}, q.turn...)
		} else {
			q.turn = append(q.turn, l)
		}
	}
	l.reqs = append(l.reqs, req)
	l.bytes += size
	q.bytes += size
	q.signal()
	return nil
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take removes up to max bytes of requests, at least one if there is any: one from each lane in turn.
func (q *queue) take(max int) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []*request
	for size := 0; len(q.turn) > 0; {
		l := q.turn[0]
		req := l.reqs[0]
		n := req.p.size()
		if len(out) > 0 && size+n > max {
			q.signal()
			break
		}
		size += n
		out = append(out, req)
		q.drop(l, 0)
		if q.turn = q.turn[1:]; len(l.reqs) == 0 {
			delete(q.lanes, l.name)
		} else {
			q.turn = append(q.turn, l)
		}
	}
	return out
}

// remove takes a request out again, and reports whether it was still there.
func (q *queue) remove(req *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[req.p.Lane]
	if l == nil {
		return false
	}
	for i, r := range l.reqs {
		if r != req {
			continue
		}
		q.drop(l, i)
		if len(l.reqs) == 0 {
			delete(q.lanes, l.name)
			for j, t := range q.turn {
				if t == l {
					q.turn = append(q.turn[:j:j], q.turn[j+1:]...)
					break
				}
			}
		}
		return true
	}
	return false
}

func (q *queue) drop(l *lane, i int) {
	n := l.reqs[i].p.size()
	if i == 0 {
		l.reqs[0] = nil
		l.reqs = l.reqs[1:]
	} else {
		l.reqs = append(l.reqs[:i:i], l.reqs[i+1:]...)
	}
	l.bytes -= n
	q.bytes -= n
}

// close refuses what waits and what comes.
func (q *queue) close(err *errs.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return
	}
	q.closed = err
	q.empty(err)
}

// pause refuses what waits, and what comes until resume.
func (q *queue) pause(err *errs.Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = err
	q.empty(err)
}

func (q *queue) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused = nil
}

// empty refuses what waits; q.mu is held.
func (q *queue) empty(err *errs.Error) {
	for _, l := range q.lanes {
		for _, req := range l.reqs {
			req.finish(nil, err)
		}
	}
	q.lanes, q.turn, q.bytes = map[string]*lane{}, nil, 0
}

// len is how many requests wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, l := range q.lanes {
		n += len(l.reqs)
	}
	return n
}
