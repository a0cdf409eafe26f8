package room

import (
	"reflect"
	"testing"

	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/roomstate"
)

func TestRows(t *testing.T) {
	at := func(n uint64) Place { return Place{Pos: 1000 + 7, Index: uint32(n)} }
	h := Head{Version: event.V12, Create: Ref{at(1), "$c"}, PowerLevels: Ref{at(2), "$p"}, Extremities: []id.EventID{"$a", "$b"},
		Depth: 300, Joined: 2, Invited: 1, LastEvent: at(9), LastState: at(8), LastReceipt: at(7), edits: 4}
	if got := decodeHead(h.encode()); !reflect.DeepEqual(got, h) {
		t.Errorf("%+v, not %+v", got, h)
	}
	for _, row := range []StateRow{
		{Type: "t", Key: "k", Ref: Ref{at(1), "$e"}},
		{Type: event.TypeMember, Key: "@a:h", Ref: Ref{at(1), "$e"}, Membership: roomstate.Ban, Since: at(3)},
		{Type: event.TypeMember, Key: "@a:h", Ref: Ref{at(1), "$e"}, Membership: roomstate.Leave, Since: at(3), Forgotten: true},
	} {
		got := StateRow{Type: row.Type, Key: row.Key}
		if got.value(row.encode()); got != row {
			t.Errorf("%+v, not %+v", got, row)
		}
	}
	rc := Receipt{User: "@a:h", Type: Read, Thread: "main", Event: "$e", At: at(1), TS: 1 << 40, Place: at(2)}
	got := Receipt{User: rc.User, Type: rc.Type, Thread: rc.Thread}
	if got.value(rc.encode()); got != rc {
		t.Errorf("%+v, not %+v", got, rc)
	}
	for _, m := range memberships[1:] {
		if membershipOf(membershipByte(m)) != m {
			t.Errorf("%s does not survive", m)
		}
	}
	ev, err := event.Build(event.V11, event.Draft{RoomID: "!r:h", Type: "t", Sender: "@a:h", Content: event.Object(`{"a":"é"}`)})
	ok(t, err)
	for _, s := range []Stored{
		{Event: ev, Place: at(1)},
		{Event: ev, Place: at(1), Device: "D", Txn: "x", Replaces: at(2), Redacted: at(3)},
	} {
		if got := decodeStored(event.V11, s.Place, s.encode()); !reflect.DeepEqual(got, s) {
			t.Errorf("%+v, not %+v", got, s)
		}
	}
}

// TestPlaces: neighbours, also at the edges of a record.
func TestPlaces(t *testing.T) {
	for _, p := range []Place{{Pos: 1, Index: 1}, {Pos: 1, Index: 1<<32 - 1}, {Pos: 7}, {Pos: 1<<63 - 1, Index: 5}} {
		if got := Before(Next(p)); got != p {
			t.Errorf("%v: %v", p, got)
		}
		if !p.Before(Next(p)) || !p.Before(Forever) || p.Pos > 0 && !Before(p).Before(p) {
			t.Errorf("%v is out of order", p)
		}
		if got, err := ParsePageToken(PageToken(p)); err != nil || got != p {
			t.Errorf("%v is read as %v: %v", p, got, err)
		}
	}
	for _, s := range []string{"", "p", "s1", "pAA", "p!!!!", "pAQE=", "pAQEA", "pgAEB", PageToken(Place{Pos: 1})[:2], "p" + "AQGAgICAgICAgIAB"} {
		if p, err := ParsePageToken(s); err == nil && PageToken(p) != s {
			t.Errorf("%q is read as %v", s, p)
		}
	}
}

// FuzzRows: a row that does not read is a fault of the store, and nothing else.
func FuzzRows(f *testing.F) {
	h := Head{Version: event.V12, Extremities: []id.EventID{"$a"}}
	f.Add(h.encode())
	f.Add([]byte{0, 0, 0, 0, '{', '}'})
	f.Fuzz(func(t *testing.T, row []byte) {
		for _, read := range []func(){
			func() { decodeHead(row) },
			func() { decodeStored(event.V11, Place{}, row) },
			func() { new(StateRow).value(row) },
			func() { new(Receipt).value(row) },
		} {
			func() {
				defer func() {
					if p := recover(); p != nil {
						if _, is := p.(kv.Fault); !is {
							t.Errorf("%v", p)
						}
					}
				}()
				read()
			}()
		}
	})
}

func FuzzPageToken(f *testing.F) {
	f.Add(PageToken(Place{Pos: 7, Index: 3}))
	f.Add("p")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePageToken(s); err == nil && PageToken(p) != s {
			t.Errorf("%q is read as %v", s, p)
		}
	})
}
