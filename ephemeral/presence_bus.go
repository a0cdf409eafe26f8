package ephemeral

import (
	"encoding/json"
	"time"

	"bongsu/id"
)

// presenceTopic is where presence is told.
const presenceTopic = "bongsu.presence"

// report is a message on the bus: who is at one run of a site. What is lost is made good by the next one.
type report struct {
	Origin string     `json:"origin"`
	Hello  bool       `json:"hello,omitempty"` // that run has just begun, and wants to know of everybody
	People []presence `json:"people,omitempty"`
}

// presence is what a site knows of a user. Times are told as how long ago: clocks differ.
type presence struct {
	User    id.UserID     `json:"user"`
	State   PresenceState `json:"state"` // at that site
	Active  *int64        `json:"active,omitempty"`
	Message *string       `json:"message,omitempty"`
	Said    int64         `json:"said,omitempty"` // when the message was set
}

// listen subscribes, and asks who is there.
func (p *Presence) listen() {
	if p.cfg.Bus == nil {
		return
	}
	stop, err := p.cfg.Bus.Subscribe(presenceTopic, p.heard)
	if err != nil {
		p.cfg.Log.Error("presence at other sites is not seen here", "err", err)
		return
	}
	p.unhear = stop
	p.publish(report{Origin: p.cfg.Origin, Hello: true})
}

// tell has the other sites told of a user soon; p.mu is held.
func (p *Presence) tell(w *person, message bool) {
	now := p.cfg.Clock.Now()
	w.told, w.toldAt = w.own(now), now
	if p.cfg.Bus == nil || p.closed {
		return
	}
	p.untold[w.user] = p.untold[w.user] || message
	if p.teller == nil {
		p.teller = time.AfterFunc(tellEvery, p.tellAll)
	}
}

// tellAll tells what waits, or as much as goes into one message.
func (p *Presence) tellAll() {
	p.mu.Lock()
	p.teller = nil
	msg, now := report{Origin: p.cfg.Origin}, p.cfg.Clock.Now()
	for user, withMessage := range p.untold {
		if len(msg.People) == maxTold {
			break
		}
		delete(p.untold, user)
		w := p.people[user]
		if w == nil {
			continue
		}
		pr := presence{User: user, State: w.own(now)}
		if !w.active.IsZero() {
			ago := now.Sub(w.active).Milliseconds()
			pr.Active = &ago
		}
		if withMessage && !w.messageAt.IsZero() {
			message := w.message
			pr.Message, pr.Said = &message, now.Sub(w.messageAt).Milliseconds()
		}
		msg.People = append(msg.People, pr)
	}
	if len(p.untold) > 0 && !p.closed {
		p.teller = time.AfterFunc(tellEvery, p.tellAll)
	}
	closed := p.closed
	p.mu.Unlock()
	if !closed && len(msg.People) > 0 {
		p.publish(msg)
	}
}

func (p *Presence) publish(msg report) {
	data, err := json.Marshal(msg)
	if err == nil {
		err = p.cfg.Bus.Publish(presenceTopic, data)
	}
	if err != nil {
		p.cfg.Log.Debug("presence was not told to the other sites", "err", err)
	}
}

// heard takes in what another site tells. What does not read is dropped: a site may run another build.
func (p *Presence) heard(data []byte) {
	var msg report
	if json.Unmarshal(data, &msg) != nil || msg.Origin == p.cfg.Origin {
		return
	}
	if msg.Hello {
		p.tellOfEverybody()
	}
	for _, pr := range msg.People {
		if _, err := id.ParseUserID(string(pr.User)); err == nil && pr.State.Known() {
			p.take(msg.Origin, pr)
		}
	}
}

// tellOfEverybody has the others told of all who are here, and of all messages.
func (p *Presence) tellOfEverybody() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Clock.Now()
	for _, w := range p.people {
		if w.own(now) != Offline || w.message != "" {
			p.tell(w, true)
		}
	}
}

// take takes in what a site says of a user.
func (p *Presence) take(origin string, pr presence) {
	p.mu.Lock()
	if p.closed || p.people[pr.User] == nil && pr.State == Offline && pr.Message == nil {
		p.mu.Unlock()
		return
	}
	now := p.cfg.Clock.Now()
	ago := func(ms int64) time.Time { return now.Add(-time.Duration(max(ms, 0)) * time.Millisecond) }
	w := p.person(pr.User)
	if w.sites == nil {
		w.sites = map[string]lease{}
	}
	w.sites[origin] = lease{pr.State, now.Add(believedFor)}
	if pr.Active != nil && w.active.Before(ago(*pr.Active)) {
		w.active = ago(*pr.Active)
	}
	newer := false
	if pr.Message != nil && len(*pr.Message) <= MaxStatus && w.messageAt.Before(ago(pr.Said)) {
		newer = w.message != *pr.Message
		w.message, w.messageAt = *pr.Message, ago(pr.Said)
	}
	changed := p.settle(w, now, newer)
	p.mu.Unlock()
	if changed {
		p.cfg.Changed(pr.User)
	}
}
