//go:build goolm

package harness_test

import (
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"bongsu/harness"
)

// secretive is a person with end-to-end encryption.
func secretive(t *testing.T, s *harness.Server, name string) (*person, *crypto.OlmMachine) {
	t.Helper()
	p := newClient(t, s, name)
	store, ok := p.StateStore.(crypto.StateStore)
	if !ok {
		t.Fatalf("%T is no state store for crypto", p.StateStore)
	}
	machine := crypto.NewOlmMachine(p.Client, nil, crypto.NewMemoryStore(nil), store)
	machine.SetBackgroundCtx(t.Context())
	if err := machine.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := machine.ShareKeys(t.Context(), 0); err != nil {
		t.Fatalf("upload of device keys: %v", err)
	}
	syncer, ok := p.Syncer.(*mautrix.DefaultSyncer)
	if !ok {
		t.Fatalf("%T is no default syncer", p.Syncer)
	}
	syncer.OnSync(machine.ProcessSyncResponse)
	syncer.OnEventType(event.StateMember, machine.HandleMemberEvent)
	p.sync()
	return p, machine
}

// Two devices find each other's keys, claim a one-time key, share a session through messages to devices, and talk.
func TestClientEncrypted(t *testing.T) {
	s := start(t, "")
	anna, annaKeys := secretive(t, s, "anna")
	bela, belaKeys := secretive(t, s, "bela")
	ctx := limit(t, time.Minute)
	room := meet(t, anna, bela, &mautrix.ReqCreateRoom{Preset: "private_chat", InitialState: []*event.Event{{
		Type:    event.StateEncryption,
		Content: event.Content{Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1}},
	}}})

	say := func(p *person, m *crypto.OlmMachine, text string) {
		t.Helper()
		if err := m.ShareGroupSession(ctx, room, []id.UserID{anna.UserID, bela.UserID}); err != nil {
			t.Fatalf("share the session: %v", err)
		}
		content := &event.MessageEventContent{MsgType: event.MsgText, Body: text}
		sealed, err := m.EncryptMegolmEvent(ctx, room, event.EventMessage, content)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.SendMessageEvent(ctx, room, event.EventEncrypted, sealed); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(p *person, m *crypto.OlmMachine, sender id.UserID, text string) {
		t.Helper()
		sealed := p.event("a sealed message", func(e *event.Event) bool { return e.Type == event.EventEncrypted && e.Sender == sender })
		c := sealed.Content.AsEncrypted()
		if !m.WaitForSession(ctx, room, c.SenderKey, c.SessionID, patience) {
			t.Fatal("the session never came")
		}
		plain, err := m.DecryptMegolmEvent(ctx, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if body := plain.Content.AsMessage().Body; body != text {
			t.Errorf("heard %q, want %q", body, text)
		}
	}
	say(anna, annaKeys, "봉수가 올랐다")
	hear(bela, belaKeys, anna.UserID, "봉수가 올랐다")
	say(bela, belaKeys, "seen, passing on")
	hear(anna, annaKeys, bela.UserID, "seen, passing on")
}
