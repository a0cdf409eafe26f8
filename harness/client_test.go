package harness_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"bongsu/harness"
)

// The client of mautrix, which nobody here wrote, does what people do.

// person is a mautrix client with a running sync loop.
type person struct {
	*mautrix.Client
	t *testing.T

	mu     sync.Mutex
	came   *sync.Cond
	events []*event.Event // everything that sync brought, in order
	unread map[id.RoomID]mautrix.UnreadNotificationCounts
}

const patience = 20 * time.Second

// newPerson registers with one client, and logs in and syncs with another.
func newPerson(t *testing.T, s *harness.Server, name string) *person {
	t.Helper()
	p := newClient(t, s, name)
	p.sync()
	return p
}

// newClient is a person who has logged in and does not sync yet.
func newClient(t *testing.T, s *harness.Server, name string) *person {
	t.Helper()
	first, err := mautrix.NewClient(s.URL(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	first.Log = zerolog.Nop()
	password := "secret of " + name
	registered, err := first.RegisterDummy(t.Context(), &mautrix.ReqRegister[any]{Username: name, Password: password})
	if err != nil {
		t.Fatalf("register: %v", err)
	}
	p := &person{t: t, unread: map[id.RoomID]mautrix.UnreadNotificationCounts{}}
	p.came = sync.NewCond(&p.mu)
	if p.Client, err = mautrix.NewClient(s.URL(), "", ""); err != nil {
		t.Fatal(err)
	}
	p.Log = zerolog.Nop()
	p.Client.Client = &http.Client{Transport: newJudge(t)}
	p.StateStore = mautrix.NewMemoryStateStore()
	in, err := p.Login(t.Context(), &mautrix.ReqLogin{
		Type:       mautrix.AuthTypePassword,
		Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: name},
		Password:   password, StoreCredentials: true, InitialDeviceDisplayName: "test device of " + name,
	})
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	if in.UserID != registered.UserID || in.DeviceID == registered.DeviceID || in.AccessToken == registered.AccessToken {
		t.Fatalf("login gave %+v after registration gave %+v", in, registered)
	}
	me, err := p.Whoami(t.Context())
	if err != nil || me.UserID != in.UserID || me.DeviceID != in.DeviceID {
		t.Fatalf("whoami: %+v, %v", me, err)
	}
	syncer := p.Syncer.(*mautrix.DefaultSyncer)
	syncer.OnEvent(p.StateStoreSyncHandler)
	syncer.OnEvent(func(_ context.Context, evt *event.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.events = append(p.events, evt)
		p.came.Broadcast()
	})
	syncer.OnSync(func(_ context.Context, r *mautrix.RespSync, _ string) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for room, r := range r.Rooms.Join {
			if r.UnreadNotifications != nil {
				p.unread[room] = *r.UnreadNotifications
			}
		}
		p.came.Broadcast()
		return true
	})
	return p
}

// sync runs the client's own sync loop until the test ends.
func (p *person) sync() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.SyncWithContext(ctx) }()
	p.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			p.t.Errorf("sync loop of %s: %v", p.UserID, err)
		}
	})
}

// until waits for ok, which is asked again whenever something has come. ok runs with p.mu held.
func (p *person) until(what string, ok func() bool) {
	p.t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		late = true
		p.came.Broadcast()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for !ok() {
		if late {
			for _, e := range p.events {
				p.t.Logf("came: %s %s %s %v", e.RoomID, e.Type.Type, e.ID, e.Content.Raw)
			}
			p.t.Fatalf("%s waited for %s in vain", p.UserID, what)
		}
		p.came.Wait()
	}
}

// event waits for an event that ok likes.
func (p *person) event(what string, ok func(*event.Event) bool) *event.Event {
	p.t.Helper()
	var found *event.Event
	p.until(what, func() bool {
		i := slices.IndexFunc(p.events, ok)
		if i >= 0 {
			found = p.events[i]
		}
		return i >= 0
	})
	return found
}

// bodies are the texts that came in a room, in order.
func (p *person) bodies(room id.RoomID) []string {
	var all []string
	for _, e := range p.events {
		if e.RoomID == room && e.Type == event.EventMessage {
			all = append(all, e.Content.AsMessage().Body)
		}
	}
	return all
}

