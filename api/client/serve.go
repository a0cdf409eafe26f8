package client

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"bongsu/errs"
	"bongsu/kv"
)

// serve runs one request from its arrival to the last byte of its answer.
//
// Ten thousand of these wait in /sync at a time: what stands on the stack here is paid ten thousand times.
func (a *API) serve(w http.ResponseWriter, hr *http.Request, rt *route) {
	rq := &Request{api: a, route: rt, http: hr, w: w, number: a.requests.Add(1), started: a.cfg.Clock.Now(),
		generation: a.cfg.State.Generation()} // before it is asked whether they serve: a change in between is noticed at the end
	a.metrics.inFlight.Inc()
	defer a.finish(rq)

	ctx := hr.Context()
	if err := a.admit.enter(rt, rq.started); err != nil {
		a.metrics.refused[rt.Class].Inc()
		a.fail(rq, err)
		return
	}
	defer a.admit.leave(rt)
	if !rt.LongPoll {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rt.Deadline)
		defer cancel()
	}
	res, err := a.answer(ctx, rq)
	if err == nil && rq.remade() {
		discard(res)
		err = errRemade()
	}
	if err == nil {
		err = a.reply(rq, res)
	}
	if err != nil {
		a.fail(rq, err)
	}
}

// finish ends a request: it turns a panic into an answer and says what happened.
func (a *API) finish(rq *Request) {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		rq.aborted = true
	default:
		a.recovered(rq, p)
	}
	took := a.cfg.Clock.Now().Sub(rq.started)
	a.metrics.inFlight.Dec()
	rq.route.seconds.Observe(took.Seconds())
	if a.cfg.Log.Enabled(rq.http.Context(), slog.LevelDebug) {
		a.cfg.Log.LogAttrs(rq.http.Context(), slog.LevelDebug, "request",
			slog.String("op", rq.route.Op), slog.String("user", string(rq.session.User)), slog.Int("status", rq.status),
			slog.Duration("took", took), slog.String("request", rq.ID()))
	}
	if rq.aborted {
		panic(http.ErrAbortHandler) // breaks the connection, so that the part that is out is not taken for the whole
	}
}

// recovered answers a request whose handler panicked.
func (a *API) recovered(rq *Request, p any) {
	err := &errs.Error{Op: rq.route.Op, Kind: errs.Internal, Message: "internal error"}
	var disk kv.Fault
	if e, ok := p.(error); ok && errors.As(e, &disk) {
		err.Kind, err.Message = errs.Unavailable, "the storage of this site has a fault"
	}
	a.metrics.panics.Inc()
	a.cfg.Log.LogAttrs(rq.http.Context(), slog.LevelError, "panic in a handler",
		slog.String("op", rq.route.Op), slog.String("request", rq.ID()), slog.Any("panic", p),
		slog.String("stack", string(debug.Stack())))
	rq.logged = true
	a.fail(rq, err)
}

// fail answers with err. Internal errors are logged here, once, and the client learns only the request's id.
func (a *API) fail(rq *Request, err error) {
	if rq.status == 0 && asError(err).Kind != errs.Unavailable && rq.remade() {
		err = errRemade() // what was found wrong, or was denied, may come from rows that were on their way
	}
	e := asError(err)
	switch {
	case rq.status != 0: // the answer has begun: all that can be done is to break it off
		if rq.http.Context().Err() == nil && !rq.logged {
			a.cfg.Log.LogAttrs(rq.http.Context(), slog.LevelWarn, "an answer was broken off",
				slog.String("op", rq.route.Op), slog.String("request", rq.ID()), slog.Any("err", err))
		}
		rq.aborted = true
		return
	case e.Kind == errs.Internal && rq.http.Context().Err() != nil && errors.Is(err, context.Canceled):
		rq.status = statusClientGone // nobody is there to read an answer
		return
	case e.Kind == errs.Internal && !rq.logged:
		a.cfg.Log.LogAttrs(rq.http.Context(), slog.LevelError, "request failed",
			slog.String("op", rq.route.Op), slog.String("request", rq.ID()), slog.Any("err", err))
	}
	row := lookup(e.Kind, e.Code)
	a.metrics.errors.WithLabelValues(rq.route.Op, row.Errcode, strconv.Itoa(row.Status)).Inc()
	h := rq.w.Header()
	if row.Status == http.StatusInternalServerError {
		h.Set("X-Request-Id", rq.ID())
	}
	body := errorBody{Errcode: row.Errcode, Error: e.Message, SoftLogout: softLogout(e.Code)}
	if row.Status == http.StatusTooManyRequests || row.Status == http.StatusServiceUnavailable {
		after := max(e.RetryAfter, 0)
		if after == 0 {
			after = time.Second
		}
		h.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
		body.RetryAfterMs = (after + time.Millisecond - 1).Milliseconds()
	}
	if err := rq.writeJSON(row.Status, body); err != nil {
		rq.aborted = true
	}
}

// statusClientGone is what metrics and logs show for a client that hung up; nothing is sent.
const statusClientGone = 499

// answer authenticates and runs the handler.
func (a *API) answer(ctx context.Context, rq *Request) (any, error) {
	if err := rq.checkPath(); err != nil {
		return nil, err
	}
	if rq.route.readsRows() {
		if err := rq.admitState(); err != nil {
			return nil, err
		}
	}
	if rq.route.Auth != None {
		var err error
		if rq.route.LongPoll { // its stack stays as it is while it waits
			kv.Aside(func() { err = rq.confirm(ctx, rq.authenticate); rq.seen() })
		} else {
			err = rq.confirm(ctx, rq.authenticate)
		}
		if err != nil {
			return nil, err
		}
	}
	if rq.route.Limit != "" {
		if err := rq.Allow(rq.route.Limit, rq.limitKey()); err != nil {
			return nil, err
		}
	}
	if rq.route.Static {
		return rq.route.Handle(ctx, rq)
	}
	err := rq.confirm(ctx, rq.handle)
	return rq.result, err
}

func (rq *Request) handle(ctx context.Context) (err error) {
	rq.result, err = rq.route.Handle(ctx, rq)
	return err
}
