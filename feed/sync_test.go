package feed

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"bongsu/id"
	"bongsu/room"
)

var rewrite = flag.Bool("rewrite", false, "write the transcripts anew")

// TestTranscripts plays the scripts in testdata: blocks of commands, then a line ----, then what came of them.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &player{site: newSite(t), rooms: map[string]id.RoomID{}, last: map[id.RoomID]id.EventID{}, tokens: map[string]string{}, asked: map[string]string{}}
			var out strings.Builder
			for i, block := range strings.Split(strings.TrimSpace(string(data)), "\n\n") {
				if i > 0 {
					out.WriteString("\n\n")
				}
				out.WriteString(strings.TrimRight(p.block(block), "\n"))
			}
			got := out.String() + "\n"
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(data) {
				t.Errorf("%s differs:\n%s", file, got)
			}
		})
	}
}

// player plays a script. Users are made when they are first heard of; rooms have names of their own.
type player struct {
	*site
	rooms  map[string]id.RoomID
	last   map[id.RoomID]id.EventID
	tokens map[string]string // next_batch of the last answer, by user
	asked  map[string]string // since of the last request
	users  []string
}

func (p *player) block(block string) string {
	script, _, _ := strings.Cut(block, "\n----")
	script = strings.TrimSpace(script)
	var out strings.Builder
	out.WriteString(script + "\n----\n")
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		out.WriteString(p.step(strings.Fields(line)))
	}
	return out.String()
}

func (p *player) step(w []string) string {
	p.t.Helper()
	ctx := p.t.Context()
	op, who := w[0], w[1]
	if !slices.Contains(p.users, who) {
		_, err := p.accounts.AddUser(ctx, who, "a password", false)
		p.must(err)
		p.users = append(p.users, who)
	}
	if op == "sync" {
		return p.look(who, w[2:])
	}
	if op == "data" {
		r := id.RoomID("")
		if w[2] != "-" {
			r = p.rooms[w[2]]
		}
		p.must(p.accounts.SetData(ctx, user(who), r, w[3], json.RawMessage(w[4])))
		return ""
	}
	if op == "create" {
		c := room.Creation{Preset: "public_chat"}
		if len(w) > 3 {
			c.Name = w[3]
		}
		p.rooms[w[2]] = p.create(who, c)
		return ""
	}
	r := p.rooms[w[2]]
	var err error
	switch op {
	case "join":
		err = p.site.rooms.Join(ctx, by(who), r, "")
	case "leave":
		err = p.site.rooms.Leave(ctx, by(who), r, "")
	case "forget":
		err = p.site.rooms.Forget(ctx, by(who), r)
	case "invite":
		err = p.site.rooms.Invite(ctx, by(who), r, user(w[3]), "")
	case "kick":
		err = p.site.rooms.Kick(ctx, by(who), r, user(w[3]), "")
	case "ban":
		err = p.site.rooms.Ban(ctx, by(who), r, user(w[3]), "")
	case "unban":
		err = p.site.rooms.Unban(ctx, by(who), r, user(w[3]), "")
	case "state":
		_, err = p.site.rooms.SendState(ctx, by(who), r, w[3], "", []byte(w[4]))
	case "say":
		p.last[r] = p.say(who, r, strings.Join(w[3:], " "))
	case "mention":
		p.last[r], err = p.site.rooms.Send(ctx, by(who), r, "m.room.message", "mention"+fmt.Sprint(len(p.last)+len(w[3])),
			[]byte(`{"msgtype":"m.text","body":"hey","m.mentions":{"user_ids":["`+string(user(w[3]))+`"]}}`))
	case "redact":
		_, err = p.site.rooms.Redact(ctx, by(who), r, p.last[r], "redact", "")
	case "read":
		typ := room.Read
		if len(w) > 3 {
			typ = room.ReadPrivate
		}
		err = p.site.rooms.Receipt(ctx, user(who), r, typ, "", p.last[r])
	case "typing":
		p.site.typing.Start(r, user(who), time.Minute)
	case "silent":
		p.site.typing.Stop(r, user(who))
	default:
		p.t.Fatalf("no command %q", op)
	}
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return ""
}

