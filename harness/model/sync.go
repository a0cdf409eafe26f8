package model

import (
	"fmt"
	"maps"
	"slices"
)

// Token is what the model knows of a token of /sync: when it was given, and what the client that has it has put together.
type Token struct {
	Text   string
	At     int // the moment
	Copies map[string]map[Key]*Event
	Whole  bool // every answer on the way to it was asked for with the same filter, which lets all state through
	Filter Filter
}

// SyncQuery asks for what is new since a token; nil: from the beginning.
type SyncQuery struct {
	Since     *Token
	Filter    Filter
	FullState bool
	After     bool // use_state_after: the state at the end of timelines, not where they start
}

// Timeline is part of an answer of /sync.
type Timeline struct {
	Events  []Seen `json:"events"`
	Limited bool   `json:"limited"`
	Prev    string `json:"prev_batch"`
}

type list struct {
	Events []Seen `json:"events"`
}

// SyncRoom is a room in an answer of /sync.
type SyncRoom struct {
	State       list     `json:"state"`
	StateAfter  *list    `json:"state_after"`
	Timeline    Timeline `json:"timeline"`
	Ephemeral   list     `json:"ephemeral"`
	AccountData list     `json:"account_data"`
	InviteState list     `json:"invite_state"`
	KnockState  list     `json:"knock_state"`
	Summary     struct {
		Heroes  []string `json:"m.heroes"`
		Joined  *int     `json:"m.joined_member_count"`
		Invited *int     `json:"m.invited_member_count"`
	} `json:"summary"`
}

// Sync is an answer of /sync.
type Sync struct {
	Next  string `json:"next_batch"`
	Rooms struct {
		Join   map[string]*SyncRoom `json:"join"`
		Invite map[string]*SyncRoom `json:"invite"`
		Knock  map[string]*SyncRoom `json:"knock"`
		Leave  map[string]*SyncRoom `json:"leave"`
	} `json:"rooms"`
	AccountData list `json:"account_data"`
}

// syncing is the check of one answer.
type syncing struct {
	w    *World
	to   Viewer
	q    SyncQuery
	got  *Sync
	next Token
	gaps map[string]Gap // what prev_batch of a room stands for
}

// CheckSync compares an answer of /sync with the world. It returns the token that it ends with and what the prev_batch of its rooms
// stand for.
//
// In what order rooms come is left open, as are heroes; a room in which nothing is new is not sent.
func (w *World) CheckSync(to Viewer, q SyncQuery, got *Sync) (Token, map[string]Gap, error) {
	s := &syncing{w: w, to: to, q: q, got: got, gaps: map[string]Gap{}}
	s.next = Token{Text: got.Next, At: w.Moment, Copies: map[string]map[Key]*Event{}, Filter: q.Filter,
		Whole: q.Filter.Room.State.all() && q.Filter.Room.Timeline.all() && q.Filter.Room.NotRooms == nil}
	if q.Since != nil {
		maps.Copy(s.next.Copies, q.Since.Copies)
		s.next.Whole = s.next.Whole && q.Since.Whole && q.Since.Filter.Room.Timeline.Lazy == q.Filter.Room.Timeline.Lazy
	}
	for _, section := range []map[string]*SyncRoom{got.Rooms.Join, got.Rooms.Invite, got.Rooms.Knock, got.Rooms.Leave} {
		for id := range section {
			if w.Room(id) == nil {
				return s.next, nil, fmt.Errorf("there is no room %s", id)
			}
		}
		w.Compared.Rooms += len(section)
	}
	for _, r := range w.Rooms {
		if err := s.room(r); err != nil {
			return s.next, nil, fmt.Errorf("room %s: %w", r.ID, err)
		}
	}
	w.Compared.Syncs++
	return s.next, s.gaps, s.accountData("", got.AccountData.Events, q.Since == nil)
}

// since is how many events of a room the token covers.
func (s *syncing) since(r *Room) int {
	if s.q.Since == nil {
		return 0
	}
	return r.Before(s.q.Since.At)
}

