package client

import (
	"context"
	"slices"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/filter"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/room"
)

// chunk is an answer that is put together from events.
type chunk struct {
	out   []byte
	first bool
}

func newChunk(head string) *chunk {
	return &chunk{out: append(make([]byte, 0, 4096), head...), first: true}
}

// add appends an event to the array that is open.
func (c *chunk) add(v *reading, s room.Stored) {
	if !c.first {
		c.out = append(c.out, ',')
	}
	c.first = false
	c.out = v.AppendClient(c.out, s, v.to)
}

// next ends an array, and begins another where text does.
func (c *chunk) next(text string) {
	c.out = append(c.out, text...)
	c.first = true
}

// token adds a member that is a page token.
func (c *chunk) token(key string, p room.Place) {
	c.out = append(append(c.out, `,"`+key+`":"`...), room.PageToken(p)...)
	c.out = append(c.out, '"')
}

func (c *chunk) end(text string) Raw { return append(c.out, text...) }

type eventIDAnswer struct {
	EventID id.EventID `json:"event_id"`
}

// sendMessage sends an event that is not state.
//
// path 2/7: the send handler. It knows who sends what where; whether that is allowed is decided when it is applied.
func (a Rooms) sendMessage(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	body, err := r.Body()
	if err != nil {
		return nil, err
	}
	if res, ok, err := a.delay(ctx, r, in, room.Later{Type: r.Path("eventType"), Txn: r.Path("txnId"), Content: body}); ok {
		return res, err
	}
	e, err := a.Rooms.Send(ctx, by(r), in, r.Path("eventType"), r.Path("txnId"), body)
	if err != nil {
		return nil, errs.Wrap("api.sendMessage", err)
	}
	return Raw(append(event.AppendString([]byte(`{"event_id":`), e), '}')), nil
}

func (a Rooms) redactEvent(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	target, err := r.EventID("eventId")
	if err != nil {
		return nil, err
	}
	var body reason
	if err := r.DecodeOptional(&body); err != nil {
		return nil, err
	}
	if err := a.mayRedact(r, in, target); err != nil {
		return nil, err
	}
	e, err := a.Rooms.Redact(ctx, by(r), in, target, r.Path("txnId"), body.Reason)
	if err != nil {
		return nil, errs.Wrap("api.redactEvent", err)
	}
	return eventIDAnswer{e}, nil
}

func (a Rooms) setRoomStateWithKey(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	body, err := r.Body()
	if err != nil {
		return nil, err
	}
	key := r.Path("stateKey")
	if res, ok, err := a.delay(ctx, r, in, room.Later{Type: r.Path("eventType"), Key: &key, Content: body}); ok {
		return res, err
	}
	e, err := a.Rooms.SendState(ctx, by(r), in, r.Path("eventType"), key, body)
	if err != nil {
		return nil, errs.Wrap("api.setRoomStateWithKey", err)
	}
	return eventIDAnswer{e}, nil
}

func (a Rooms) getRoomState(_ context.Context, r *Request) (any, error) {
	v, err := a.read(r)
	if err != nil {
		return nil, err
	}
	defer v.close()
	at, ok := v.StateSight(v.user)
	if !ok {
		return nil, notIn()
	}
	out := newChunk("[")
	for row := range v.StateAt(at) {
		out.add(v, v.Load(row))
	}
	return out.end("]"), nil
}

func (a Rooms) getRoomStateWithKey(_ context.Context, r *Request) (any, error) {
	v, err := a.read(r)
	if err != nil {
		return nil, err
	}
	defer v.close()
	format, err := r.QueryOneOf("format", "content", "content", "event")
	if err != nil {
		return nil, err
	}
	at, ok := v.StateSight(v.user)
	if !ok {
		return nil, notIn()
	}
	row, ok := v.StateRowAt(at, r.Path("eventType"), r.Path("stateKey"))
	if !ok {
		return nil, errs.New("api.getRoomStateWithKey", errs.NotFound, "", "the room has no such state")
	}
	if format == "event" {
		return Raw(v.AppendClient(nil, v.Load(row), v.to)), nil
	}
	return Raw(v.shown(row).Content), nil
}

func (a Rooms) getOneRoomEvent(_ context.Context, r *Request) (any, error) {
	v, err := a.read(r)
	if err != nil {
		return nil, err
	}
	defer v.close()
	e, err := r.EventID("eventId")
	if err != nil {
		return nil, err
	}
	s, ok := v.Event(e)
	if !ok || !v.look().Sees(s.Place) {
		return nil, notSeen(r)
	}
	return Raw(v.AppendClient(nil, s, v.to)), nil
}

func notSeen(r *Request) error {
	return errs.New("api."+r.Op(), errs.NotFound, "", "there is no such event, or you may not see it")
}

// maxPage is the most events of an answer, whatever limit says.
const maxPage = 1000

