package room

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts")

// TestTranscripts plays the files of testdata: proposals to the machine, what it answers and what is in the rows. A line is a
// command; what is indented below it is its outcome. Events are called by their depth: #3.
//
//	create VERSION USER [TYPE KEY CONTENT]…   a room of this version; the states follow the create event
//	ACTION SENDER [TARGET] [CONTENT]          join, leave, invite, kick, ban, unban, knock, profile; content beside membership
//	send SENDER TYPE CONTENT                  an event that is not state
//	state SENDER TYPE KEY CONTENT             ("-" is the empty key)
//	redact SENDER #N
//	read USER TYPE #N
//	forget USER
//	timeline [USER], members, rooms USER, head, receipts
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *rewrite {
				ok(t, os.WriteFile(file, []byte(got), 0o644))
			} else if got != string(text) {
				t.Errorf("the transcript is now (rewrite with -rewrite):\n%s", got)
			}
		})
	}
}

func play(t *testing.T, text string) string {
	now := clock.Func(func() time.Time { return time.UnixMilli(1_700_000_000_000) })
	p := player{t: t, r: replicatest.New(t, replicatest.Options{Machines: []replica.Machine{Machine()}, Clock: now, Rules: sinceRules})}
	var out strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "\t") {
			continue
		}
		out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		for answer := range strings.Lines(p.do(strings.Fields(line))) {
			out.WriteString("\t" + strings.TrimRight(answer, "\n") + "\n")
		}
	}
	return out.String()
}

type player struct {
	t    *testing.T
	r    *replica.Replica
	room id.RoomID // the one made last
	n    int
}

func (p *player) do(f []string) string {
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	switch f[0] {
	case "create":
		return p.create(f[1:])
	case "join", "leave", "knock", "profile":
		return p.member(Action(f[0]), f[1], f[1], arg(2))
	case "invite", "kick", "ban", "unban":
		return p.member(Action(f[0]), f[1], f[2], arg(3))
	case "send":
		return p.submit(kindSend, sendBody{Room: p.room, Sender: id.UserID(f[1]), Type: f[2], Content: []byte(f[3])})
	case "state":
		return p.submit(kindState, sendBody{Room: p.room, Sender: id.UserID(f[1]), Type: f[2], Key: strings.TrimSuffix(f[3], "-"), Content: []byte(f[4])})
	case "redact":
		return p.submit(kindSend, sendBody{Room: p.room, Sender: id.UserID(f[1]), Type: event.TypeRedaction, Redacts: p.event(f[2]), Content: []byte(`{}`)})
	case "read":
		return p.submit(kindReceipts, receiptsBody{Room: p.room, Receipts: []receiptItem{{User: id.UserID(f[1]), Type: f[2], Event: p.event(f[3])}}})
	case "forget":
		return p.submit(kindForget, forgetBody{Room: p.room, User: id.UserID(f[1])})
	}
	return p.show(f[0], id.UserID(arg(1)))
}

func (p *player) create(f []string) string {
	v := event.RoomVersion(f[0])
	p.n++
	content := event.Object(`{}`).With("room_version", event.AppendString(nil, v))
	d := event.Draft{Type: event.TypeCreate, StateKey: new(string), Sender: id.UserID(f[1]), Depth: 1, OriginServerTS: int64(p.n)}
	if !v.Features().RoomIDIsHash {
		d.RoomID = id.RoomID(fmt.Sprintf("!room%d:h", p.n))
	}
	if v.Features().CreatorInContent {
		content = content.With("creator", event.AppendString(nil, f[1]))
	}
	d.Content = content
	ev, err := event.Build(v, d)
	if err != nil {
		return err.Error()
	}
	body := createBody{Version: v, Create: ev.Raw}
	for f = f[2:]; len(f) > 0; f = f[3:] {
		body.State = append(body.State, stateItem{f[0], strings.TrimSuffix(f[1], "-"), []byte(f[2])})
	}
	p.room = ev.RoomID
	return p.submit(kindCreate, body)
}

