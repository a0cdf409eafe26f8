package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a small Matrix server that can be told to break its promises. Each user has a view, the events in the order in
// which /sync gives them; each room has a log, which /messages gives.
type fake struct {
	t  testing.TB
	mu sync.Mutex

	passwords map[string]string
	users     map[string]string // by token
	rooms     map[string]*fakeRoom
	views     map[string][]fakeEvent
	txns      map[string]string
	receipts  []string
	news      chan struct{} // closed and replaced at every change
	sends     int           // committed

	// Faults. All are called with mu held; nil means none.
	onRequest func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	onSend    func(w http.ResponseWriter, n int) bool           // after the commit of message n; true: it has answered
	onView    func(user string, n int, e fakeEvent) []fakeEvent // what a user's view takes for message n
	onLog     func(n int, e fakeEvent) []fakeEvent              // what the room's log takes for message n
	onSync    func(user string, rooms map[string]any)           // what a sync answers
	forgetful bool                                              // transaction ids mean nothing
	limit     int                                               // of timelines, whatever the filter says
	uia       bool                                              // registration wants a session first
}

type fakeRoom struct {
	id      string
	members []string
	log     []fakeEvent
}

type fakeEvent struct{ room, id, body string }

func newFake(t testing.TB) *fake {
	return &fake{
		t: t, passwords: map[string]string{}, users: map[string]string{}, rooms: map[string]*fakeRoom{},
		views: map[string][]fakeEvent{}, txns: map[string]string{}, news: make(chan struct{}),
	}
}

// serve starts the server and gives its URL.
func (f *fake) serve() string {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+v3+"/register", f.register)
	mux.HandleFunc("POST "+v3+"/login", f.login)
	mux.HandleFunc("GET "+v3+"/account/whoami", f.as(func(u string, w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]any{"user_id": u}) }))
	mux.HandleFunc("POST "+v3+"/createRoom", f.as(f.createRoom))
	mux.HandleFunc("POST "+v3+"/rooms/{room}/join", f.as(f.join))
	mux.HandleFunc("GET "+v3+"/rooms/{room}/joined_members", f.as(f.members))
	mux.HandleFunc("PUT "+v3+"/rooms/{room}/send/m.room.message/{txn}", f.as(f.send))
	mux.HandleFunc("POST "+v3+"/rooms/{room}/receipt/m.read/{event}", f.as(f.receipt))
	mux.HandleFunc("GET "+v3+"/rooms/{room}/messages", f.as(f.messages))
	mux.HandleFunc("GET "+v3+"/sync", f.as(f.sync))
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		u := ownUsage()
		fmt.Fprintf(w, "# HELP x\nprocess_cpu_seconds_total %f\nprocess_resident_memory_bytes 1e+08\ngo_memstats_heap_inuse_bytes 2e+07\n", (u.user + u.sys).Seconds())
	})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f.answered(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	f.t.Cleanup(srv.Close)
	return srv.URL
}

// answered is onRequest; what that panics with must not keep the lock.
func (f *fake) answered(w http.ResponseWriter, r *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.onRequest != nil && f.onRequest(w, r)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, code string) {
	reply(w, status, map[string]any{"errcode": code, "error": "no"})
}

func (f *fake) enter(w http.ResponseWriter, user string) {
	token := "tok-" + user + "-" + strconv.Itoa(len(f.users))
	f.users[token] = user
	reply(w, 200, user_(user, token))
}

func user_(id, token string) map[string]any {
	return map[string]any{"user_id": id, "access_token": token, "device_id": "D"}
}

