package model_test

import (
	"slices"
	"strconv"

	"bongsu/harness/model"
)

// someEvents is a filter of events.
func (x *run) someEvents(limits bool) (f model.Events) {
	if limits && !x.chance(3) {
		f.Limit = ptr(pick(x.dice, []int{0, 1, 2, 3, 5, 10, 20, 50, 100}))
	}
	if !x.chance(4) {
		return f
	}
	switch x.dice.IntN(5) {
	case 0:
		f.Types = []string{"m.room.message"}
	case 1:
		f.Types = []string{"m.room.*"}
	case 2:
		f.NotTypes = []string{"m.room.member", "org.example.*"}
	case 3:
		f.Senders = []string{x.other().id, x.other().id, x.other().id}
	case 4:
		f.URL = ptr(x.chance(2))
	}
	return f
}

func (x *run) someFilter() (f model.Filter) {
	f.Room.Timeline = x.someEvents(true)
	if x.chance(3) {
		f.Room.State = x.someEvents(false)
	}
	f.Room.State.Lazy = x.chance(2)
	f.Room.Timeline.Lazy = f.Room.State.Lazy // clients set both
	f.Room.IncludeLeave = x.chance(3)
	if x.chance(10) {
		f.Room.NotRooms = []string{pick(x.dice, x.w.Rooms).ID}
	}
	if x.chance(10) {
		f.Room.Ephemeral.NotTypes = []string{"m.receipt"}
	}
	if x.chance(10) {
		f.Room.AccountData.Types = []string{"m.fully_read"}
	}
	return f
}

// sync asks for what is new: from the beginning, from the latest token, or from one that the user had before.
func (x *run) sync(u *user, _ *model.Room) {
	q := model.SyncQuery{Filter: x.someFilter(), FullState: x.chance(10), After: x.chance(4)}
	if n := len(u.tokens); n > 0 && !x.chance(8) {
		q.Since = u.tokens[n-1]
		if x.chance(4) {
			q.Since = pick(x.dice, u.tokens)
		}
		if !x.chance(4) {
			q.Filter = q.Since.Filter
		}
	}
	x.syncWith(u, q)
}

// syncWith makes one request of /sync and compares the answer.
func (x *run) syncWith(u *user, q model.SyncQuery) {
	name := model.JSON(q.Filter)
	if x.chance(8) {
		name = read[struct {
			ID string `json:"filter_id"`
		}](x.call(u, "POST", path("user", u.id, "filter"), q.Filter)).ID
	}
	ask := map[string]string{"filter": name}
	if q.Since != nil {
		ask["since"] = q.Since.Text
	}
	if q.FullState {
		ask["full_state"] = "true"
	}
	if q.After {
		ask["use_state_after"] = "true"
	}
	got := read[model.Sync](x.call(u, "GET", "/sync"+query(ask), nil))
	token, gaps, err := x.w.CheckSync(u.viewer(), q, got)
	must(err)
	u.tokens = append(u.tokens[max(0, len(u.tokens)-4):], &token)
	for _, r := range x.w.Rooms {
		if gap, ok := gaps[r.ID]; ok {
			for _, section := range []map[string]*model.SyncRoom{got.Rooms.Join, got.Rooms.Leave} {
				if sr := section[r.ID]; sr != nil {
					u.keep(page{r.ID, sr.Timeline.Prev, gap})
				}
			}
		}
	}
}

func (u *user) keep(p page) { u.pages = append(u.pages[max(0, len(u.pages)-11):], p) }

// from is a token to page from in a room, and where that is; none means an end of the room.
func (x *run) from(u *user, r *model.Room) (token string, gap model.Gap) {
	if n := len(u.tokens); n > 0 && x.chance(4) {
		t := pick(x.dice, u.tokens)
		n := r.Before(t.At)
		return t.Text, model.Gap{Lo: n, Hi: n}
	}
	for _, p := range slices.Backward(u.pages) {
		if p.room == r.ID && !x.chance(3) {
			return p.text, p.gap
		}
	}
	return "", model.Gap{}
}

