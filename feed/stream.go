package feed

import (
	"bytes"
	"context"
	"io"
	"iter"
	"time"

	"bongsu/errs"
	"bongsu/filter"
	"bongsu/kv"
	"bongsu/replica"
)

// The first answer to a user in thousands of rooms has tens of megabytes. It is made in parts, each when the one before has gone to the
// client, from one view: what is in memory is one part, however many rooms there are.

const (
	// partSize is how much of an answer is made at once, about; bytes.
	partSize = 256 << 10
	// maxStreams is how many answers of more than one part are under way at a time. Each holds a view, and a part.
	maxStreams = 256
)

// Answer is the answer to a request, JSON to be read. It must be closed.
type Answer struct {
	f    *Feed
	ctx  context.Context
	a    *answer
	part []byte // what was made and not yet read
	next func() ([]byte, bool)
	stop func()
	view *replica.View // nil when all is made
	made uint64        // generation of the rows
}

// Whole is the answer when it is short enough to be there at once, as most are; ok is false for one that has to be read.
func (an *Answer) Whole() (out []byte, ok bool) { return an.part, an.view == nil }

// Read implements io.Reader. Errors: Unavailable when the rows have been discarded meanwhile, or ctx has ended: what was read is then
// of no use.
func (an *Answer) Read(p []byte) (int, error) {
	for len(an.part) == 0 {
		if an.view == nil {
			return 0, io.EOF
		}
		if err := an.makePart(); err != nil {
			return 0, err
		}
	}
	n := copy(p, an.part)
	an.part = an.part[n:]
	return n, nil
}

func (an *Answer) makePart() (err error) {
	done, err := an.f.turn(an.ctx, false)
	if err != nil {
		return err
	}
	defer done()
	defer kv.Recover(&err)
	if an.f.r.Generation() != an.made {
		return behind(nil)
	}
	an.part, _ = an.next()
	if an.a.done {
		an.part = bytes.Clone(an.part) // it is in a buffer that goes to somebody else
		an.close()
	}
	return nil
}

// Close implements io.Closer.
func (an *Answer) Close() error {
	if an.view != nil {
		an.close()
	}
	return nil
}

func (an *Answer) close() {
	an.stop()
	an.view.Close()
	an.view = nil
	<-an.f.streams
}

// look writes what is new since the token; news is false if nothing is. Errors are those of answer, and Unavailable when too many long
// answers are under way.
func (f *Feed) look(ctx context.Context, rq *Request, filter *filter.Filter, since *Token, vis visit) (an *Answer, news bool, err error) {
	made := f.r.Generation()
	view := f.r.View()
	kept := false
	defer func() {
		if !kept {
			view.Close()
		}
	}()
	a, err := f.answer(rq, filter, since, vis, view)
	if err != nil {
		return nil, false, err
	}
	next, stop := iter.Pull(a.parts)
	part, _ := next()
	if a.done {
		part = bytes.Clone(part)
		stop()
		return &Answer{part: part}, a.news, nil
	}
	select {
	case f.streams <- struct{}{}:
		kept = true
		return &Answer{f: f, ctx: ctx, a: a, part: part, next: next, stop: stop, view: view, made: made}, true, nil
	default:
	}
	stop()
	e := errs.New("feed.Sync", errs.Unavailable, "", "many clients are fetching everything; try again")
	e.RetryAfter = 5 * time.Second
	return nil, false, e
}

// parts makes the answer, part by part. A part is good until the next is asked for.
func (a *answer) parts(yield func([]byte) bool) {
	buf, ok := a.f.buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	a.b, a.yield = (*buf)[:0], yield
	a.accountData()
	a.write()
	if a.done = true; !a.stopped {
		yield(a.b)
	}
	if cap(a.b) <= keepBuffer {
		*buf = a.b
		a.f.buffers.Put(buf)
	}
}

// spill hands out what is there, if it is enough for a part, and reports whether to go on.
func (a *answer) spill() bool {
	if len(a.b) >= partSize && !a.stopped {
		a.stopped = !a.writer.spill(a.yield)
	}
	return !a.stopped
}