// look syncs as a user from where they are: "initial" begins anew, "again" repeats the last request, "full" wants the full state,
// "other" is another device, "elsewhere" another site, "after" asks for the state at the timeline's end; what begins with "{" is the filter.
func (p *player) look(who string, opts []string) string {
	rq := Request{User: user(who), Device: id.DeviceID(who), Since: p.tokens[who]}
	feed := p.Feed
	for _, o := range opts {
		switch {
		case o == "initial":
			rq.Since = ""
		case o == "again":
			rq.Since = p.asked[who]
		case o == "full":
			rq.FullState = true
		case o == "other":
			rq.Device = "OTHER"
		case o == "after":
			rq.StateAfter = true
		case o == "elsewhere":
			f := p.newFeed(2)
			defer f.Close()
			feed = f
		case o[0] == '{':
			rq.Filter = o
		}
	}
	out, err := feed.Sync(context.Background(), rq)
	p.must(err)
	res := p.parse(out)
	p.tokens[who], p.asked[who] = res.NextBatch, rq.Since
	return p.describe(who, res)
}

// describe puts an answer into a few words that are the same each time.
func (p *player) describe(who string, res *response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n", who)
	var names []string
	for name := range p.rooms {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		r := p.rooms[name]
		for _, part := range []struct {
			what string
			in   map[id.RoomID]*roomJSON
		}{{"join", res.Rooms.Join}, {"invite", res.Rooms.Invite}, {"knock", res.Rooms.Knock}, {"leave", res.Rooms.Leave}} {
			if rj := part.in[r]; rj != nil {
				fmt.Fprintf(&b, "  %s %s\n", part.what, name)
				describeRoom(&b, rj)
			}
		}
	}
	if list := describeEvents(res.AccountData.Events); list != "" {
		fmt.Fprintf(&b, "  account data %s\n", list)
	}
	return b.String()
}

func describeRoom(b *strings.Builder, r *roomJSON) {
	if s := r.Summary; s != nil {
		fmt.Fprintf(b, "    %d joined, %d invited, heroes %v\n", s.Joined, s.Invited, s.Heroes)
	}
	for _, part := range []struct {
		what   string
		events []eventJSON
	}{{"state", r.State.Events}, {"shown", r.Invite.Events}, {"shown", r.Knock.Events}} {
		if list := describeEvents(part.events); list != "" {
			fmt.Fprintf(b, "    %s: %s\n", part.what, list)
		}
	}
	if r.After != nil {
		fmt.Fprintf(b, "    state after: %s\n", describeEvents(r.After.Events))
	}
	if len(r.Timeline.Events) > 0 || r.Timeline.Limited {
		limited := ""
		if r.Timeline.Limited {
			limited = " (limited)"
		}
		fmt.Fprintf(b, "    timeline%s: %s\n", limited, describeEvents(r.Timeline.Events))
	}
	for _, e := range r.Ephemeral.Events {
		if e.Type == "m.typing" {
			fmt.Fprintf(b, "    typing: %v\n", e.Content["user_ids"])
			continue
		}
		var list []string
		for _, types := range e.Content {
			for typ, users := range types.(map[string]any) {
				for u := range users.(map[string]any) {
					list = append(list, u+" "+typ)
				}
			}
		}
		sort.Strings(list)
		fmt.Fprintf(b, "    %s: %s\n", e.Type, strings.Join(list, ", "))
	}
	if list := describeEvents(r.AccountData.Events); list != "" {
		fmt.Fprintf(b, "    data: %s\n", list)
	}
	if r.Unread != nil && (r.Unread.Notify > 0 || r.Unread.Highlight > 0) {
		fmt.Fprintf(b, "    unread: %d, %d highlighted\n", r.Unread.Notify, r.Unread.Highlight)
	}
}

func describeEvents(events []eventJSON) string {
	var out []string
	for _, e := range events {
		s := strings.TrimPrefix(e.Type, "m.room.")
		switch {
		case e.Type == "m.room.message" && len(e.Content) == 0:
			s = "(redacted)"
		case e.Type == "m.room.message":
			s = fmt.Sprintf("%q", e.Content["body"])
		case e.Type == "m.room.member":
			s = fmt.Sprintf("%s %s", *e.StateKey, e.Content["membership"])
		case e.Type == "m.room.name":
			s = fmt.Sprintf("name=%s", e.Content["name"])
		}
		if e.Unsigned.Transaction != "" {
			s += " (mine)"
		}
		if e.Unsigned.Because != nil {
			s += " by " + string(e.Unsigned.Because.Sender)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}
