package harness

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// person is a user with one device, who does one thing at a time.
type person struct {
	name string
	c    *Client
	load *Load
	rng  *rand.Rand
	n    int // of the last marker

	mu     sync.Mutex
	recent []string // markers of the newest acknowledged sends
}

// actions are what people do, and how often in a hundred times.
var actions = []struct {
	share int
	do    func(*person, context.Context) error
}{
	{70, (*person).talk},
	{5, (*person).hangUp},
	{5, (*person).setState},
	{4, (*person).setData},
	{4, (*person).messageDevice},
	{3, (*person).uploadKeys},
	{4, (*person).claimKey},
	{2, (*person).readUp},
	{2, (*person).shareFile},
	{1, (*person).newRoom},
}

// work does one thing after another until the load is stopped.
func (p *person) work() {
	for {
		select {
		case <-p.load.stop:
			return
		case <-time.After(time.Duration(p.rng.Int64N(int64(p.load.cfg.Pause)))):
		}
		pick := p.rng.IntN(100)
		for _, a := range actions {
			if pick -= a.share; pick < 0 {
				p.act(a.do)
				break
			}
		}
	}
}

// act does something and writes down an answer that should not have been.
func (p *person) act(do func(*person, context.Context) error) {
	ctx, cancel := context.WithTimeout(p.load.actions, answerWithin)
	defer cancel()
	err := do(p, ctx)
	var e *Error
	switch {
	case err == nil || p.load.actions.Err() != nil:
	case errors.As(err, &e) && !passing(e):
		p.load.History.Fail("refused: %s: %v", p.name, err)
	default:
		p.load.History.Fail("stuck: %s: %v", p.name, err)
	}
}

func (p *person) marker() string {
	p.n++
	return fmt.Sprintf("%s-%d", p.name, p.n)
}

// room is a random one that p is in.
func (p *person) room() roomOf {
	p.load.mu.Lock()
	defer p.load.mu.Unlock()
	for {
		r := p.load.rooms[p.rng.IntN(len(p.load.rooms))]
		if slices.Contains(r.members, p) {
			return r
		}
	}
}

func (p *person) other() *person { return p.load.people[p.rng.IntN(len(p.load.people))] }

// newest are markers of acknowledged sends, at most n.
func (p *person) newest(n int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.recent[max(0, len(p.recent)-n):])
}

func (p *person) talk(ctx context.Context) error {
	return p.send(ctx, "m.room.message", map[string]any{"msgtype": "m.text"})
}

// send sends an event until it is acknowledged.
func (p *person) send(ctx context.Context, kind string, content map[string]any) error {
	room, marker := p.room().id, p.marker()
	content["marker"], content["body"] = marker, "message "+marker
	sent := Sent{Client: p.name, Room: room, Txn: "t" + marker, Began: time.Now()}
	p.load.History.Send(marker, sent)
	id, err := p.c.Send(ctx, room, kind, sent.Txn, content)
	if err != nil {
		return fmt.Errorf("send to %s: %w", room, err)
	}
	sent.ID, sent.Ended = id, time.Now()
	p.load.History.Send(marker, sent)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.recent = append(p.recent, marker); len(p.recent) > 64 {
		p.recent = slices.Delete(p.recent, 0, 32)
	}
	return nil
}

// hangUp sends and does not wait for the answer; half the time it then sends again, with the same transaction id.
func (p *person) hangUp(ctx context.Context) error {
	room, marker := p.room().id, p.marker()
	sent := Sent{Client: p.name, Room: room, Txn: "t" + marker, Began: time.Now()}
	p.load.History.Send(marker, sent)
	content := map[string]any{"msgtype": "m.text", "body": "abandoned", "marker": marker}
	hasty, cancel := context.WithTimeout(ctx, time.Duration(p.rng.Int64N(int64(6*time.Millisecond))))
	defer cancel()
	var out struct {
		ID string `json:"event_id"`
	}
	err := p.c.Do(hasty, http.MethodPut, Path("v3", "rooms", room, "send", "m.room.message", sent.Txn), content, &out)
	sent.ID, sent.Ended = out.ID, time.Now()
	if err != nil && !passing(err) {
		return fmt.Errorf("send to %s: %w", room, err)
	}
	if p.rng.IntN(2) == 0 {
		if sent.ID, err = p.c.Send(ctx, room, "m.room.message", sent.Txn, content); err != nil {
			return fmt.Errorf("send again to %s: %w", room, err)
		}
		if out.ID == "" {
			sent.Ended = time.Now()
		} else if out.ID != sent.ID {
			p.load.History.Fail("two answers: %q was acknowledged as %s and as %s", marker, out.ID, sent.ID)
		}
	}
	p.load.History.Send(marker, sent)
	return nil
}

func (p *person) setState(ctx context.Context) error {
	room, marker := p.room().id, p.marker()
	const kind = "org.bongsu.mood"
	sent := Sent{Client: p.name, Room: room, Began: time.Now()}
	p.load.History.Send(marker, sent)
	acked := p.load.History.writing(p.load.History.States, StateName(room, kind, p.name), marker)
	id, err := p.c.SetState(ctx, room, kind, p.name, map[string]string{"marker": marker})
	if err != nil {
		return fmt.Errorf("state of %s: %w", room, err)
	}
	acked()
	sent.ID, sent.Ended = id, time.Now()
	p.load.History.Send(marker, sent)
	return nil
}

