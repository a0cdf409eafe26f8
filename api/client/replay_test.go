package client

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
)

// replayer is a client that asks all sites the same, and goes on with the token of one of them.
type replayer struct {
	c      *cluster
	token  string
	asked  []string // queries with their tokens
	since  string
	rounds int
}

// plain is an answer without what depends on when and where it was asked: tokens, ages, and what is passing.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range []string{"next_batch", "age", "presence"} {
			delete(v, key)
		}
		if v["type"] == "m.typing" {
			return nil
		}
		for k, x := range v {
			if v[k] = plain(x); fmt.Sprint(v[k]) == "map[events:[]]" && k == "ephemeral" {
				delete(v, k)
			}
		}
	case []any:
		out := []any{}
		for _, x := range v {
			if x = plain(x); x != nil {
				out = append(out, x)
			}
		}
		return out
	}
	return v
}

// same asks all sites, and fails unless they say the same. It returns the tokens that they gave.
func (r *replayer) same(query string) (next []string) {
	r.c.t.Helper()
	want := ""
	for site := range r.c.sites {
		var out map[string]any
		r.c.must(site, r.token, "GET", "/sync?set_presence=offline&"+query, "", &out)
		next = append(next, out["next_batch"].(string)) //nolint:errcheck // or the test panics
		got, err := json.MarshalIndent(plain(out), "", " ")
		if err != nil {
			r.c.t.Fatal(err)
		}
		switch {
		case want == "":
			want = string(got)
		case string(got) != want:
			r.c.t.Fatalf("site %d answers %s with\n%s\nand the first one with\n%s", site, query, got, want)
		}
	}
	return next
}

// step asks in several ways, after something has happened.
func (r *replayer) step(what string) {
	r.c.t.Helper()
	r.c.t.Log(what)
	r.c.settled()
	since := ""
	if r.since != "" {
		since = "&since=" + url.QueryEscape(r.since)
	}
	var next []string
	for _, filter := range []string{
		`{"room":{"timeline":{"limit":2,"unread_thread_notifications":true},"include_leave":true}}`,
		`{"room":{"timeline":{"limit":50}}}`,
	} {
		for _, after := range []string{"false", "true"} {
			query := "filter=" + url.QueryEscape(filter) + "&use_state_after=" + after + since
			next = r.same(query)
			r.asked = append(r.asked, query)
		}
	}
	r.since = next[r.rounds%len(next)]
	r.rounds++
}

// TestReplay: whatever token a client comes with, all sites give it the same answer, at once and later.
func TestReplay(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy, cho := c.user(0, "amy", "AMY"), c.user(1, "cho", "CHO")
	ben := c.user(2, "ben", "BEN")
	r := &replayer{c: c, token: cho}
	var made struct {
		RoomID  string `json:"room_id"`
		EventID string `json:"event_id"`
	}
	txn := 0
	send := func(site int, token, content string) string {
		t.Helper()
		txn++
		c.must(site, token, "PUT", fmt.Sprintf("/rooms/%s/send/m.room.message/%d", url.PathEscape(made.RoomID), txn), content, &made)
		return made.EventID
	}
	do := func(site int, token, method, path, body string) {
		t.Helper()
		c.must(site, token, method, fmt.Sprintf(path, url.PathEscape(made.RoomID)), body, nil)
	}
	data := func(typ, content string) {
		c.must(1, cho, "PUT", "/user/@cho:h/account_data/"+typ, content, nil)
	}
	r.step("nothing")
	c.must(0, amy, "POST", "/createRoom", `{"preset":"public_chat","name":"lounge","invite":["@cho:h"]}`, &made)
	r.step("an invitation")
	do(1, cho, "POST", "/join/%s", `{}`)
	do(2, ben, "POST", "/join/%s", `{}`)
	r.step("joined")
	root := send(0, amy, `{"body":"root"}`)
	for i := range 5 {
		send(i%3, amy, fmt.Sprintf(`{"body":"%d","m.relates_to":{"rel_type":"m.thread","event_id":"%s"}}`, i, root))
	}
	last := send(2, ben, `{"body":"cho?","m.mentions":{"user_ids":["@cho:h"]}}`)
	r.step("a thread and a mention")
	do(1, cho, "POST", "/rooms/%s/receipt/m.read.private/"+url.PathEscape(last), `{"thread_id":"main"}`)
	do(0, amy, "POST", "/rooms/%s/receipt/m.read/"+url.PathEscape(last), `{}`)
	r.step("receipts")
	do(0, amy, "PUT", "/rooms/%s/state/m.room.topic", `{"topic":"a"}`)
	do(1, cho, "PUT", "/user/@cho:h/rooms/%s/tags/u.x", `{"order":0.5}`)
	r.step("a topic and a tag")
	data("m.ignored_user_list", `{"ignored_users":{"@ben:h":{}}}`)
	send(2, ben, `{"body":"unheard"}`)
	do(2, ben, "PUT", "/rooms/%s/state/m.room.member/@ben:h", `{"membership":"join","displayname":"Ben"}`)
	r.step("somebody is ignored")
	data("m.ignored_user_list", `{"ignored_users":{}}`)
	r.step("and no longer")
	do(1, cho, "POST", "/rooms/%s/leave", `{}`)
	send(0, amy, `{"body":"behind the back"}`)
	r.step("left")
	do(1, cho, "POST", "/join/%s", `{}`)
	send(0, amy, `{"body":"welcome back"}`)
	r.step("back")
	do(0, amy, "POST", "/rooms/%s/kick", `{"user_id":"@cho:h"}`)
	do(0, amy, "POST", "/rooms/%s/ban", `{"user_id":"@cho:h"}`)
	r.step("thrown out")
	for _, query := range r.asked {
		r.same(query)
	}
	t.Logf("%d tokens were good at all sites", len(r.asked))
}

// TestPresenceAtSites: who polls at one site is there for those who poll at the others.
func TestPresenceAtSites(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy, cho := c.user(0, "amy", "AMY"), c.user(1, "cho", "CHO")
	var made struct {
		RoomID string `json:"room_id"`
	}
	c.must(0, amy, "POST", "/createRoom", `{"preset":"public_chat"}`, &made)
	c.settled()
	c.must(1, cho, "POST", "/join/"+url.PathEscape(made.RoomID), `{}`, nil)
	c.settled()
	c.must(0, amy, "PUT", "/presence/@amy:h/status", `{"presence":"online","status_msg":"here"}`, nil)
	for site := range c.sites {
		eventually(t, "amy is seen to be online", func() bool {
			var out struct{ Presence, Status string }
			w := c.call(site, cho, "GET", "/presence/@amy:h/status", "")
			return w.Code == 200 && json.Unmarshal(w.Body.Bytes(), &out) == nil && out.Presence == "online"
		})
	}
	var out struct {
		Presence struct {
			Events []struct {
				Sender  string
				Content map[string]any
			}
		}
	}
	c.must(2, cho, "GET", "/sync?set_presence=offline", "", &out)
	if e := out.Presence.Events; len(e) != 1 || e[0].Sender != "@amy:h" || e[0].Content["status_msg"] != "here" {
		t.Errorf("%+v", out)
	}
}
