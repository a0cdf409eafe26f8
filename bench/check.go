package bench

import (
	"hash/maphash"
	"strconv"
)

// room is one room of the load.
type room struct {
	id        string
	users     []int
	firstLane int
	lanes     []*lane
}

// A lane is one sender in one room. Its messages are numbered from 1, and because a sender has one message in flight, the
// room must hold them in that order.
type lane struct {
	room   *room
	number int      // over all rooms
	acked  []uint64 // by sequence number - 1: hash of the acknowledged event id; 0: never acknowledged
}

// message is what the text of a message says about it.
type message struct {
	lane, seq int
	sent      int64 // ns since the run began: when it was due
}

// delivered is one event as a member saw it.
type delivered struct {
	message
	id    uint64 // hash of the event id
	known bool   // is one of this run's messages
}

const textPrefix = "bongsu/"

// minSize is enough for the text of any message.
const minSize = 64

// appendText writes the text of a message: run, lane, sequence and time, so that whoever reads it needs no table to judge it.
func appendText(b []byte, run string, m message) []byte {
	b = append(b, textPrefix...)
	b = append(b, run...)
	for _, n := range []int64{int64(m.lane), int64(m.seq), m.sent} {
		b = append(b, '/')
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, '/')
}

// parseText reads what appendText wrote in the same run; ok is false for any other text.
func parseText(b []byte, run string) (m message, ok bool) {
	const p = len(textPrefix)
	if len(b) < p+len(run)+1 || string(b[:p]) != textPrefix || string(b[p:p+len(run)]) != run || b[p+len(run)] != '/' {
		return m, false
	}
	b = b[p+len(run)+1:]
	var n [3]int64
	for i := range n {
		at := 0
		for ; at < len(b) && at < 18 && '0' <= b[at] && b[at] <= '9'; at++ {
			n[i] = 10*n[i] + int64(b[at]-'0')
		}
		if at == 0 || at == len(b) || b[at] != '/' {
			return m, false
		}
		b = b[at+1:]
	}
	return message{lane: int(n[0]), seq: int(n[1]), sent: n[2]}, true
}

// A ledger holds the rooms and judges the streams.
type ledger struct {
	run   string
	seed  maphash.Seed
	rooms []*room
}

// hashID is never 0.
func (l *ledger) hashID(id []byte) uint64 { return maphash.Bytes(l.seed, id) | 1 }

func (l *ledger) read(e eventView) delivered {
	m, ok := parseText(e.body, l.run)
	return delivered{message: m, id: l.hashID(e.id), known: ok}
}

// A stream is what one member saw of one room, or what the room's history says. It is filled by one goroutine.
type stream struct {
	room      *room
	member    string
	last      string // id of the last event of any kind
	next      []int  // by lane: the sequence number expected next, less 1
	missing   map[message]bool
	late      []message // came after a later one of its lane
	events    int64
	hash      uint64 // over the event ids in their order
	dup       int64
	misplaced int64            // of another room, or never sent
	wrong     map[message]bool // only under other event ids than was acknowledged; kept if verify is set
	verify    bool             // the senders have ended, and what they were told can be compared
}

// maxGap bounds how far a sequence number may jump; no server could make up so many messages.
const maxGap = 1 << 20

func newStream(r *room, member string) *stream {
	return &stream{room: r, member: member, next: make([]int, len(r.lanes)), missing: map[message]bool{}, wrong: map[message]bool{}}
}

// seen reports whether the message has been delivered.
func (s *stream) seen(m message) bool {
	n := m.lane - s.room.firstLane
	return n >= 0 && n < len(s.next) && m.seq <= s.next[n] && !s.missing[message{lane: m.lane, seq: m.seq}]
}

// add takes the next event of this run and reports whether it was new.
func (s *stream) add(d delivered) bool {
	n := d.lane - s.room.firstLane
	if n < 0 || n >= len(s.next) || d.seq < 1 || d.seq > s.next[n]+maxGap {
		s.misplaced++
		return false
	}
	key := message{lane: d.lane, seq: d.seq}
	if s.verify {
		s.compare(key, d)
	}
	switch {
	case d.seq > s.next[n]:
		for k := s.next[n] + 1; k < d.seq; k++ {
			s.missing[message{lane: d.lane, seq: k}] = true
		}
		s.next[n] = d.seq
	case s.missing[key]:
		delete(s.missing, key)
		s.late = append(s.late, key)
	default:
		s.dup++
		return false
	}
	s.events++
	s.hash = s.hash*0x9e3779b97f4a7c15 + d.id
	return true
}