func (p *person) setData(ctx context.Context) error {
	marker, kind := p.marker(), fmt.Sprintf("org.bongsu.note%d", p.rng.IntN(3))
	acked := p.load.History.writing(p.load.History.Data, p.name+" "+kind, marker)
	path := Path("v3", "user", p.c.User, "account_data", kind)
	if err := p.c.Insist(ctx, http.MethodPut, path, map[string]string{"marker": marker}, nil); err != nil {
		return fmt.Errorf("account data: %w", err)
	}
	acked()
	return nil
}

func (p *person) messageDevice(ctx context.Context) error {
	to, marker := p.other(), p.marker()
	put := func(acked bool) {
		p.load.History.with(func() { p.load.History.ToDevice[marker] = ToDevice{To: to.name, Acked: acked} })
	}
	put(false)
	content := map[string]string{"marker": marker}
	if err := p.c.SendToDevice(ctx, to.c.User, to.c.Device, "org.bongsu.knock", "t"+marker, content); err != nil {
		return fmt.Errorf("message to a device: %w", err)
	}
	put(true)
	return nil
}

// keyName names a one-time key in a history.
func keyName(c *Client, id string) string { return c.User + " " + c.Device + " " + id }

func (p *person) uploadKeys(ctx context.Context) error {
	keys := map[string]any{}
	for range 2 { // little more than are claimed: a device may have a thousand
		id, content := "signed_curve25519:"+p.marker(), map[string]any{"key": randomKey(p.rng), "signatures": map[string]any{}}
		keys[id] = content
		text, err := json.Marshal(content)
		if err != nil {
			return err
		}
		p.load.History.with(func() { p.load.History.Keys[keyName(p.c, id)] = string(text) })
	}
	if err := p.c.UploadOneTimeKeys(ctx, keys); err != nil {
		return fmt.Errorf("upload keys: %w", err)
	}
	return nil
}

func randomKey(rng *rand.Rand) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	key := make([]byte, 43)
	for i := range key {
		key[i] = alphabet[rng.IntN(len(alphabet))]
	}
	key[42] = 'A' // 32 bytes leave the last two bits empty
	return string(key)
}

func (p *person) claimKey(ctx context.Context) error {
	of := p.other().c
	id, content, err := p.c.ClaimKey(ctx, of.User, of.Device)
	if passing(err) {
		return nil // nobody was told of the key: it is gone, and that is all right
	}
	if err != nil {
		return fmt.Errorf("claim a key: %w", err)
	}
	if id != "" {
		p.load.History.with(func() {
			p.load.History.Claims = append(p.load.History.Claims, Claim{Key: keyName(of, id), Content: string(content)})
		})
	}
	return nil
}

// readUp marks the newest own event as read, and types.
func (p *person) readUp(ctx context.Context) error {
	for _, marker := range p.newest(1) {
		p.load.History.mu.Lock()
		s := p.load.History.Sends[marker]
		p.load.History.mu.Unlock()
		path := Path("v3", "rooms", s.Room, "receipt", "m.read", s.ID)
		if err := p.c.Insist(ctx, http.MethodPost, path, struct{}{}, nil); err != nil {
			return fmt.Errorf("receipt: %w", err)
		}
		path = Path("v3", "rooms", s.Room, "typing", p.c.User)
		if err := p.c.Insist(ctx, http.MethodPut, path, map[string]any{"typing": true, "timeout": 1000}, nil); err != nil {
			return fmt.Errorf("typing: %w", err)
		}
	}
	return nil
}

func (p *person) shareFile(ctx context.Context) error {
	data := make([]byte, 1+p.rng.IntN(100_000))
	for i := range data {
		data[i] = byte(p.rng.Uint32())
	}
	uri, err := p.c.Upload(ctx, data)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	p.load.History.with(func() { p.load.History.Files[uri] = sha256.Sum256(data) })
	return p.send(ctx, "m.room.message", map[string]any{"msgtype": "m.image", "url": uri})
}

func (p *person) newRoom(ctx context.Context) error {
	members := []*person{p}
	if o := p.other(); o != p {
		members = append(members, o)
	}
	return p.makeRoom(ctx, members)
}

// makeRoom makes a room of p and others, who are invited and join.
func (p *person) makeRoom(ctx context.Context, members []*person) error {
	levels := map[string]any{"state_default": 0}
	room, err := p.c.CreateRoom(ctx, map[string]any{
		"preset": "private_chat", "name": "room of " + p.name, "power_level_content_override": levels,
	})
	if err != nil {
		return fmt.Errorf("create a room: %w", err)
	}
	p.load.History.joined(p.name, room)
	for _, o := range members {
		if o == p {
			continue
		}
		if err := p.c.Invite(ctx, room, o.c.User); err != nil {
			return fmt.Errorf("invite %s to %s: %w", o.name, room, err)
		}
		if err := o.c.Join(ctx, room); err != nil {
			return fmt.Errorf("join of %s to %s: %w", o.name, room, err)
		}
		p.load.History.joined(o.name, room)
	}
	p.load.mu.Lock()
	defer p.load.mu.Unlock()
	p.load.rooms = append(p.load.rooms, roomOf{id: room, members: members})
	return nil
}
