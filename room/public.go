package room

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// The directory of published rooms shows the largest first. A page begins where the one before ended: behind a room of so many members and
// this id, wherever that may be by now. So a room whose size does not change is shown once, whatever others do, and a token
// means the same at every site.

// SetPublic publishes a room in the directory, or takes it out: for members with the power to name its aliases, and administrators.
//
// Errors: NotFound; Forbidden.
func (s *Service) SetPublic(ctx context.Context, by By, room id.RoomID, public bool) error {
	body := publishBody{Room: room, User: by.User, Public: public, Admin: s.admin(s.cfg.Replica.Rows(), by.User)}
	_, err := s.submit(ctx, kindPublish, room, by.User, replica.Key{}, &body)
	return err
}

// IsPublic reports whether a room is in the directory. Errors: NotFound.
func (s *Service) IsPublic(room id.RoomID) (bool, error) {
	v, ok := Open(s.cfg.Replica.Rows(), room)
	if !ok {
		return false, errs.New("room.IsPublic", errs.NotFound, "", "there is no such room")
	}
	return v.Public(), nil
}

// PublicQuery asks for a page of the directory.
type PublicQuery struct {
	Since string   // a token of an earlier page, "" for the first
	Limit int      // at least 1
	Words string   // each must be in the name, the topic or the alias
	Types []string // types of rooms, "" for those without; nil: all
}

// PublicPage is a page of the directory.
type PublicPage struct {
	Rooms []Card `json:"chunk"`
	Next  string `json:"next_batch,omitempty"`
	Prev  string `json:"prev_batch,omitempty"`
	Total int    `json:"total_room_count_estimate"` // of all published rooms
}

// PublicRooms reads a page of the directory. Errors: Invalid with InvalidParam for a token that is none.
func (s *Service) PublicRooms(q PublicQuery) (PublicPage, error) {
	from, err := parsePublicToken(q.Since)
	if err != nil {
		return PublicPage{}, err
	}
	rows := s.cfg.Replica.View()
	defer rows.Close()
	all := s.cards.read(rows, s.cfg.Replica.Partitions())
	page := PublicPage{Rooms: []Card{}, Total: len(all)}
	all = slices.DeleteFunc(all, func(c *listed) bool { return !c.matches(q) })
	slices.SortFunc(all, func(a, b *listed) int { return a.mark().compare(b.mark()) })

	at, found := slices.BinarySearchFunc(all, from.publicMark, func(c *listed, m publicMark) int { return c.mark().compare(m) })
	first, last := at, min(at+q.Limit, len(all))
	switch {
	case q.Since == "":
		first, last = 0, min(q.Limit, len(all))
	case from.back:
		first, last = max(at-q.Limit, 0), at
	case found:
		first, last = at+1, min(at+1+q.Limit, len(all))
	}
	for _, c := range all[first:last] {
		page.Rooms = append(page.Rooms, c.Card)
	}
	if first < last {
		if last < len(all) {
			page.Next = publicToken{all[last-1].mark(), false}.String()
		}
		if first > 0 {
			page.Prev = publicToken{all[first].mark(), true}.String()
		}
	}
	return page, nil
}

// publicMark is where a room stands in the directory.
type publicMark struct {
	joined int64
	room   id.RoomID
}

func (m publicMark) compare(n publicMark) int {
	return cmp.Or(cmp.Compare(n.joined, m.joined), cmp.Compare(m.room, n.room))
}

// publicToken is the gap right after a room, or with back right before it.
type publicToken struct {
	publicMark
	back bool
}

// Directions of tokens.
const (
	tokenNext = 'n'
	tokenPrev = 'p'
)

func (t publicToken) String() string {
	b := []byte{tokenNext}
	if t.back {
		b[0] = tokenPrev
	}
	return base64.RawURLEncoding.EncodeToString(append(binary.AppendUvarint(b, uint64(t.joined)), t.room...)) //nolint:gosec // a count
}

// parsePublicToken reads a token; the empty one is the beginning.
func parsePublicToken(s string) (t publicToken, err error) {
	if s == "" {
		return t, nil
	}
	bad := errs.New("room.PublicRooms", errs.Invalid, errs.InvalidParam, "the page token is malformed")
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != tokenNext && b[0] != tokenPrev {
		return t, bad
	}
	joined, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return t, bad
	}
	t = publicToken{publicMark{int64(joined), id.RoomID(b[1+n:])}, b[0] == tokenPrev} //nolint:gosec // what is out of range is caught below
	if _, err := id.ParseRoomID(string(t.room)); err != nil || t.String() != s {
		return publicToken{}, bad
	}
	return t, nil
}

// listed is a room of the directory with what it is found by.
type listed struct {
	Card
	last  Place  // of the room when this was read
	words string // in the form of fold
}

func (c *listed) mark() publicMark { return publicMark{c.Joined, c.Room} }

func (c *listed) matches(q PublicQuery) bool {
	if q.Types != nil && !slices.Contains(q.Types, c.Type) {
		return false
	}
	for word := range strings.FieldsSeq(fold(q.Words)) {
		if !strings.Contains(c.words, word) {
			return false
		}
	}
	return true
}

// fold makes texts alike that people take for the same: capitals and small letters, whole syllables of Hangul and those that some
// systems put together from letters, wide and narrow forms.
func fold(s string) string { return strings.ToLower(norm.NFKC.String(s)) }

// cards remembers what the directory shows, as long as nothing happens in a room.
type cards struct {
	mu    sync.Mutex
	rooms map[id.RoomID]*listed
}

// read is all published rooms, in no order, over n partitions.
func (cs *cards) read(r kv.Reader, n int) []*listed {
	cs.mu.Lock()
	known := cs.rooms
	cs.mu.Unlock()
	all, now := []*listed(nil), make(map[id.RoomID]*listed, len(known))
	for p := range n {
		prefix := replica.Derived(journal.Partition(p), machineByte, tablePublished)
		for k := range r.Scan(prefix, kv.End(prefix)) {
			v, ok := Open(r, id.RoomID(lastString(k[len(prefix):])))
			if !ok {
				continue
			}
			c := known[v.ID]
			if c == nil || c.last != v.LastEvent {
				c = &listed{Card: v.Card(), last: v.LastEvent}
				c.words = fold(strings.Join([]string{c.Name, c.Topic, string(c.Alias)}, "\n"))
			}
			all, now[v.ID] = append(all, c), c
		}
	}
	cs.mu.Lock()
	cs.rooms = now
	cs.mu.Unlock()
	return all
}