// messages reads a page of a room.
func (x *run) messages(u *user, r *model.Room) {
	if n := len(u.pages); n > 0 && x.chance(2) {
		r = x.w.Room(pick(x.dice, u.pages).room)
	}
	q := model.PageQuery{Back: !x.chance(3), Limit: 1 + x.dice.IntN(20), Filter: x.someEvents(false)}
	q.Filter.Lazy = x.chance(3)
	from, gap := x.from(u, r)
	q.From = gap
	to := ""
	if n := len(u.tokens); n > 0 && x.chance(6) {
		t := pick(x.dice, u.tokens)
		to, q.To = t.Text, ptr(r.Before(t.At))
	}
	if end, gap, ok := x.page(u, r, q, from, to); ok {
		u.keep(page{r.ID, end, gap})
	}
}

// page makes one request of /messages and compares the answer. It returns the token to go on from; ok is false if there is none.
func (x *run) page(u *user, r *model.Room, q model.PageQuery, from, to string) (next string, at model.Gap, ok bool) {
	ask := map[string]string{"dir": "f", "limit": strconv.Itoa(q.Limit), "filter": model.JSON(q.Filter)}
	if q.Back {
		ask["dir"] = "b"
	}
	switch {
	case from != "":
		ask["from"] = from
	case q.Back:
		q.From = model.Gap{Lo: len(r.Events), Hi: len(r.Events)}
	}
	if to != "" {
		ask["to"] = to
	}
	a := x.call(u, "GET", path("rooms", r.ID, "messages")+query(ask), nil)
	if !slices.Contains(r.Visible(u.id), true) {
		if a.status != 200 {
			refused(a, 403, forbidden, "nothing in the room may be seen")
			return "", at, false
		}
	}
	p := read[model.Page](a)
	at, err := x.w.CheckPage(r, u.viewer(), q, p)
	must(err)
	if from != "" && p.Start != from {
		fail("the page starts at %q, not at %q", p.Start, from)
	}
	if p.End == nil {
		return "", at, false
	}
	return *p.End, at, true
}

// sight asks whether the user may read the state; where the specification leaves that open, the answer decides.
func sight(r *model.Room, u *user, a *answer) (n int, ok bool) {
	n, must, may := r.StateSight(u.id)
	if !must && (!may || a.status != 200) {
		refused(a, 403, forbidden, "the user may not read the state")
		return 0, false
	}
	return n, true
}

func (x *run) readState(u *user, r *model.Room) {
	a := x.call(u, "GET", path("rooms", r.ID, "state"), nil)
	if n, ok := sight(r, u, a); ok {
		must(x.w.All(r.State(n), *read[[]model.Seen](a), u.viewer()))
	}
}

func (x *run) readOneState(u *user, r *model.Room) {
	k := pick(x.dice, []model.Key{{Type: "m.room.name"}, {Type: "m.room.topic"}, {Type: "m.room.create"}, {Type: "org.example.color", StateKey: "k"},
		{Type: "m.room.member", StateKey: x.other().id}, {Type: "m.room.member", StateKey: u.id}})
	where, format := path("rooms", r.ID, "state", k.Type, k.StateKey), x.chance(2)
	if format {
		where += "?format=event"
	}
	a := x.call(u, "GET", where, nil)
	n, ok := sight(r, u, a)
	if !ok {
		return
	}
	e := r.State(n)[k]
	switch {
	case e == nil:
		refused(a, 404, "M_NOT_FOUND", "there is no such state")
	case format:
		must(x.w.Same(e, read[model.Seen](a), u.viewer()))
	default:
		if got := read[model.Content](a); model.JSON(*got) != model.JSON(e.Content) {
			fail("the content is %s, not %s", a.body, model.JSON(e.Content))
		}
	}
}

