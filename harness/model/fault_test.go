package model_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bongsu/harness/model"
)

// faulty is a server with a fault: it stands before the real one and makes of its answers what a server would say that has read the
// specification wrong.
type faulty struct {
	http.Handler
	after    func(f *faulty, r *http.Request, w *httptest.ResponseRecorder) // may change the answer
	creators map[string]string                                              // of rooms: their access tokens
	contents map[string]any                                                 // of events, as they were sent
	planted  int                                                            // how often the answer was wrong
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		panic(err)
	}
	r.Body = http.NoBody
	inner := r.Clone(r.Context())
	inner.Body = readCloser{bytes.NewReader(body.Bytes())}
	got := httptest.NewRecorder()
	f.Handler.ServeHTTP(got, inner)
	out := object(got)
	if id, ok := out["room_id"].(string); ok && strings.HasSuffix(r.URL.Path, "/createRoom") {
		f.creators[id] = r.Header.Get("Authorization")
	}
	if id, ok := out["event_id"].(string); ok && r.Method == http.MethodPut {
		var content any
		if err := json.Unmarshal(body.Bytes(), &content); err == nil {
			f.contents[id] = content
		}
	}
	f.after(f, r, got)
	w.WriteHeader(got.Code)
	w.Write(got.Body.Bytes())
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func object(w *httptest.ResponseRecorder) model.Content {
	var out model.Content
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		return nil
	}
	return out
}

// say replaces the answer.
func (f *faulty) say(w *httptest.ResponseRecorder, status int, body any) {
	f.planted++
	w.Code = status
	w.Body = bytes.NewBufferString(model.JSON(body))
}

// inRoom is the room that a path names, and what comes after.
func inRoom(r *http.Request) (id, rest string) {
	_, in, _ := strings.Cut(r.URL.Path, "/rooms/")
	id, rest, _ = strings.Cut(in, "/")
	return id, rest
}

// ask asks as the creator of the room that the request is about.
func (f *faulty) ask(r *http.Request, path string) *httptest.ResponseRecorder {
	id, _ := inRoom(r)
	if _, in, ok := strings.Cut(r.URL.Path, "/knock/"); ok {
		id = in
	}
	q := httptest.NewRequestWithContext(r.Context(), "GET", "/_matrix/client/v3/rooms/"+id+"/"+path, http.NoBody)
	q.Header.Set("Authorization", f.creators[id])
	w := httptest.NewRecorder()
	f.Handler.ServeHTTP(w, q)
	return w
}

// walk visits all events of an answer.
func walk(v any, visit func(model.Content)) {
	switch v := v.(type) {
	case model.Content:
		if _, ok := v["event_id"].(string); ok {
			visit(v)
		}
		for _, inner := range v {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walk(inner, visit)
		}
	}
}

// timelines calls visit with each timeline of an answer of /sync.
func timelines(out model.Content, visit func(model.Content)) {
	rooms, _ := out["rooms"].(model.Content)
	join, _ := rooms["join"].(model.Content)
	for _, r := range join {
		r, _ := r.(model.Content)
		if t, ok := r["timeline"].(model.Content); ok {
			visit(t)
		}
	}
}

