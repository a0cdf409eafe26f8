package client

import (
	"context"
	"errors"

	"bongsu/errs"
)

// Fresh brings the site's state up to date.
type Fresh interface {
	// CatchUp asks a quorum where the journal's partitions end and returns when the local state has got there. What is
	// read after it is at least as new as every write that was acknowledged anywhere before it was called. An error (no
	// quorum, or not before ctx ended) means that the site cannot know.
	CatchUp(ctx context.Context) error
}

// Decided marks an error that is the verdict of a write: it was reached at apply, at a position of the journal, and stands at
// every site. Errors that have such a link in their chain need no confirmation.
type Decided interface {
	error
	Decided()
}

// A site that is behind never denies. A client that is told that its token is unknown wipes its keys; one that is told that
// a room is not there forgets it. So a denial that was read from local state is not sent: the site catches up with the
// journal's end, and the question is asked again, once. What it then answers is as true as anything can be; if it cannot catch
// up, it says so with 503.
func (rq *Request) confirm(ctx context.Context, ask func(context.Context) error) error {
	err := ask(ctx)
	if rq.caughtUp || !denies(err) {
		return err
	}
	if rq.streamed {
		return &errs.Error{Op: "api.confirm", Kind: errs.Unavailable, Err: err,
			Message: "this could not be checked against the latest state; try again"}
	}
	if err := rq.CatchUp(ctx); err != nil {
		return err
	}
	return ask(ctx)
}

// CatchUp brings the site's state up to date and makes denials that follow from later reads final. The framework calls it where
// it must; a handler for which running twice is dear (a password to be hashed) calls it before it reads.
func (rq *Request) CatchUp(ctx context.Context) error {
	if rq.caughtUp {
		return nil
	}
	rq.api.metrics.catchUps.Inc()
	if err := rq.api.cfg.Fresh.CatchUp(ctx); err != nil {
		return &errs.Error{Op: "api.CatchUp", Kind: errs.Unavailable, Err: err,
			Message: "this site is catching up with the others; try again"}
	}
	rq.caughtUp = true
	return nil
}

// denies reports whether err would tell a client that something is not known, not allowed or not there, from local state.
func denies(err error) bool {
	if err == nil {
		return false
	}
	e := asError(err)
	switch e.Code {
	case errs.MissingToken, errs.Unrecognized, errs.MethodNotAllowed:
		return false // read from the request alone
	}
	switch lookup(e.Kind, e.Code).Status {
	case 401, 403, 404:
		var decided Decided
		return !errors.As(err, &decided)
	}
	return false
}
