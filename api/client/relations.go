package client

import (
	"context"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/replica"
	"bongsu/room"
)

const (
	// maxRelations is the most events of an answer about relations and threads, whatever limit says.
	maxRelations     = 100
	defaultRelations = 20
)

// getRelatingEvents shows what relates to an event, for all three forms of the path. Specification: "Relationships API".
func (a Rooms) getRelatingEvents(ctx context.Context, r *Request) (any, error) {
	v, err := a.readAt(ctx, r, "from", "to")
	if err != nil {
		return nil, err
	}
	defer v.close()
	q, recurse, err := a.relationQuery(r, v)
	if err != nil {
		return nil, err
	}
	q.Sight = v.look()
	if s, ok := v.Event(q.Target); !ok || !q.Sight.Sees(s.Place) {
		return nil, notSeen(r)
	}
	if err := sure(r, q.Sight); err != nil {
		return nil, err
	}
	p, depth := v.Relations(q)
	out := newChunk(`{"chunk":[`)
	for _, s := range p.Events {
		out.add(v, s)
	}
	out.next("]")
	if p.More {
		out.token("next_batch", p.End)
	}
	if from, _ := r.Query("from"); from != "" {
		out.out = event.AppendString(append(out.out, `,"prev_batch":`...), from)
	}
	if recurse {
		out.out = append(out.out, `,"recursion_depth":`...)
		out.out = append(out.out, byte('0'+depth))
	}
	return out.end("}"), nil
}

// relationQuery reads the query; recurse is true if the client has said something about recursion.
func (a Rooms) relationQuery(r *Request, v *reading) (q room.RelationQuery, recurse bool, err error) {
	bad := func(err error) (room.RelationQuery, bool, error) { return room.RelationQuery{}, false, err }
	if q.Target, err = r.EventID("eventId"); err != nil {
		return bad(err)
	}
	q.Rel, q.Type, q.Ignored = r.Path("relType"), r.Path("eventType"), v.to.Ignored
	dir, err := r.QueryOneOf("dir", "b", "b", "f")
	if err != nil {
		return bad(err)
	}
	if q.Limit, err = r.QueryCount("limit", defaultRelations, maxRelations); err != nil {
		return bad(err)
	}
	q.Limit = max(q.Limit, 1)
	if q.Recurse, err = r.QueryBool("recurse"); err != nil {
		return bad(err)
	}
	said, err := r.Query("recurse")
	if err != nil {
		return bad(err)
	}
	if q.Back = dir == "b"; q.Back {
		q.From = v.LastEvent
	} else {
		q.To = replica.Forever
	}
	return q, said != "", a.bounds(r, v, &q.PageQuery)
}

// sure denies an answer that may lack something, as hidden does, while the site may be behind.
func sure(r *Request, sight room.Sight) error {
	if !sight.All() && !r.caughtUp {
		return hidden()
	}
	return nil
}

// bounds reads the page tokens of a query.
func (a Rooms) bounds(r *Request, v *reading, q *room.PageQuery) error {
	for _, b := range [...]struct {
		name string
		at   *room.Place
	}{{"from", &q.From}, {"to", &q.To}} {
		token, err := r.Query(b.name)
		if err == nil && token != "" {
			*b.at, err = a.place(token, v.ID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// getThreadRoots lists the threads of a room. Specification: "Querying threads in a room".
func (a Rooms) getThreadRoots(ctx context.Context, r *Request) (any, error) {
	v, err := a.readAt(ctx, r, "from")
	if err != nil {
		return nil, err
	}
	defer v.close()
	include, err := r.QueryOneOf("include", "all", "all", "participated")
	if err != nil {
		return nil, err
	}
	limit, err := r.QueryCount("limit", defaultRelations, maxRelations)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		return nil, badQuery("limit", "is greater than zero")
	}
	page := room.PageQuery{From: v.LastEvent}
	if err := a.bounds(r, v, &page); err != nil {
		return nil, err
	}
	q := room.ThreadQuery{From: page.From, Limit: limit, Sight: v.look(), Ignored: v.to.Ignored}
	if q.Sight.Nothing() {
		return nil, notIn()
	}
	if err := sure(r, q.Sight); err != nil {
		return nil, err
	}
	if include == "participated" {
		q.Participated = v.user
	}
	p := v.Threads(q)
	out := newChunk(`{"chunk":[`)
	for _, s := range p.Events {
		if v.to.Ignored[s.Sender] {
			s.Event = s.Redact()
		}
		out.add(v, s)
	}
	out.next("]")
	if p.More {
		out.token("next_batch", p.End)
	}
	return out.end("}"), nil
}

// getEventByTimestamp finds the event that is closest to a time.
func (a Rooms) getEventByTimestamp(_ context.Context, r *Request) (any, error) {
	v, err := a.read(r)
	if err != nil {
		return nil, err
	}
	defer v.close()
	if err := r.needs("ts", "dir"); err != nil {
		return nil, err
	}
	ts, err := r.QueryInt("ts", 0)
	if err != nil {
		return nil, err
	}
	dir, err := r.QueryOneOf("dir", "", "f", "b")
	if err != nil {
		return nil, err
	}
	sight := v.Sight(v.user)
	if sight.Nothing() {
		return nil, notIn()
	}
	if err := sure(r, sight); err != nil {
		return nil, err
	}
	s, ok := v.ClosestTo(ts, dir == "b", sight)
	if !ok {
		return nil, errs.New("api.getEventByTimestamp", errs.NotFound, "", "there is no event on that side of %d", ts)
	}
	return struct {
		eventIDAnswer
		TS int64 `json:"origin_server_ts"`
	}{eventIDAnswer{s.ID}, s.OriginServerTS}, nil
}

// needs refuses a query that lacks a parameter.
func (rq *Request) needs(names ...string) error {
	for _, name := range names {
		v, err := rq.Query(name)
		if err != nil {
			return err
		}
		if v == "" {
			return errs.New("api.query", errs.Invalid, errs.MissingParam, "query parameter %q is missing", name)
		}
	}
	return nil
}
