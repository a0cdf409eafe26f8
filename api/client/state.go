package client

import (
	"errors"
	"time"

	"bongsu/errs"
)

// State says whether the rows of this site can be read and written. The replica is one.
type State interface {
	// Serving is nil, or errs.Unavailable while rows are being made anew here: nothing is answered from them.
	Serving() error
	// Generation changes before rows are discarded. An answer that was made across a change may rest on rows that were not all
	// there, and is not sent.
	Generation() uint64
	// Writable is nil while writes get into the journal, and else says in words why they do not, and since when. It is cheap.
	Writable() error
}

// steady is the state of a site that is never without rows and always writable.
type steady struct{}

func (steady) Serving() error     { return nil }
func (steady) Generation() uint64 { return 0 }
func (steady) Writable() error    { return nil }

// admitState refuses a request that the rows cannot answer now, and a write that would only wait for its deadline.
func (rq *Request) admitState() error {
	s := rq.api.cfg.State
	if err := s.Serving(); err != nil {
		return notNow(err)
	}
	if !rq.route.proposes() {
		return nil
	}
	if err := rq.api.stuck(rq.started); err != nil {
		return notNow(err)
	}
	return nil
}

// grace is how long writes are let in although the site says that it cannot write: a partition that changes its leader is
// soon back, and the others never stopped.
const grace = 3 * time.Second

// stuck is nil while a write has a chance; after that, writes are refused at once instead of piling up.
func (a *API) stuck(now time.Time) error {
	err, since := a.cfg.State.Writable(), a.unwritable.Load()
	switch {
	case err == nil:
		if since != 0 {
			a.unwritable.Store(0)
		}
	case since == 0:
		a.unwritable.CompareAndSwap(0, now.UnixNano())
	case now.UnixNano()-since >= int64(grace):
		return err
	}
	return nil
}

// remade reports whether rows were discarded while the request was answered.
func (rq *Request) remade() bool {
	return rq.route.readsRows() && rq.api.cfg.State.Generation() != rq.generation
}

// errRemade is what is said to whoever has read before and after.
func errRemade() error {
	return &errs.Error{Op: "api.state", Kind: errs.Unavailable, RetryAfter: jitter(time.Second),
		Message: "the data of this site were made anew meanwhile; try again with the same transaction id"}
}

// words are what an error says to users, or all that it says.
func words(err error) string {
	var e *errs.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// notNow is err as errs.Unavailable.
func notNow(err error) error {
	e := &errs.Error{Op: "api.state", Kind: errs.Unavailable, RetryAfter: jitter(2 * time.Second), Err: err, Message: words(err)}
	if known := asError(err); known.Kind == errs.Unavailable {
		e.Code = known.Code
		if known.RetryAfter > 0 {
			e.RetryAfter = known.RetryAfter
		}
	}
	return e
}