func (p *player) member(a Action, sender, target, content string) string {
	as := map[Action]string{actJoin: "join", actInvite: "invite", actBan: "ban", actKnock: "knock", actProfile: "join"}[a]
	if as == "" {
		as = "leave"
	}
	if content == "" {
		content = "{}"
	}
	c := event.Object(content).With("membership", event.AppendString(nil, as))
	return p.submit(kindMember, memberBody{Room: p.room, Sender: id.UserID(sender), Target: id.UserID(target), Action: a, Content: []byte(c)})
}

func (p *player) submit(kind string, body any) string {
	res, err := p.r.Submit(p.t.Context(), replica.Proposal{Kind: kind, Slot: id.SlotOf(p.room), Body: replica.Marshal(body)})
	var e *errs.Error
	switch {
	case errors.As(err, &e) && e.Code != "":
		return fmt.Sprintf("%s (%s): %s", e.Kind, e.Code, e.Message)
	case errors.As(err, &e):
		return fmt.Sprintf("%s: %s", e.Kind, e.Message)
	}
	made, _ := event.Object(res).String("event_id")
	if v, ok := Open(p.r.Rows(), p.room); ok && made != "" {
		s, _ := v.Event(id.EventID(made))
		return fmt.Sprintf("#%d", s.Depth)
	}
	return "ok"
}

func (p *player) event(name string) id.EventID {
	v, _ := Open(p.r.Rows(), p.room)
	for s := range v.Timeline(Place{}, replica.Forever) {
		if fmt.Sprintf("#%d", s.Depth) == name {
			return s.ID
		}
	}
	return "$none"
}

func (p *player) show(what string, user id.UserID) string {
	var out strings.Builder
	v, exists := Open(p.r.Rows(), p.room)
	if !exists {
		return "no such room"
	}
	switch what {
	case "head":
		fmt.Fprintf(&out, "version %s, depth %d, %d joined, %d invited\n", v.Version, v.Depth, v.Joined, v.Invited)
	case "timeline":
		for s := range v.Timeline(Place{}, replica.Forever) {
			if user != "" && !v.Sight(user).Sees(s.Place) {
				continue
			}
			fmt.Fprintf(&out, "#%d %s %s", s.Depth, s.Sender, s.Type)
			if s.StateKey != nil {
				fmt.Fprintf(&out, " %q", *s.StateKey)
			}
			fmt.Fprintf(&out, " %s", s.Content)
			if s.Replaces != (Place{}) {
				was, _ := v.At(s.Replaces)
				fmt.Fprintf(&out, ", replaces #%d", was.Depth)
			}
			if s.Redacted != (Place{}) {
				why, _ := v.At(s.Redacted)
				fmt.Fprintf(&out, ", redacted by #%d", why.Depth)
			}
			out.WriteByte('\n')
		}
	case "members":
		for m := range v.Members() {
			since, _ := v.At(m.Since)
			fmt.Fprintf(&out, "%s %s #%d, since #%d\n", m.Key, m.Membership, v.Load(m).Depth, since.Depth)
		}
	case "rooms":
		for m := range Memberships(p.r.Rows(), p.r.Partitions(), user) {
			in, _ := Open(p.r.Rows(), m.Room)
			at, _ := in.At(m.Place)
			fmt.Fprintf(&out, "%s room: %s #%d", in.Version, m.State, at.Depth)
			if m.Forgotten {
				out.WriteString(", forgotten")
			}
			out.WriteByte('\n')
		}
	case "receipts":
		for rc := range v.Receipts(Place{}, replica.Forever) {
			s, _ := v.Event(rc.Event)
			fmt.Fprintf(&out, "%s %s #%d\n", rc.User, rc.Type, s.Depth)
		}
	default:
		p.t.Fatalf("unknown command %q", what)
	}
	return out.String()
}
