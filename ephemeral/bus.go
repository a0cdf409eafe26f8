package ephemeral

import (
	"encoding/json"
	"time"

	"bongsu/id"
)

// Bus carries passing messages to all sites, the own one included: at most once, and nothing is kept. A journal.Bus is one.
type Bus interface {
	Publish(topic string, data []byte) error
	Subscribe(topic string, fn func(data []byte)) (stop func(), err error)
}

const (
	// topic is where typing is told.
	topic = "bongsu.typing"
	// tellEvery is how long changes wait for company before they are told to the other sites.
	tellEvery = 100 * time.Millisecond
	// maxTold is how many changes are told at once; what is more is not told, which is harmless: who types says so again.
	maxTold = 500
)

// telling is a message on the bus: what has changed at one run of a site.
type telling struct {
	Origin  string   `json:"origin"`
	Changes []change `json:"changes"`
}

// change is that somebody has begun to type, or goes on to, for a time from now on; 0: stops.
type change struct {
	Room id.RoomID     `json:"room"`
	User id.UserID     `json:"user"`
	For  time.Duration `json:"for"` // not a time of day: clocks differ
}

type typist struct {
	room id.RoomID
	user id.UserID
}

// tell has a change told to the other sites soon; t.mu is held. The last change of a typist is the one that is told.
func (t *Typing) tell(c change) {
	if t.cfg.Bus == nil || t.closed {
		return
	}
	key := typist{c.Room, c.User}
	if _, ok := t.untold[key]; !ok && len(t.untold) >= maxTold {
		return
	}
	t.untold[key] = c
	if t.teller == nil {
		t.teller = time.AfterFunc(tellEvery, t.publish)
	}
}

// publish tells what waits.
func (t *Typing) publish() {
	t.mu.Lock()
	msg := telling{Origin: t.cfg.Origin}
	for _, c := range t.untold {
		msg.Changes = append(msg.Changes, c)
	}
	clear(t.untold)
	t.teller = nil
	closed := t.closed
	t.mu.Unlock()
	if closed {
		return
	}
	data, err := json.Marshal(msg)
	if err == nil {
		err = t.cfg.Bus.Publish(topic, data)
	}
	if err != nil {
		t.cfg.Log.Debug("typing was not told to the other sites", "err", err)
	}
}

// heard takes in what another site tells. What does not read is dropped: a site may run another build.
func (t *Typing) heard(data []byte) {
	var msg telling
	if json.Unmarshal(data, &msg) != nil || msg.Origin == t.cfg.Origin {
		return
	}
	for _, c := range msg.Changes {
		if _, err := id.ParseRoomID(string(c.Room)); err != nil {
			continue
		}
		if _, err := id.ParseUserID(string(c.User)); err != nil {
			continue
		}
		t.set(c)
	}
}