func (x *run) members(u *user, r *model.Room) {
	ask := map[string]string{}
	all := []string{"join", "invite", "knock", "leave", "ban"}
	if x.chance(3) {
		ask["membership"] = pick(x.dice, all)
	}
	if x.chance(3) {
		ask["not_membership"] = pick(x.dice, all)
	}
	at := len(r.Events)
	if len(u.tokens) > 0 && x.chance(3) {
		t := pick(x.dice, u.tokens)
		ask["at"], at = t.Text, r.Before(t.At)
	}
	a := x.call(u, "GET", path("rooms", r.ID, "members")+query(ask), nil)
	n, ok := sight(r, u, a)
	if !ok {
		return
	}
	want := map[model.Key]*model.Event{}
	for k, e := range r.State(min(n, at)) {
		m, _ := e.Content["membership"].(string)
		if k.Type == "m.room.member" && (ask["membership"] == "" || ask["membership"] == m) && ask["not_membership"] != m {
			want[k] = e
		}
	}
	must(x.w.All(want, read[struct{ Chunk []model.Seen }](a).Chunk, u.viewer()))
}

func (x *run) joinedMembers(u *user, r *model.Room) {
	a := x.call(u, "GET", path("rooms", r.ID, "joined_members"), nil)
	if r.Membership(u.id) != "join" {
		refused(a, 403, forbidden, "the user is not in the room")
		return
	}
	got := read[struct {
		Joined map[string]struct {
			Name   *string `json:"display_name"`
			Avatar *string `json:"avatar_url"`
		}
	}](a).Joined
	in := r.Joined()
	if len(got) != len(in) {
		fail("%d members, and there are %v", len(got), in)
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for _, id := range in {
		c := r.Member(len(r.Events), id).Content
		name, _ := c["displayname"].(string)
		avatar, _ := c["avatar_url"].(string)
		if m, ok := got[id]; !ok || text(m.Name) != name || text(m.Avatar) != avatar {
			fail("%s is %s, not %s", id, model.JSON(m), model.JSON(c))
		}
	}
}

// someEvent is the index of an event whose id somebody has seen; ok is false if the one drawn has none.
func (x *run) someEvent(r *model.Room) (i int, ok bool) {
	i = x.dice.IntN(len(r.Events))
	return i, r.Events[i].ID != ""
}

func (x *run) event(u *user, r *model.Room) {
	i, ok := x.someEvent(r)
	if !ok {
		return
	}
	e := r.Events[i]
	a := x.call(u, "GET", path("rooms", r.ID, "event", e.ID), nil)
	if !r.Visible(u.id)[i] {
		refused(a, 404, "M_NOT_FOUND", "the user may not see the event")
		return
	}
	must(x.w.Same(e, read[model.Seen](a), u.viewer()))
}

func (x *run) context(u *user, r *model.Room) {
	i, ok := x.someEvent(r)
	if !ok {
		return
	}
	f, limit := x.someEvents(false), x.dice.IntN(12)
	f.Lazy = x.chance(3)
	a := x.call(u, "GET", path("rooms", r.ID, "context", r.Events[i].ID)+
		query(map[string]string{"limit": strconv.Itoa(limit), "filter": model.JSON(f)}), nil)
	if !r.Visible(u.id)[i] {
		refused(a, 404, "M_NOT_FOUND", "the user may not see the event")
		return
	}
	got := read[model.Around](a)
	start, end, err := x.w.CheckAround(r, u.viewer(), i, limit, f, got)
	must(err)
	u.keep(page{r.ID, got.Start, start})
	u.keep(page{r.ID, got.End, end})
}

func (x *run) joinedRooms(u *user, _ *model.Room) {
	got := read[struct {
		Rooms []string `json:"joined_rooms"`
	}](x.call(u, "GET", "/joined_rooms", nil)).Rooms
	var want []string
	for _, r := range x.w.Rooms {
		if r.Membership(u.id) == "join" {
			want = append(want, r.ID)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		fail("the user is in %v, not in %v", want, got)
	}
}