// room checks that a room is where it belongs, and what is said of it.
func (s *syncing) room(r *Room) error {
	in := []*SyncRoom{s.got.Rooms.Join[r.ID], s.got.Rooms.Invite[r.ID], s.got.Rooms.Knock[r.ID], s.got.Rooms.Leave[r.ID]}
	names := []string{"join", "invite", "knock", "leave"}
	m := r.Membership(s.to.User)
	if m == "ban" {
		m = "leave"
	}
	for i, sr := range in {
		if sr != nil && names[i] != m {
			return fmt.Errorf("a room where the user's membership is %q is in section %s", m, names[i])
		}
	}
	if slices.Contains(s.q.Filter.Room.NotRooms, r.ID) || m == "" {
		if i := slices.IndexFunc(in, func(sr *SyncRoom) bool { return sr != nil }); i >= 0 {
			return fmt.Errorf("it is in section %s, and unwanted", names[i])
		}
		return nil
	}
	i := slices.Index(names, m)
	switch m {
	case "join":
		return s.joined(r, in[i])
	case "leave":
		return s.left(r, in[i])
	}
	return s.stripped(r, in[i], m)
}

// joined checks a room that the user is in.
func (s *syncing) joined(r *Room, got *SyncRoom) error {
	since, began := s.since(r), r.joinedSince(s.to.User)
	entered := s.q.Since == nil || began >= since
	full := entered || s.q.FullState
	if got == nil {
		return s.nothingNew(r, since, full)
	}
	t := span{r: r, since: since, end: len(r.Events), full: full, known: !entered}
	if err := s.span(t, got); err != nil {
		return err
	}
	if err := s.summary(r, got); err != nil {
		return err
	}
	if err := s.receipts(r, got.Ephemeral.Events, full); err != nil {
		return err
	}
	return s.accountData(r.ID, got.AccountData.Events, full)
}

// nothingNew checks that there is no reason to tell of a room.
func (s *syncing) nothingNew(r *Room, since int, full bool) error {
	f, hears := &s.q.Filter.Room, s.w.hears(s.to.User)
	if full {
		return fmt.Errorf("the room is missing")
	}
	for _, e := range r.Events[since:] {
		k, state := e.Key()
		lazy := f.State.Lazy && k.Type == "m.room.member"
		if hears(e) && f.Timeline.passes(e) || s.q.After && state && !lazy && f.State.passes(e) {
			return fmt.Errorf("the room is missing, with %v", e)
		}
	}
	if err := s.receipts(r, nil, false); err != nil {
		return err
	}
	return s.accountData(r.ID, nil, false)
}

// summary checks the counts and the heroes, if they are there: members other than the user, where there are any.
//
// Source: client-server API, RoomSummary.
func (s *syncing) summary(r *Room, got *SyncRoom) error {
	count := map[string]int{}
	for k, e := range r.Now() {
		if k.Type == "m.room.member" {
			count[e.text("membership")]++
		}
	}
	if n := got.Summary.Joined; n != nil && *n != count["join"] {
		return fmt.Errorf("%d joined members, and there are %d", *n, count["join"])
	}
	if n := got.Summary.Invited; n != nil && *n != count["invite"] {
		return fmt.Errorf("%d invited members, and there are %d", *n, count["invite"])
	}
	if len(got.Summary.Heroes) > 5 {
		return fmt.Errorf("%d heroes", len(got.Summary.Heroes))
	}
	for _, h := range got.Summary.Heroes {
		m := r.Membership(h)
		if h == s.to.User || m == "" || (m == "leave" || m == "ban") && count["join"]+count["invite"] > 1 {
			return fmt.Errorf("%s (%s) is a hero", h, m)
		}
	}
	return nil
}

