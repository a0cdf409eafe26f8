package event

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/id"
)

const (
	amy  = id.UserID("@amy:example.org")
	room = id.RoomID("!room:example.org")
	prev = id.EventID("$Rqnc-F-dvnEYJTyHq_iKxU2bZ1CI92-kuZq3a5lr5Zg")
)

func ptr[T any](v T) *T { return &v }

func message(v RoomVersion) Draft {
	d := Draft{
		RoomID: room, Type: TypeMessage, Sender: amy, Content: Object(`{"body":"안녕 <b>\"","msgtype":"m.text"}`),
		OriginServerTS: 1756071567186, Depth: 7, PrevEvents: []id.EventID{prev}, AuthEvents: []id.EventID{prev, prev},
	}
	if v.Features().RoomIDIsHash {
		d.RoomID = RoomIDOf(prev)
	}
	return d
}

func drafts(v RoomVersion) map[string]Draft {
	create := Draft{Type: TypeCreate, Sender: amy, StateKey: ptr(""), RoomID: room, Depth: 1,
		Content: Object(`{"creator":"` + string(amy) + `","room_version":"` + string(v) + `"}`)}
	if v.Features().RoomIDIsHash {
		create.RoomID = ""
	}
	redaction := message(v)
	redaction.Type, redaction.Redacts, redaction.Content = TypeRedaction, prev, Object(`{"reason":"spam"}`)
	member := message(v)
	member.Type, member.StateKey, member.Content = TypeMember, ptr(string(amy)), Object(`{"membership":"join"}`)
	odd := message(v)
	odd.Type, odd.StateKey, odd.Content = "with \"quotes\" and \\ and \n", ptr("\x00\x1f키"), Object(`{}`)
	return map[string]Draft{"message": message(v), "create": create, "redaction": redaction, "member": member, "odd": odd}
}

// TestBuild: what is built is canonical, and reads back the same by both readers.
func TestBuild(t *testing.T) {
	for _, v := range Versions() {
		for name, d := range drafts(v) {
			ev, err := Build(v, d)
			if err != nil {
				t.Fatalf("%s %s: %v", v, name, err)
			}
			canonical, err := Canonical(nil, ev.Raw)
			if err != nil || !bytes.Equal(canonical, ev.Raw) {
				t.Fatalf("%s %s: Raw is not canonical: %v\n%s\n%s", v, name, err, ev.Raw, canonical)
			}
			parsed, err := Parse(v, ev.Raw)
			if err != nil {
				t.Fatalf("%s %s: %v", v, name, err)
			}
			same(t, parsed, ev)
			loaded, err := Load(v, ev.ID, ev.Raw)
			if err != nil {
				t.Fatalf("%s %s: %v", v, name, err)
			}
			same(t, loaded, ev)
			if ev.Redacted() {
				t.Errorf("%s %s: the content hash does not fit", v, name)
			}
			if len(ev.ID) != 44 || ev.ID[0] != '$' || strings.ContainsAny(string(ev.ID), "+/=") {
				t.Errorf("%s %s: id %s", v, name, ev.ID)
			}
		}
	}
}

func same(t *testing.T, got, want *Event) {
	t.Helper()
	if g, w := describe(got), describe(want); g != w {
		t.Errorf("got  %s\nwant %s", g, w)
	}
}

// describe prints all fields of an event.
func describe(ev *Event) string {
	key := "none"
	if ev.StateKey != nil {
		key = strconv.Quote(*ev.StateKey)
	}
	flat := *ev
	flat.StateKey = nil
	flat.Raw = nil
	return fmt.Sprintf("%+v key %s content %s raw %s", flat, key, ev.Content, ev.Raw)
}

func TestBuildRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, c := range map[string]struct {
		v      RoomVersion
		change func(*Draft)
		kind   errs.Kind
	}{
		"version":             {"5", func(*Draft) {}, errs.Invalid},
		"no type":             {V11, func(d *Draft) { d.Type = "" }, errs.Invalid},
		"long type":           {V11, func(d *Draft) { d.Type = long }, errs.TooLarge},
		"long state key":      {V11, func(d *Draft) { d.StateKey = &long }, errs.TooLarge},
		"long sender":         {V11, func(d *Draft) { d.Sender = id.UserID("@" + long + ":x") }, errs.TooLarge},
		"long room":           {V11, func(d *Draft) { d.RoomID = id.RoomID("!" + long) }, errs.TooLarge},
		"no room":             {V12, func(d *Draft) { d.RoomID = "" }, errs.Invalid},
		"not UTF-8":           {V12, func(d *Draft) { d.Type = "\xff" }, errs.Invalid},
		"state key not UTF-8": {V12, func(d *Draft) { d.StateKey = ptr("\xff") }, errs.Invalid},
		"sender":              {V12, func(d *Draft) { d.Sender = "amy" }, errs.Invalid},
		"no content":          {V12, func(d *Draft) { d.Content = nil }, errs.Invalid},
		"array":               {V12, func(d *Draft) { d.Content = Object(`[]`) }, errs.Invalid},
		"depth":               {V12, func(d *Draft) { d.Depth = MaxInt + 1 }, errs.Invalid},
		"negative depth":      {V12, func(d *Draft) { d.Depth = -1 }, errs.Invalid},
		"early time":          {V12, func(d *Draft) { d.OriginServerTS = -MaxInt - 1 }, errs.Invalid},
		"time":                {V12, func(d *Draft) { d.OriginServerTS = MaxInt + 1 }, errs.Invalid},
		"prev_events":         {V12, func(d *Draft) { d.PrevEvents = slices.Repeat([]id.EventID{prev}, 21) }, errs.Invalid},
		"auth_events":         {V12, func(d *Draft) { d.AuthEvents = slices.Repeat([]id.EventID{prev}, 11) }, errs.Invalid},
		"a prev_event":        {V12, func(d *Draft) { d.PrevEvents = []id.EventID{"x"} }, errs.Invalid},
		"redacts":             {V12, func(d *Draft) { d.Redacts = prev }, errs.Invalid},
		"create with room": {V12, func(d *Draft) {
			d.Type, d.StateKey = TypeCreate, ptr("")
		}, errs.Invalid},
	} {
		d := message(c.v)
		c.change(&d)
		if _, err := Build(c.v, d); !errs.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %v", name, err, c.kind)
		}
	}
}

// TestLimits: what is just within the limits is built and read.
func TestLimits(t *testing.T) {
	name := strings.Repeat("x", maxField)
	for what, change := range map[string]func(*Draft){
		"type":        func(d *Draft) { d.Type = name },
		"state key":   func(d *Draft) { d.StateKey = &name },
		"sender":      func(d *Draft) { d.Sender = id.UserID("@" + name[:maxField-3] + ":h") },
		"room":        func(d *Draft) { d.RoomID = id.RoomID("!" + name[1:]) },
		"prev_event":  func(d *Draft) { d.PrevEvents = []id.EventID{id.EventID("$" + name[1:])} },
		"prev_events": func(d *Draft) { d.PrevEvents = slices.Repeat([]id.EventID{prev}, maxPrevEvents) },
		"auth_events": func(d *Draft) { d.AuthEvents = slices.Repeat([]id.EventID{prev}, maxAuthEvents) },
		"depth":       func(d *Draft) { d.Depth = MaxInt },
		"no depth":    func(d *Draft) { d.Depth = 0 },
		"time":        func(d *Draft) { d.OriginServerTS = MaxInt },
		"early time":  func(d *Draft) { d.OriginServerTS = -MaxInt },
	} {
		d := message(V12)
		change(&d)
		ev, err := Build(V12, d)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		got, err := Parse(V12, ev.Raw)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		same(t, got, ev)
	}
}

// TestSize: the largest event leaves room for a signature within the limit, one byte more is refused.
func TestSize(t *testing.T) {
	d := message(V12)
	d.Content = Object(`{"body":""}`)
	ev, err := Build(V12, d)
	if err != nil {
		t.Fatal(err)
	}
	free := MaxSize - signatureSize(d.Sender) - len(ev.Raw)
	d.Content = Object(`{"body":"` + strings.Repeat("x", free) + `"}`)
	if ev, err = Build(V12, d); err != nil {
		t.Fatal(err)
	}
	signed := Object(ev.Raw).With("signatures", []byte(`{"`+amy.Server()+`":{"ed25519:`+id.ServerName(strings.Repeat("k", 32))+
		`":"`+id.ServerName(strings.Repeat("s", 86))+`"}}`))
	if len(signed) != MaxSize {
		t.Errorf("signed it has %d bytes", len(signed))
	}
	if _, err := Parse(V12, signed); err != nil {
		t.Errorf("signed: %v", err)
	}
	if _, err := Parse(V12, append(signed[:len(signed)-1], `,"unsigned":{}}`...)); !errs.Is(err, errs.TooLarge) {
		t.Errorf("larger: %v", err)
	}
	d.Content = Object(`{"body":"` + strings.Repeat("x", free+1) + `"}`)
	if _, err := Build(V12, d); !errs.Is(err, errs.TooLarge) {
		t.Errorf("one byte more: %v", err)
	}
}