func (f *fake) register(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct {
		Username, Password string
		Auth               struct{ Type, Session string }
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	switch {
	case f.uia && in.Auth.Session != "s1":
		reply(w, 401, map[string]any{"session": "s1", "flows": []any{map[string]any{"stages": []string{"m.login.dummy"}}}})
	case in.Auth.Type != "m.login.dummy" || in.Username == "" || in.Password == "":
		fail(w, 400, "M_UNKNOWN")
	case f.passwords[in.Username] != "":
		fail(w, 400, "M_USER_IN_USE")
	default:
		f.passwords[in.Username] = in.Password
		f.enter(w, "@"+in.Username+":fake")
	}
}

func (f *fake) login(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var in struct {
		Type, Password string
		Identifier     struct{ Type, User string }
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	if in.Type != "m.login.password" || f.passwords[in.Identifier.User] != in.Password {
		fail(w, 403, "M_FORBIDDEN")
		return
	}
	f.enter(w, "@"+in.Identifier.User+":fake")
}

// as answers 401 to unknown tokens.
func (f *fake) as(h func(user string, w http.ResponseWriter, r *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		u := f.users[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		f.mu.Unlock()
		if u == "" {
			fail(w, 401, "M_UNKNOWN_TOKEN")
			return
		}
		h(u, w, r)
	}
}

func (f *fake) createRoom(u string, w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rm := &fakeRoom{id: fmt.Sprintf("!room/%d:fake", len(f.rooms))} // the slash must be escaped in paths
	f.rooms[rm.id] = rm
	f.enterRoom(rm, u)
	reply(w, 200, map[string]any{"room_id": rm.id})
}

func (f *fake) enterRoom(rm *fakeRoom, u string) {
	if slices.Contains(rm.members, u) {
		return
	}
	rm.members = append(rm.members, u)
	e := fakeEvent{room: rm.id, id: fmt.Sprintf("$join-%s-%s", rm.id, u)}
	rm.log = append(rm.log, e)
	for _, m := range rm.members {
		f.views[m] = append(f.views[m], e)
	}
	f.wake()
}

func (f *fake) wake() {
	close(f.news)
	f.news = make(chan struct{})
}

func (f *fake) join(u string, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rm := f.rooms[r.PathValue("room")]
	if rm == nil {
		fail(w, 404, "M_NOT_FOUND")
		return
	}
	f.enterRoom(rm, u)
	reply(w, 200, map[string]any{"room_id": rm.id})
}

func (f *fake) members(_ string, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	joined := map[string]any{}
	for _, m := range f.rooms[r.PathValue("room")].members {
		joined[m] = map[string]any{}
	}
	reply(w, 200, map[string]any{"joined": joined})
}

func (f *fake) send(u string, w http.ResponseWriter, r *http.Request) {
	var in struct{ Body string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	f.mu.Lock()
	defer f.mu.Unlock()
	rm := f.rooms[r.PathValue("room")]
	if rm == nil || !slices.Contains(rm.members, u) {
		fail(w, 403, "M_FORBIDDEN")
		return
	}
	id, known := f.txns[u+r.URL.Path]
	if !known || f.forgetful {
		f.sends++
		n := f.sends
		e := fakeEvent{room: rm.id, id: fmt.Sprintf("$%d", n), body: in.Body}
		id = e.id
		f.txns[u+r.URL.Path] = id
		log := []fakeEvent{e}
		if f.onLog != nil {
			log = f.onLog(n, e)
		}
		rm.log = append(rm.log, log...)
		for _, m := range rm.members {
			view := []fakeEvent{e}
			if f.onView != nil {
				view = f.onView(m, n, e)
			}
			f.views[m] = append(f.views[m], view...)
		}
		f.wake()
		if f.onSend != nil && f.onSend(w, n) {
			return
		}
	}
	reply(w, 200, map[string]any{"event_id": id})
}

func (f *fake) receipt(_ string, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.receipts = append(f.receipts, r.PathValue("event"))
	reply(w, 200, map[string]any{})
}

func (e fakeEvent) json() map[string]any {
	if e.body == "" {
		return map[string]any{"event_id": e.id, "type": "m.room.member", "state_key": "", "content": map[string]any{"membership": "join"}}
	}
	return map[string]any{"event_id": e.id, "type": "m.room.message", "content": map[string]any{"msgtype": "m.text", "body": e.body}}
}

// messages has tokens "t<index>": between events index-1 and index of the log.
func (f *fake) messages(_ string, w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rm, q := f.rooms[r.PathValue("room")], r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	limit = min(limit, 7) // so that there are pages
	chunk, out := []any{}, map[string]any{}
	if q.Get("dir") == "f" {
		at := 0
		if q.Get("from") != "" {
			at, _ = strconv.Atoi(q.Get("from")[1:])
		}
		for ; at < len(rm.log) && len(chunk) < limit; at++ {
			chunk = append(chunk, rm.log[at].json())
		}
		if at < len(rm.log) {
			out["end"] = fmt.Sprintf("t%d", at)
		}
	} else {
		at, _ := strconv.Atoi(q.Get("from")[1:])
		for ; at > 0 && len(chunk) < limit; at-- {
			chunk = append(chunk, rm.log[at-1].json())
		}
		if at > 0 {
			out["end"] = fmt.Sprintf("t%d", at)
		}
	}
	out["chunk"] = chunk
	reply(w, 200, out)
}

// sync has tokens "s<index>" into the user's view.
func (f *fake) sync(u string, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since := 0
	if s := q.Get("since"); s != "" {
		since, _ = strconv.Atoi(s[1:])
	}
	wait, _ := strconv.Atoi(q.Get("timeout"))
	timeout := time.After(time.Duration(wait) * time.Millisecond)
	for {
		f.mu.Lock()
		view, news := f.views[u], f.news
		if len(view) > since || wait == 0 || q.Get("since") == "" {
			body := f.answer(u, view[since:], q.Get("filter"))
			body["next_batch"] = fmt.Sprintf("s%d", len(view))
			f.mu.Unlock()
			reply(w, 200, body)
			return
		}
		f.mu.Unlock()
		select {
		case <-news:
		case <-timeout:
			wait = 0
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fake) answer(u string, events []fakeEvent, filter string) map[string]any {
	var in struct {
		Room struct{ Timeline struct{ Limit int } }
	}
	if err := json.Unmarshal([]byte(filter), &in); err != nil {
		f.t.Errorf("the filter %q: %v", filter, err)
	}
	limit := in.Room.Timeline.Limit
	if f.limit > 0 {
		limit = f.limit
	}
	byRoom := map[string][]fakeEvent{}
	for _, e := range events {
		byRoom[e.room] = append(byRoom[e.room], e)
	}
	rooms := map[string]any{}
	for id, es := range byRoom {
		timeline := map[string]any{"limited": false}
		if len(es) > limit {
			es = es[len(es)-limit:]
			at := slices.IndexFunc(f.rooms[id].log, func(e fakeEvent) bool { return e.id == es[0].id })
			timeline["limited"], timeline["prev_batch"] = true, fmt.Sprintf("t%d", at)
		}
		list := []any{}
		for _, e := range es {
			list = append(list, e.json())
		}
		timeline["events"] = list
		rooms[id] = map[string]any{"timeline": timeline}
	}
	if f.onSync != nil {
		f.onSync(u, rooms)
	}
	return map[string]any{"rooms": map[string]any{"join": rooms}}
}