// stripped checks a room that the user is invited to, or has knocked at: sent when that is new, and not if somebody invites whom the user
// ignores. When the user's mind about that changes, invitations may be told again. It shows the user's membership, and of the rest only
// what is or was so.
//
// Source: client-server API, "Stripped state", "Ignoring users".
func (s *syncing) stripped(r *Room, got *SyncRoom, m string) error {
	own := r.Member(len(r.Events), s.to.User)
	fresh := s.q.Since == nil || own.At > s.q.Since.At
	ignored, changed := s.w.ignored(s.to.User)
	unwanted := m == "invite" && ignored[own.Sender] != nil
	switch {
	case got == nil && fresh && !unwanted:
		return fmt.Errorf("the room is missing: %s", m)
	case got == nil:
		return nil
	case unwanted:
		return fmt.Errorf("an invitation by %s, whom the user ignores", own.Sender)
	case !fresh && !s.q.FullState && (m == "knock" || changed <= s.q.Since.At):
		return fmt.Errorf("the %s is told again", m)
	}
	events := got.InviteState.Events
	if m == "knock" {
		events = got.KnockState.Events
	}
	mine, create := false, false
	for _, e := range events {
		if e.StateKey == nil {
			return fmt.Errorf("%s is no state", JSON(e))
		}
		create = create || e.Type == "m.room.create"
		mine = mine || own.Type == e.Type && *own.StateKey == *e.StateKey && own.Sender == e.Sender && equal(own.Content, e.Content)
		if !slices.ContainsFunc(r.Events, func(was *Event) bool {
			k, ok := was.Key()
			return ok && k == Key{e.Type, *e.StateKey} && was.Sender == e.Sender && equal(was.Content, e.Content)
		}) {
			return fmt.Errorf("%s was never so", JSON(e))
		}
	}
	if !mine || !create {
		return fmt.Errorf("the stripped state lacks the user's membership or the create event")
	}
	return nil
}

// receipts checks that what is new of receipts is there, and of others nothing but the latest. Private ones are for their user alone. Those
// of ignored users may be left out.
func (s *syncing) receipts(r *Room, events []Seen, full bool) error {
	got := map[[2]string]string{}
	for _, e := range events {
		if e.Type != "m.receipt" {
			continue
		}
		for id, types := range e.Content {
			types, _ := types.(Content)
			for typ, users := range types {
				users, _ := users.(Content)
				for user := range users {
					got[[2]string{user, typ}] = id
				}
			}
		}
	}
	for k, id := range got {
		if rc, ok := r.Receipts[k]; !ok || rc.Event.ID != id || k[1] == "m.read.private" && k[0] != s.to.User {
			return fmt.Errorf("a receipt of %s for %s that is not so", k, id)
		}
	}
	ignored, _ := s.w.ignored(s.to.User)
	for k, rc := range r.Receipts {
		fresh := full || rc.At > s.q.Since.At
		if fresh && ignored[k[0]] == nil && s.q.Filter.Room.Ephemeral.wants("m.receipt") && (k[1] == "m.read" || k[0] == s.to.User) && got[k] == "" {
			return fmt.Errorf("the receipt of %s is missing", k)
		}
	}
	return nil
}

// accountData checks that what is new of account data is there, and of the rest nothing but what is so.
func (s *syncing) accountData(room string, events []Seen, full bool) error {
	got := map[string]Content{}
	for _, e := range events {
		if e.Type != "m.push_rules" {
			got[e.Type] = e.Content
		}
	}
	for _, d := range s.w.Data {
		if d.User != s.to.User || d.Room != room {
			continue
		}
		c, there := got[d.Type]
		delete(got, d.Type)
		wanted := room == "" || s.q.Filter.Room.AccountData.wants(d.Type)
		switch {
		case there && (!equal(c, d.Content) || !wanted):
			return fmt.Errorf("account data %s is %s, not %s", d.Type, JSON(c), JSON(d.Content))
		case !there && wanted && (full || d.At > s.q.Since.At):
			return fmt.Errorf("account data %s is missing", d.Type)
		}
	}
	for typ := range got {
		return fmt.Errorf("account data %s that there is not", typ)
	}
	return nil
}
