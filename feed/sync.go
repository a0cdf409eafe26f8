package feed

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"bongsu/account"
	"bongsu/ephemeral"
	"bongsu/errs"
	"bongsu/filter"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/pushrule"
	"bongsu/replica"
	"bongsu/room"
	"bongsu/roomstate"
)

// Request is one /sync.
type Request struct {
	User      id.UserID
	Device    id.DeviceID
	Since     string        // next_batch of an earlier answer; empty: from the beginning
	Timeout   time.Duration // how long to wait for something new
	Filter    string        // a filter's id, or the filter itself; empty: everything
	FullState bool
	// StateAfter asks for the state at the end of timelines, not where they start (use_state_after).
	StateAfter bool
	// Presence is what the client makes of its user by asking; default Online.
	Presence ephemeral.PresenceState
	Draining <-chan struct{} // closed when waiting must end; may be nil
}

func badParam(format string, args ...any) error {
	return errs.New("feed.Sync", errs.Invalid, errs.InvalidParam, format, args...)
}

const (
	// catchUp is how long a token that is ahead of this site is waited for.
	catchUp = 2 * time.Second
	// MaxTimeout is the longest time that a request waits.
	MaxTimeout = 2 * time.Minute
)

// Sync is the answer as a whole; else it is Stream.
func (f *Feed) Sync(ctx context.Context, rq Request) ([]byte, error) {
	an, err := f.Stream(ctx, rq)
	if err != nil {
		return nil, err
	}
	if out, ok := an.Whole(); ok {
		return out, nil
	}
	defer an.Close() //nolint:errcheck // it has none
	return io.ReadAll(an)
}

// Stream is the answer, to be read. Errors: Invalid for a token or filter that is none; Unavailable when this site is behind the
// token. When ctx ends the answer is what there is.
//
// path 7/7: what was written comes to everybody who may see it.
func (f *Feed) Stream(ctx context.Context, rq Request) (*Answer, error) {
	filter, err := f.filter(ctx, rq.User, rq.Filter)
	if err != nil {
		return nil, err
	}
	since, err := f.since(ctx, rq.Since)
	if err != nil {
		return nil, err
	}
	f.seen(&rq)
	waits := rq.Timeout > 0 && since != nil && !rq.FullState
	deadline := f.now().Add(min(rq.Timeout, MaxTimeout))
	for {
		vis := f.hub.enter(rq.User, f.r.Partitions(), f.now())
		if waits {
			f.breathe(ctx, vis.v)
			vis = f.hub.enter(rq.User, f.r.Partitions(), f.now())
		}
		done, err := f.turn(ctx, since == nil || rq.FullState)
		if err != nil {
			return nil, err
		}
		var out *Answer
		var news bool
		kv.Aside(func() {
			defer done()
			out, news, err = f.look(ctx, &rq, filter, since, vis)
		})
		if err != nil {
			return nil, err
		}
		if news || !waits {
			f.pace.note(f.now())
			if waits {
				f.hub.leave(vis.v, f.now())
			}
			return out, nil
		}
		waits = f.hub.wait(ctx, vis, rq.Device, deadline, f.now, rq.Draining, f.stopped.Done()) && f.now().Before(deadline)
	}
}

// since reads the token and waits until this site has got that far. It is nil where the answer begins anew: without a token, and
// for one from before the journal was recovered.
func (f *Feed) since(ctx context.Context, s string) (*Token, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // no token is a valid answer
	}
	t, err := ParseToken(s)
	if err != nil {
		return nil, err
	}
	if t.Epoch != f.r.Epoch() || len(t.Positions) != f.r.Partitions() {
		return nil, nil //nolint:nilnil // likewise
	}
	if f.hub.reached(t.Positions) {
		return &t, nil
	}
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	for i, pos := range t.Positions {
		if err := f.r.WaitFor(ctx, journal.Partition(i), pos); err != nil {
			return nil, behind(err)
		}
	}
	return &t, nil
}

// behind says that this site has not got to a token.
func behind(err error) error {
	e := errs.New("feed.Sync", errs.Unavailable, "", "this site is behind; try again")
	e.RetryAfter, e.Err = time.Second, err
	return e
}

func (h *hub) reached(at []journal.Position) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return covers(h.seen, at)
}

// breathe waits, under load, until a user who has just been answered may be answered again.
func (f *Feed) breathe(ctx context.Context, v *viewer) {
	now := f.now()
	gap := f.pace.gap(now)
	if gap == 0 {
		return
	}
	f.hub.mu.Lock()
	left := gap - now.Sub(v.answered)
	f.hub.mu.Unlock()
	if left <= 0 {
		return
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-f.stopped.Done():
	}
}

// answer is an answer in the making.
type answer struct {
	writer
	f       *Feed
	rq      *Request
	filter  *filter.Filter
	since   *Token // nil: everything is new
	vis     visit
	view    *replica.View
	next    Token
	yield   func([]byte) bool // takes a part
	done    bool              // all is written
	stopped bool              // nobody wants more
	seats   []*seat
	now     int64       // Unix milliseconds
	news    bool        // there is something that a client would want to be woken for
	typing  bool        // somebody may have begun or stopped to type
	to      room.Viewer // for whom the events of the room are written that is being written
	sent    *sending    // nil: members may be sent twice

	prefers *prefs      // nil: not yet read
	entered []*seat     // rooms that the user has come into since the token
	closed  []id.RoomID // rooms that have been encrypted since
	moved   []member
	data    map[id.RoomID][]account.Entry // what is new, by room; "" is the account
	all     map[id.RoomID][]account.Entry // everything there is; nil until asked for
}