// meet makes a room in which both are.
func meet(t *testing.T, a, b *person, options *mautrix.ReqCreateRoom) id.RoomID {
	t.Helper()
	room, err := a.CreateRoom(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	// Not by the library's calls for them, which also change an event that its sync may be reading.
	if _, err := a.MakeRequest(t.Context(), http.MethodPost, a.BuildClientURL("v3", "rooms", room.RoomID, "invite"), &mautrix.ReqInviteUser{UserID: b.UserID}, nil); err != nil {
		t.Fatal(err)
	}
	b.event("the invitation", func(e *event.Event) bool {
		return e.RoomID == room.RoomID && e.Type == event.StateMember && e.GetStateKey() == b.UserID.String() &&
			e.Content.AsMember().Membership == event.MembershipInvite
	})
	if _, err := b.MakeRequest(t.Context(), http.MethodPost, b.BuildClientURL("v3", "rooms", room.RoomID, "join"), struct{}{}, nil); err != nil {
		t.Fatal(err)
	}
	a.event("the join", func(e *event.Event) bool {
		return e.RoomID == room.RoomID && e.Type == event.StateMember && e.GetStateKey() == b.UserID.String() &&
			e.Content.AsMember().Membership == event.MembershipJoin
	})
	return room.RoomID
}

func TestClientConversation(t *testing.T) {
	s := start(t, "")
	anna, bela := newPerson(t, s, "anna"), newPerson(t, s, "bela")
	ctx := limit(t, time.Minute)
	room := meet(t, anna, bela, &mautrix.ReqCreateRoom{Preset: "private_chat", Name: "Tea", Topic: "leaves"})

	var want []string
	for i := range 30 {
		from, text := anna, fmt.Sprintf("word %d", i)
		if i%3 == 0 {
			from = bela
		}
		if _, err := from.SendText(ctx, room, text); err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
	}
	for _, p := range []*person{anna, bela} {
		p.until("all messages", func() bool { return len(p.bodies(room)) >= len(want) })
		if got := p.bodies(room); !slices.Equal(got, want) {
			t.Errorf("%s saw %q, want %q", p.UserID, got, want)
		}
	}

	// Everything, page by page, from the end to the beginning.
	var back []string
	for from, pages := "", 0; ; pages++ {
		page, err := bela.Messages(ctx, room, from, "", mautrix.DirectionBackward, nil, 7)
		if err != nil || pages > 20 {
			t.Fatalf("page %d: %v", pages, err)
		}
		for _, e := range page.Chunk {
			if err := e.Content.ParseRaw(e.Type); err == nil && e.Type == event.EventMessage {
				back = append(back, e.Content.AsMessage().Body)
			}
		}
		if from = page.End; from == "" {
			break
		}
	}
	slices.Reverse(back)
	if !slices.Equal(back, want) {
		t.Errorf("paged back: %q", back)
	}

	// State, and what it was.
	if _, err := anna.SendStateEvent(ctx, room, event.StateTopic, "", &event.TopicEventContent{Topic: "oolong"}); err != nil {
		t.Fatal(err)
	}
	bela.event("the topic", func(e *event.Event) bool { return e.Type == event.StateTopic && e.Content.AsTopic().Topic == "oolong" })
	var topic event.TopicEventContent
	if err := bela.StateEvent(ctx, room, event.StateTopic, "", &topic); err != nil || topic.Topic != "oolong" {
		t.Errorf("topic %q, %v", topic.Topic, err)
	}
	if _, err := bela.SendStateEvent(ctx, room, event.StateTopic, "", &topic); !errors.Is(err, mautrix.MForbidden) {
		t.Errorf("bela, who may not, sets the topic: %v", err)
	}
	members, err := bela.JoinedMembers(ctx, room)
	if err != nil || len(members.Joined) != 2 {
		t.Errorf("members %v, %v", members, err)
	}

	// Redaction.
	sent, err := anna.SendText(ctx, room, "oops")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := anna.RedactEvent(ctx, room, sent.EventID); err != nil {
		t.Fatal(err)
	}
	bela.event("the redaction", func(e *event.Event) bool { return e.Type == event.EventRedaction })
	if e, err := bela.GetEvent(ctx, room, sent.EventID); err != nil || e.Content.Raw["body"] != nil || e.Unsigned.RedactedBecause == nil {
		t.Errorf("redacted: %+v, %v", e, err)
	}

	// Leaving.
	if _, err := bela.LeaveRoom(ctx, room); err != nil {
		t.Fatal(err)
	}
	anna.event("the leave", func(e *event.Event) bool {
		return e.Type == event.StateMember && e.Content.AsMember().Membership == event.MembershipLeave
	})
	if _, err := bela.SendText(ctx, room, "from outside"); !errors.Is(err, mautrix.MForbidden) {
		t.Errorf("sending from outside: %v", err)
	}
	rooms, err := bela.JoinedRooms(ctx)
	if err != nil || len(rooms.JoinedRooms) != 0 {
		t.Errorf("rooms after leaving: %v, %v", rooms, err)
	}
	if _, err := bela.Logout(ctx); err != nil {
		t.Error(err)
	}
}

func TestClientMedia(t *testing.T) {
	s := start(t, "")
	anna, bela := newClient(t, s, "anna"), newClient(t, s, "bela")
	ctx := limit(t, time.Minute)
	data := make([]byte, 300_000)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	up, err := anna.UploadBytesWithName(ctx, data, "application/octet-stream", "봉수.bin")
	if err != nil {
		t.Fatal(err)
	}
	got, err := bela.DownloadBytes(ctx, up.ContentURI)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	stranger, err := mautrix.NewClient(s.URL(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	stranger.Log = zerolog.Nop()
	if _, err := stranger.DownloadBytes(ctx, up.ContentURI); !errors.Is(err, mautrix.MMissingToken) {
		t.Errorf("a stranger's download: %v", err)
	}
	if config, err := anna.GetMediaConfig(ctx); err != nil || config.UploadSize <= int64(len(data)) {
		t.Errorf("config %+v, %v", config, err)
	}
	if err := anna.SetAvatarURL(ctx, up.ContentURI); err != nil {
		t.Error(err)
	}
	if err := anna.SetDisplayName(ctx, "Anna 안나"); err != nil {
		t.Error(err)
	}
	if p, err := bela.GetProfile(ctx, anna.UserID); err != nil || p.DisplayName != "Anna 안나" || p.AvatarURL != up.ContentURI {
		t.Errorf("profile %+v, %v", p, err)
	}
}

func TestClientTypingReceiptsUnread(t *testing.T) {
	s := start(t, "")
	anna, bela := newPerson(t, s, "anna"), newPerson(t, s, "bela")
	ctx := limit(t, time.Minute)
	room := meet(t, anna, bela, &mautrix.ReqCreateRoom{Preset: "private_chat"})

	if _, err := anna.UserTyping(ctx, room, true, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	bela.event("typing", func(e *event.Event) bool {
		return e.Type == event.EphemeralEventTyping && slices.Contains(e.Content.AsTyping().UserIDs, anna.UserID)
	})
	if _, err := anna.UserTyping(ctx, room, false, 0); err != nil {
		t.Fatal(err)
	}
	bela.event("the end of typing", func(e *event.Event) bool {
		return e.Type == event.EphemeralEventTyping && len(e.Content.AsTyping().UserIDs) == 0
	})

	var last id.EventID
	for i := range 3 {
		sent, err := anna.SendText(ctx, room, fmt.Sprintf("unread %d", i))
		if err != nil {
			t.Fatal(err)
		}
		last = sent.EventID
	}
	bela.until("three unread messages", func() bool { return bela.unread[room].NotificationCount == 3 })
	if err := bela.MarkRead(ctx, room, last); err != nil {
		t.Fatal(err)
	}
	bela.until("nothing unread", func() bool { return bela.unread[room].NotificationCount == 0 })
	anna.event("the receipt", func(e *event.Event) bool {
		if e.Type != event.EphemeralEventReceipt {
			return false
		}
		_, ok := (*e.Content.AsReceipt())[last][event.ReceiptTypeRead][bela.UserID]
		return ok
	})

	// A mention is a highlight.
	content := &event.MessageEventContent{MsgType: event.MsgText, Body: "bela?", Mentions: &event.Mentions{UserIDs: []id.UserID{bela.UserID}}}
	if _, err := anna.SendMessageEvent(ctx, room, event.EventMessage, content); err != nil {
		t.Fatal(err)
	}
	bela.until("a highlight", func() bool { return bela.unread[room].HighlightCount == 1 })

	// Account data comes through sync, and stays.
	if err := bela.SetAccountData(ctx, "org.bongsu.colour", map[string]string{"is": "red"}); err != nil {
		t.Fatal(err)
	}
	bela.event("account data", func(e *event.Event) bool {
		return e.Type.Type == "org.bongsu.colour" && e.Content.Raw["is"] == "red"
	})
	var colour map[string]string
	if err := bela.GetAccountData(ctx, "org.bongsu.colour", &colour); err != nil || colour["is"] != "red" {
		t.Errorf("account data %v, %v", colour, err)
	}
	if rules, err := bela.GetPushRules(ctx); err != nil || len(rules.Underride) == 0 {
		t.Errorf("push rules %+v, %v", rules, err)
	}
	filter, err := bela.CreateFilter(ctx, &mautrix.Filter{Room: &mautrix.RoomFilter{Timeline: &mautrix.FilterPart{Limit: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	limited, err := bela.SyncRequest(ctx, 0, "", filter.FilterID, false, event.PresenceOnline)
	if err != nil || len(limited.Rooms.Join[room].Timeline.Events) != 1 || !limited.Rooms.Join[room].Timeline.Limited {
		t.Errorf("sync with a filter: %+v, %v", limited.Rooms.Join[room], err)
	}
}