// compare notes whether the event id is the acknowledged one. Of several copies one has to have it.
func (s *stream) compare(key message, d delivered) {
	switch {
	case !s.wasAcked(key):
	case s.room.lanes[d.lane-s.room.firstLane].acked[d.seq-1] == d.id:
		delete(s.wrong, key)
	case !s.seen(key):
		s.wrong[key] = true
	}
}

// wasAcked reports whether the server acknowledged the message. Valid when the senders have ended.
func (s *stream) wasAcked(m message) bool {
	l := s.room.lanes[m.lane-s.room.firstLane]
	return m.seq <= len(l.acked) && l.acked[m.seq-1] != 0
}

// lost is how many acknowledged messages are not in the stream. Valid when the senders have ended.
func (s *stream) lost() (n int64) {
	for m := range s.missing {
		if s.wasAcked(m) {
			n++
		}
	}
	for i, l := range s.room.lanes {
		for k := s.next[i]; k < len(l.acked); k++ {
			if l.acked[k] != 0 {
				n++
			}
		}
	}
	return n
}

// StreamChecks says what was wrong in a set of streams: one stream for each syncing member of each room, or one for each
// room's history.
type StreamChecks struct {
	Streams    int   `json:"streams"`
	Events     int64 `json:"events"`
	Lost       int64 `json:"lost"`       // acknowledged, and not there
	Duplicated int64 `json:"duplicated"` // there more than once
	Reordered  int64 `json:"reordered"`  // after a later message of the same sender in the same room
	Diverged   int64 `json:"diverged"`   // complete streams whose order differs from the other members'
	Misplaced  int64 `json:"misplaced"`  // of another room, or never sent
	WrongID    int64 `json:"wrong_id"`   // under another event id than was acknowledged; known for histories only
	// Uncertain streams hold another set of never acknowledged messages than the others, so that their order cannot be
	// compared. It is no fault: such a message may yet appear.
	Uncertain int64 `json:"uncertain"`
}

// Faults is the number of broken promises.
func (c StreamChecks) Faults() int64 {
	return c.Lost + c.Duplicated + c.Reordered + c.Diverged + c.Misplaced + c.WrongID
}

func (c *StreamChecks) add(s *stream) (clean bool) {
	lost, reordered := s.lost(), int64(0)
	for _, m := range s.late {
		if s.wasAcked(m) {
			reordered++
		}
	}
	for i, l := range s.room.lanes {
		c.Misplaced += int64(max(s.next[i]-len(l.acked), 0)) // numbers that were never given out
	}
	c.Streams++
	c.Events += s.events + s.dup
	c.Lost += lost
	c.Duplicated += s.dup
	c.Reordered += reordered
	c.Misplaced += s.misplaced
	c.WrongID += int64(len(s.wrong))
	return lost == 0 && s.dup == 0
}

// judge checks the members' streams and the histories of one room against what was acknowledged and against each other.
func judge(members, histories []*stream, delivery, history *StreamChecks) {
	type kind struct {
		streams []*stream
		checks  *StreamChecks
	}
	type content struct {
		events int64
		hash   uint64
	}
	votes := map[content]int{}
	var usual content // what most complete streams hold
	var complete []func(content)
	for _, k := range []kind{{histories, history}, {members, delivery}} {
		for _, s := range k.streams {
			if !k.checks.add(s) {
				continue
			}
			c := content{s.events, s.hash}
			votes[c]++
			if votes[c] > votes[usual] {
				usual = c
			}
			complete = append(complete, func(usual content) {
				switch {
				case c.events != usual.events:
					k.checks.Uncertain++
				case c.hash != usual.hash:
					k.checks.Diverged++
				}
			})
		}
	}
	for _, compare := range complete {
		compare(usual)
	}
}