// member is another user's membership that changed in a room that stays the user's.
type member struct {
	room id.RoomID
	user id.UserID
	now  roomstate.Membership
}

// keepBuffer is the largest buffer that is kept for the next answer.
const keepBuffer = 64 << 10

// answer begins an answer from a view. It fails with Unavailable when rows have been discarded meanwhile, so that the view may have
// less than the client.
func (f *Feed) answer(rq *Request, filter *filter.Filter, since *Token, vis visit, view *replica.View) (*answer, error) {
	// What leaves service now is waited for by nobody: its notes may never come.
	if err := f.r.Serving(); err != nil {
		return nil, err
	}
	if !f.hub.await(view.Positions(), vis.remade) || since != nil && !covers(view.Positions(), since.Positions) {
		return nil, behind(nil)
	}
	a := &answer{f: f, rq: rq, filter: filter, since: since, vis: vis, view: view, now: f.now().UnixMilli(),
		news: since == nil || rq.FullState}
	a.next = Token{Epoch: f.r.Epoch(), Positions: view.Positions(), Origin: f.origin}
	a.next.Inbox = replica.End(a.at(vis.v.home))
	// The number is taken before rooms are asked: what changes in between is sent twice rather than never.
	var floor uint64
	a.next.Ephemeral, floor = f.cfg.Typing.Seq()
	a.typing = since == nil || since.Origin != f.origin || since.Ephemeral < floor || since.Ephemeral != a.next.Ephemeral
	if since != nil && (since.Origin != f.origin || since.Ephemeral < floor) {
		var anew = *since
		anew.Ephemeral = 0
		if since.Origin != f.origin {
			anew.Presence = 0
		}
		a.since = &anew
	}
	a.seats = f.hub.seats(vis, view)
	if lazily(filter) && f.longTokens() {
		var name uint64
		if since != nil && since.Origin == f.origin {
			name = since.Sent
		}
		a.sent = f.hub.sendingTo(vis.v, rq.Device, name)
	}
	return a, nil
}

// at is where this answer ends in a partition, from where it begins.
func (a *answer) at(p journal.Partition) journal.Position { return a.view.Positions()[p] }

func (a *answer) from(p journal.Partition) room.Place {
	if a.since == nil {
		return room.Place{}
	}
	return replica.End(a.since.Positions[p])
}

func (a *answer) write() {
	a.b = append(a.b, '{')
	a.section("rooms", "{", "}", func() {
		news := a.section("join", "{", "}", a.joined)
		news = a.section("invite", "{", "}", func() { a.invited(roomstate.Invite, "invite_state") }) || news
		news = a.section("knock", "{", "}", func() { a.invited(roomstate.Knock, "knock_state") }) || news
		news = a.section("leave", "{", "}", a.left) || news
		a.news = a.news || news
	})
	if a.events("account_data", func() { a.accountEvents(a.data[""]) }) {
		a.news = true
	}
	a.encryption()
	a.presence()
	a.next.Sent = a.sent.end()
	a.key("next_batch", `"`)
	a.b = a.next.append(a.b)
	a.close(`"}`)
}

// accountData reads what is new of the user's account data.
func (a *answer) accountData() {
	v := a.vis.v
	a.f.hub.mu.Lock()
	last := v.account
	a.f.hub.mu.Unlock()
	if a.since != nil && last <= a.since.Positions[v.home] {
		return
	}
	a.data = a.entries(a.from(v.home))
	if a.since != nil {
		return
	}
	if rules, _ := account.PushRules(a.view, v.user); rules == nil {
		content, err := json.Marshal(struct {
			Global pushrule.Ruleset `json:"global"`
		}{pushrule.Defaults(v.user)})
		if err == nil {
			a.data[""] = append(a.data[""], account.Entry{Type: account.TypePushRules, Content: content})
		}
	}
}

// entries are the pieces of account data that changed after a place, by room.
func (a *answer) entries(after room.Place) map[id.RoomID][]account.Entry {
	out := map[id.RoomID][]account.Entry{}
	for e := range account.DataSince(a.view, a.rq.User, after) {
		out[e.Room] = append(out[e.Room], e)
	}
	return out
}

// everything is all account data of a room that is new to the client.
func (a *answer) everything(r id.RoomID) []account.Entry {
	if a.since == nil {
		return a.data[r]
	}
	if a.all == nil {
		a.all = a.entries(room.Place{})
	}
	return a.all[r]
}

func (a *answer) accountEvents(entries []account.Entry) {
	for _, e := range entries {
		filter := &a.filter.AccountData
		if e.Room != "" {
			filter = &a.filter.Room.AccountData
		}
		if !filter.Type(e.Type) || !filter.Room(e.Room) {
			continue
		}
		a.elem()
		a.b = append(a.b, `{"content":`...)
		a.raw(e.Content)
		a.b = append(a.b, `,"type":`...)
		a.str(e.Type)
		a.close("}")
	}
}