// getRoomEvents pages through a room's timeline.
func (a Rooms) getRoomEvents(ctx context.Context, r *Request) (any, error) {
	v, err := a.readAt(ctx, r, "from", "to")
	if err != nil {
		return nil, err
	}
	defer v.close()
	q, filter, err := a.pageQuery(r, v)
	if err != nil {
		return nil, err
	}
	if q.Sight = v.look(); q.Sight.Nothing() {
		return nil, notIn()
	}
	p := v.Page(q)
	if p.Hidden && !r.caughtUp {
		return nil, hidden()
	}
	out := newChunk(`{"chunk":[`)
	for _, s := range p.Events {
		out.add(v, s)
	}
	out.next(`]`)
	if from, _ := r.Query("from"); from != "" { // as it was given, which may be a token of /sync
		out.out = event.AppendString(append(out.out, `,"start":`...), from)
	} else {
		out.token("start", q.From)
	}
	if p.More {
		out.token("end", p.End)
	}
	if filter.LazyMembers {
		out.next(`,"state":[`)
		out.members(v, p.Events)
		out.next("]")
	}
	return out.end("}"), nil
}

// hidden denies a page of which a part may not be seen: a site that is behind may lack what shows it, such as that the user has come
// back to the room. Who gets the page without that part would never know that there was more, so it is a denial as any other, and only
// a site that has caught up leaves it out.
func hidden() error {
	return errs.New("api.getRoomEvents", errs.Forbidden, "", "you may not see all of this page")
}

// members adds the member events of the senders as they were at the last of the events.
func (c *chunk) members(v *reading, events ...[]room.Stored) {
	all := slices.Concat(events...)
	var last room.Place
	for _, s := range all {
		if last.Before(s.Place) {
			last = s.Place
		}
	}
	seen := map[id.UserID]bool{}
	for _, s := range all {
		if seen[s.Sender] {
			continue
		}
		seen[s.Sender] = true
		if row, ok := v.StateRowAt(last, event.TypeMember, string(s.Sender)); ok {
			c.add(v, v.Load(row))
		}
	}
}

func (a Rooms) pageQuery(r *Request, v *reading) (q room.PageQuery, f *filter.Events, err error) {
	bad := func(err error) (room.PageQuery, *filter.Events, error) { return room.PageQuery{}, nil, err }
	if err := r.needs("dir"); err != nil {
		return bad(err)
	}
	dir, err := r.QueryOneOf("dir", "", "b", "f")
	if err != nil {
		return bad(err)
	}
	q.Back = dir == "b"
	if f, err = queryFilter(r); err != nil {
		return bad(err)
	}
	if q.Limit, err = r.QueryCount("limit", f.Count(10, maxPage), maxPage); err != nil {
		return bad(err)
	}
	q.Limit = max(q.Limit, 1) // a page without events would never end
	q.Wanted = v.heard(v.wanted(f))
	if q.Back {
		q.From = v.LastEvent
	} else {
		q.To = replica.Forever
	}
	return q, f, a.bounds(r, v, &q)
}

// getEventContext shows an event with what stands around it. Specification: "Event Context".
func (a Rooms) getEventContext(_ context.Context, r *Request) (any, error) {
	v, err := a.read(r)
	if err != nil {
		return nil, err
	}
	defer v.close()
	e, err := r.EventID("eventId")
	if err != nil {
		return nil, err
	}
	f, err := queryFilter(r)
	if err != nil {
		return nil, err
	}
	limit, err := r.QueryCount("limit", 10, maxPage)
	if err != nil {
		return nil, err
	}
	around, ok := v.Around(e, limit, v.look(), v.heard(v.wanted(f)))
	if !ok {
		return nil, notSeen(r)
	}
	if (around.Before.Hidden || around.After.Hidden) && !r.caughtUp {
		return nil, hidden()
	}
	out := newChunk(`{"event":`)
	out.add(v, around.Event)
	out.next(`,"events_before":[`)
	for _, s := range around.Before.Events {
		out.add(v, s)
	}
	out.next(`],"events_after":[`)
	last := around.Event.Place
	for _, s := range around.After.Events {
		out.add(v, s)
		last = s.Place
	}
	out.next(`]`)
	out.token("start", around.Before.End)
	out.token("end", around.After.End)
	out.next(`,"state":[`)
	senders := map[id.UserID]bool{around.Event.Sender: true}
	for _, s := range slices.Concat(around.Before.Events, around.After.Events) {
		senders[s.Sender] = true
	}
	for row := range v.StateAt(last) {
		if f.LazyMembers && row.Type == event.TypeMember {
			if senders[id.UserID(row.Key)] { // whoever wants members lazily wants these, whatever types the filter names
				out.add(v, v.Load(row))
			}
		} else if s := v.Load(row); f.Passes(s.Event) {
			out.add(v, s)
		}
	}
	return out.end("]}"), nil
}

func queryFilter(r *Request) (*filter.Events, error) {
	text, err := r.Query("filter")
	if err != nil || text == "" {
		return &filter.Events{}, err
	}
	return filter.ParseEvents([]byte(text))
}

// wanted is the filter for the events of the room; nil if all pass.
func (v *reading) wanted(f *filter.Events) func(*event.Event) bool {
	switch {
	case !f.Room(v.ID):
		return func(*event.Event) bool { return false }
	case len(f.RelatedByTypes)+len(f.RelatedBySenders) > 0:
		return func(ev *event.Event) bool {
			return f.Passes(ev) && v.RelatedBy(ev.ID, f.RelatedByTypes, f.RelatedBySenders)
		}
	case f.All():
		return nil
	}
	return f.Passes
}
