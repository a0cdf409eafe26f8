package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/ephemeral"
	"bongsu/event"
	"bongsu/id"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/room"
)

// site is a replica with all that feed reads, and the feed.
type site struct {
	*Feed
	t        testing.TB
	r        *replica.Replica
	rooms    *room.Service
	accounts *account.Service
	keys     *keys.Keys
	typing   *ephemeral.Typing
	presence *ephemeral.Presence // nil: there is none
	sink     *sink
}

// sink tells the feed of commits.
type sink struct {
	replicatest.Sink
	hold sync.RWMutex // locked by a test that wants to see what happens between a commit and its notes
}

func (s *sink) committed(c replica.Commit) {
	s.hold.RLock()
	defer s.hold.RUnlock()
	s.Committed(c)
}

func newSite(t testing.TB) *site {
	t.Helper()
	return makeSite(t, nil)
}

// makeSite makes a site with presence, or without.
func makeSite(t testing.TB, presence *ephemeral.Presence) *site {
	t.Helper()
	st := &site{t: t, sink: &sink{}, presence: presence}
	st.r = replicatest.New(t, replicatest.Options{Sink: st.sink.committed, Rules: sinceRules,
		Machines: []replica.Machine{account.Machine(), room.Machine(), keys.Machine()}})
	st.typing = ephemeral.New(ephemeral.Config{Changed: func(r id.RoomID) { st.Feed.TypingChanged(r) }})
	st.keys = keys.New(keys.Config{Replica: st.r, Server: "h", Devices: func(r kv.Reader, u id.UserID) []keys.Device {
		var out []keys.Device
		for _, d := range account.Devices(r, u) {
			out = append(out, keys.Device{ID: d.ID, Name: d.Name})
		}
		return out
	}})
	st.Feed = st.newFeed(1)
	st.sink.Tell(st.Feed.Committed)
	st.rooms = room.New(room.Config{Replica: st.r, Server: "h", ReceiptDelay: time.Millisecond, MayInvite: account.MayInvite,
		Profile: func(_ kv.Reader, u id.UserID) (room.Profile, bool) { return room.Profile{}, u.Server() == "h" }})
	st.accounts = account.New(account.Config{Replica: st.r, Server: "h", Passwords: auth.NewPasswords(auth.Config{Memory: 8, Passes: 1})})
	t.Cleanup(func() {
		st.rooms.Close()
		st.Close()
		st.keys.Close()
		st.typing.Close()
	})
	return st
}

// newFeed makes another feed over the rows, as a restart would; the sink does not know it.
func (st *site) newFeed(boot uint64) *Feed {
	return New(Config{Replica: st.r, Typing: st.typing, Presence: st.presence, Site: "site", Boot: boot, Acked: st.keys.Acked})
}

func user(name string) id.UserID { return id.UserID("@" + name + ":h") }

func by(name string) room.By { return room.By{User: user(name), Device: id.DeviceID(name)} }

// must fails the test where err is one.
func (st *site) must(err error) {
	st.t.Helper()
	if err != nil {
		st.t.Fatal(err)
	}
}

func (st *site) create(name string, c room.Creation) id.RoomID {
	st.t.Helper()
	r, err := st.rooms.Create(context.Background(), by(name), c)
	st.must(err)
	return r
}

func (st *site) join(name string, r id.RoomID) {
	st.t.Helper()
	st.must(st.rooms.Join(context.Background(), by(name), r, ""))
}

var txns struct {
	sync.Mutex
	n int
}

func (st *site) say(name string, r id.RoomID, text string) id.EventID {
	st.t.Helper()
	return st.send(name, r, `{"msgtype":"m.text","body":`+string(event.AppendString(nil, text))+`}`)
}

// related says something that is related to an event.
func (st *site) related(name string, r id.RoomID, typ string, to id.EventID) id.EventID {
	st.t.Helper()
	return st.send(name, r, `{"msgtype":"m.text","body":"and","m.relates_to":{"rel_type":"`+typ+`","event_id":"`+string(to)+`"}}`)
}

func (st *site) send(name string, r id.RoomID, content string) id.EventID {
	st.t.Helper()
	txns.Lock()
	txns.n++
	txn := fmt.Sprint(txns.n)
	txns.Unlock()
	e, err := st.rooms.Send(context.Background(), by(name), r, event.TypeMessage, txn, []byte(content))
	st.must(err)
	return e
}

// response is the JSON of an answer.
type response struct {
	NextBatch string `json:"next_batch"`
	Presence  struct{ Events []eventJSON }
	Rooms     struct {
		Join, Leave, Invite, Knock map[id.RoomID]*roomJSON
	}
	AccountData struct{ Events []eventJSON }     `json:"account_data"`
	ToDevice    struct{ Events []eventJSON }     `json:"to_device"`
	DeviceLists struct{ Changed, Left []string } `json:"device_lists"`
	Counts      map[string]int                   `json:"device_one_time_keys_count"`
	Unused      []string                         `json:"device_unused_fallback_key_types"`
}

type roomJSON struct {
	Summary *struct {
		Heroes  []id.UserID `json:"m.heroes"`
		Joined  int         `json:"m.joined_member_count"`
		Invited int         `json:"m.invited_member_count"`
	}
	State    struct{ Events []eventJSON }
	After    *struct{ Events []eventJSON } `json:"state_after"`
	Timeline struct {
		Events    []eventJSON
		Limited   bool
		PrevBatch string `json:"prev_batch"`
	}
	Ephemeral   struct{ Events []eventJSON }
	AccountData struct{ Events []eventJSON } `json:"account_data"`
	Invite      struct{ Events []eventJSON } `json:"invite_state"`
	Knock       struct{ Events []eventJSON } `json:"knock_state"`
	Unread      *countsJSON                  `json:"unread_notifications"`
	Threads     map[id.EventID]countsJSON    `json:"unread_thread_notifications"`
}

type countsJSON struct {
	Notify    int `json:"notification_count"`
	Highlight int `json:"highlight_count"`
}

type eventJSON struct {
	ID       id.EventID `json:"event_id"`
	Type     string
	Sender   id.UserID
	StateKey *string `json:"state_key"`
	Content  map[string]any
	Unsigned struct {
		Age         *int64
		Transaction string         `json:"transaction_id"`
		Prev        map[string]any `json:"prev_content"`
		Because     *eventJSON     `json:"redacted_because"`
		Membership  string
		Relations   map[string]map[string]any `json:"m.relations"`
	}
}

// sync asks once; the answer must be JSON.
func (st *site) sync(ctx context.Context, rq Request) *response {
	st.t.Helper()
	out, err := st.Sync(ctx, rq)
	st.must(err)
	return st.parse(out)
}

func (st *site) parse(out []byte) *response {
	st.t.Helper()
	if err := event.Check(out); err != nil {
		st.t.Fatalf("the answer is not good JSON: %v\n%s", err, out)
	}
	res := &response{}
	if err := json.Unmarshal(out, res); err != nil {
		st.t.Fatalf("%v\n%s", err, out)
	}
	if _, err := ParseToken(res.NextBatch); err != nil {
		st.t.Fatalf("next_batch %q: %v", res.NextBatch, err)
	}
	return res
}
