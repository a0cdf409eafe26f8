package room

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
)

// The rooms of a space are walked depth first, children in the order of the specification, each room where it is met first. A
// room's path, the children that lead to it from the top, says where it stands in that walk, whatever else is added or taken away. So a
// page token is the path of the page's last room: any site goes on from there, and remembers nothing.

// typeSpaceChild is the type of the state that puts a room into a space.
const typeSpaceChild = "m.space.child"

// Bounds of a walk.
const (
	MaxSpaceDepth = 16   // of a room below the top
	maxWalked     = 5000 // rooms that are looked at, on all pages together
)

// HierarchyQuery asks for a page of the rooms of a space.
type HierarchyQuery struct {
	From      string // a token of an earlier page, "" for the first
	Limit     int    // at least 1
	MaxDepth  int    // of a room below the top; at most MaxSpaceDepth
	Suggested bool   // suggested children only
}

// SpaceRoom is a room of a space.
type SpaceRoom struct {
	Summary
	Children []json.RawMessage `json:"children_state"` // stripped state events with origin_server_ts
}

// HierarchyPage is a page of the rooms of a space.
type HierarchyPage struct {
	Rooms []SpaceRoom `json:"rooms"`
	Next  string      `json:"next_batch,omitempty"`
}

// Hierarchy reads a page of the rooms that a space holds and that are shown to the user, the space itself first.
//
// Errors: Forbidden if the space is not shown to the user; Invalid with InvalidParam for a token that is none, or of another query.
//
// Source: client-server API, getSpaceHierarchy.
func (s *Service) Hierarchy(user id.UserID, top id.RoomID, q HierarchyQuery) (HierarchyPage, error) {
	token, err := parseHierarchyToken(q)
	if err != nil {
		return HierarchyPage{}, err
	}
	rows := s.cfg.Replica.View()
	defer rows.Close()
	v, ok := Open(rows, top)
	if !ok || !v.Shown(user) {
		return HierarchyPage{}, errs.New("room.Hierarchy", errs.Forbidden, "", "there is no such room, or it is not shown to you")
	}
	w := walk{r: rows, user: user, q: q, from: token.Path, started: q.From == "", met: map[id.RoomID]bool{}}
	w.page.Rooms = []SpaceRoom{}
	w.visit(v, nil)
	return w.page, nil
}

// step is a child on a path: what children are ordered by.
type step struct {
	Order string    `json:"o,omitempty"` // none: after all that have one
	TS    int64     `json:"t"`           // Unix milliseconds
	Room  id.RoomID `json:"r"`
}

// compare orders children. Source: client-server API, "Ordering of children within a space".
func (s step) compare(t step) int {
	if (s.Order == "") != (t.Order == "") {
		if s.Order == "" {
			return 1
		}
		return -1
	}
	return cmp.Or(cmp.Compare(s.Order, t.Order), cmp.Compare(s.TS, t.TS), cmp.Compare(s.Room, t.Room))
}

// walk is one page's way through a space.
type walk struct {
	r    kv.Reader
	user id.UserID
	q    HierarchyQuery
	from []step // the path of the last room before this page

	started bool // there is no such room: the page begins at the top
	met     map[id.RoomID]bool
	page    HierarchyPage
	last    []step // the path of the page's last room
}

// visit walks through a room that is shown and what is below it; false ends the walk.
func (w *walk) visit(v View, path []step) bool {
	w.met[v.ID] = true
	children := w.children(&v)
	if w.started || slices.CompareFunc(path, w.from, step.compare) > 0 {
		if len(w.page.Rooms) == w.q.Limit {
			w.page.Next = hierarchyToken{w.last, w.q.MaxDepth, w.q.Suggested}.String()
			return false
		}
		room := SpaceRoom{Summary: v.Summary(), Children: []json.RawMessage{}}
		for _, c := range children {
			room.Children = append(room.Children, c.stripped())
		}
		w.page.Rooms = append(w.page.Rooms, room)
		w.last = slices.Clone(path)
	}
	if len(path) >= w.q.MaxDepth {
		return true
	}
	for _, c := range children {
		if w.met[c.Room] || len(w.met) >= maxWalked {
			continue
		}
		child, ok := Open(w.r, c.Room)
		if !ok || !child.Shown(w.user) {
			w.met[c.Room] = true
			continue
		}
		if !w.visit(child, append(path, c.step)) {
			return false
		}
	}
	return true
}

// spaceChild is a child of a space with the event that makes it one.
type spaceChild struct {
	step
	*event.Event
}

// children are the valid children of a space, in order. A room that is none has no children.
func (w *walk) children(v *View) []spaceChild {
	if v.Type() != TypeSpace {
		return nil
	}
	var all []spaceChild
	for row := range v.StateOf(typeSpaceChild) {
		room, err := id.ParseRoomID(row.Key)
		if err != nil {
			continue
		}
		ev := v.Load(row).Event
		if via := ev.Content.Field("via"); len(via) < 3 || via[0] != '[' { // an empty list is no way to the room
			continue
		}
		if w.q.Suggested && string(ev.Content.Field("suggested")) != "true" {
			continue
		}
		all = append(all, spaceChild{step{childOrder(ev.Content), ev.OriginServerTS, room}, ev})
	}
	slices.SortFunc(all, func(a, b spaceChild) int { return a.step.compare(b.step) })
	return all
}

// childOrder is the order of a child; empty if there is none, or none that is valid. Source: m.space.child.
func childOrder(content event.Object) string {
	order, _ := content.String("order")
	if len(order) > 50 {
		return ""
	}
	for _, c := range []byte(order) {
		if c < 0x20 || c > 0x7e {
			return ""
		}
	}
	return order
}

// stripped is the event as children_state has it.
func (c spaceChild) stripped() json.RawMessage {
	o := event.Object(c.AppendStripped(nil))
	return json.RawMessage(o.With("origin_server_ts", strconv.AppendInt(nil, c.OriginServerTS, 10)))
}

// hierarchyToken stands for the gap after the room with a path.
type hierarchyToken struct {
	Path      []step `json:"p"`
	MaxDepth  int    `json:"d"`
	Suggested bool   `json:"s,omitempty"`
}

func (t hierarchyToken) String() string {
	b, _ := json.Marshal(t) // has nothing that could fail
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseHierarchyToken reads the token of a query, which must be one of such a query.
func parseHierarchyToken(q HierarchyQuery) (t hierarchyToken, err error) {
	const op = "room.Hierarchy"
	if q.From == "" {
		return t, nil
	}
	bad := errs.New(op, errs.Invalid, errs.InvalidParam, "the page token is malformed")
	b, err := base64.RawURLEncoding.Strict().DecodeString(q.From)
	if err != nil || json.Unmarshal(b, &t) != nil || len(t.Path) > MaxSpaceDepth {
		return hierarchyToken{}, bad
	}
	if t.MaxDepth != q.MaxDepth || t.Suggested != q.Suggested {
		return t, errs.New(op, errs.Invalid, errs.InvalidParam, "suggested_only and max_depth cannot change between pages")
	}
	return t, nil
}