// faults that a server might have.
var faults = map[string]func(f *faulty, r *http.Request, w *httptest.ResponseRecorder){
	"visibility joined is read as shared": func(f *faulty, r *http.Request, w *httptest.ResponseRecorder) {
		_, rest := inRoom(r)
		if r.Method != http.MethodGet || w.Code != http.StatusNotFound || !strings.HasPrefix(rest, "event/") {
			return
		}
		if object(f.ask(r, "state/m.room.history_visibility"))["history_visibility"] != "joined" {
			return
		}
		if all := f.ask(r, rest); all.Code == http.StatusOK {
			f.say(w, all.Code, object(all))
		}
	},
	"a redaction keeps the content": func(f *faulty, r *http.Request, w *httptest.ResponseRecorder) {
		out, changed := object(w), false
		walk(out, func(e model.Content) {
			unsigned, _ := e["unsigned"].(model.Content)
			id, _ := e["event_id"].(string)
			if content := f.contents[id]; content != nil && unsigned["redacted_because"] != nil && r.Method == http.MethodGet {
				e["content"], changed = content, true
			}
		})
		if changed {
			f.say(w, w.Code, out)
		}
	},
	"a token is one event too far": func(f *faulty, r *http.Request, w *httptest.ResponseRecorder) {
		out, changed := object(w), false
		if r.URL.Query().Get("since") == "" {
			return
		}
		timelines(out, func(t model.Content) {
			if events, _ := t["events"].([]any); len(events) > 1 && !changed {
				t["events"], changed = events[:len(events)-1], true
			}
		})
		if changed {
			f.say(w, w.Code, out)
		}
	},
	"a gap is not told of": func(f *faulty, _ *http.Request, w *httptest.ResponseRecorder) {
		out, changed := object(w), false
		timelines(out, func(t model.Content) {
			changed = changed || t["limited"] == true
			t["limited"] = false
		})
		if changed {
			f.say(w, w.Code, out)
		}
	},
	"who is banned may knock": func(f *faulty, r *http.Request, w *httptest.ResponseRecorder) {
		in, who, ok := strings.Cut(r.URL.Path, "/knock/")
		if !ok || w.Code != http.StatusForbidden || in == "" {
			return
		}
		q := httptest.NewRequestWithContext(r.Context(), "GET", "/_matrix/client/v3/account/whoami", http.NoBody)
		q.Header.Set("Authorization", r.Header.Get("Authorization"))
		me := httptest.NewRecorder()
		f.Handler.ServeHTTP(me, q)
		user, _ := object(me)["user_id"].(string)
		if object(f.ask(r, "state/m.room.member/"+user))["membership"] == "ban" {
			f.say(w, http.StatusOK, model.Content{"room_id": who})
		}
	},
	"who has left reads the state of today": func(f *faulty, r *http.Request, w *httptest.ResponseRecorder) {
		if _, rest := inRoom(r); r.Method != http.MethodGet || rest != "state" || w.Code != http.StatusOK {
			return
		}
		if all := f.ask(r, "state"); all.Code == http.StatusOK && all.Body.String() != w.Body.String() {
			var now any
			if err := json.Unmarshal(all.Body.Bytes(), &now); err == nil {
				f.say(w, http.StatusOK, now)
			}
		}
	},
	"members are loaded too lazily": func(f *faulty, r *http.Request, w *httptest.ResponseRecorder) {
		if !strings.Contains(r.URL.RawQuery, "lazy_load_members") || !strings.HasSuffix(r.URL.Path, "/sync") {
			return
		}
		out, changed := object(w), false
		rooms, _ := out["rooms"].(model.Content)
		join, _ := rooms["join"].(model.Content)
		for _, in := range join {
			in, _ := in.(model.Content)
			state, _ := in["state"].(model.Content)
			events, _ := state["events"].([]any)
			var kept []any
			for _, e := range events {
				if c, _ := e.(model.Content); c["type"] == "m.room.member" {
					changed = true
				} else {
					kept = append(kept, e)
				}
			}
			if state != nil {
				state["events"] = kept
			}
		}
		if changed {
			f.say(w, w.Code, out)
		}
	},
}

// plant is a setting with a fault.
func plant(name string) (s setting, f *faulty) {
	f = &faulty{after: faults[name]}
	return setting{seed: 1, users: 8, rooms: 4, wrap: func(h http.Handler) http.Handler {
		f.Handler, f.creators, f.contents = h, map[string]string{}, map[string]any{}
		return f
	}}, f
}

// find takes steps until the model finds something wrong.
func find(t *testing.T, s setting, f *faulty) (wrong string, steps []int) {
	t.Helper()
	const most = 6000
	x := newRun(t, s)
	for step := 0; step < most && wrong == ""; step++ {
		steps = append(steps, step)
		wrong = x.do(step)
	}
	switch {
	case wrong == "":
		t.Fatalf("not found in %d steps, though the answer was wrong %d times", most, f.planted)
	case f.planted == 0:
		t.Fatalf("something else is wrong: %s", wrong)
	}
	t.Logf("found in %d steps: %s", len(steps), wrong)
	return wrong, steps
}

// TestFaults: the model finds what a server gets wrong.
func TestFaults(t *testing.T) {
	for name := range faults {
		t.Run(name, func(t *testing.T) {
			s, f := plant(name)
			find(t, s, f)
		})
	}
}

// TestShrink: of the steps that show a fault few are left.
func TestShrink(t *testing.T) {
	s, f := plant("visibility joined is read as shared")
	_, steps := find(t, s, f)
	wrong, x := shrink(t, s, steps, time.Minute)
	t.Logf("%s\n%s", wrong, strings.Join(x.trace, "\n"))
	if wrong == "" || len(x.trace) > 20 {
		t.Errorf("%d requests show it: %q", len(x.trace), wrong)
	}
}
