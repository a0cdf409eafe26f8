package client

import (
	"net/url"
	"strings"
	"testing"
)

// TestErasedUserAtAllSites: amy has talked, and erases her account at a site. bob, who was there, goes on seeing all of it at every site;
// dan, who joins later, sees redacted copies however he asks, and so does eve, who came before the erasure and after the talk.
func TestErasedUserAtAllSites(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy, bob, cat := c.user(0, "amy", "A"), c.user(1, "bob", "B"), c.user(2, "cat", "C")
	dan, eve := c.user(1, "dan", "D"), c.user(2, "eve", "E")
	c.must(0, amy, "PUT", "/profile/@amy:h/displayname", `{"displayname":"Amy SECRET"}`, nil)
	var room struct {
		ID string `json:"room_id"`
	}
	c.must(0, amy, "POST", "/createRoom", `{"preset":"public_chat","name":"lobby","invite":["@bob:h"]}`, &room)
	in := "/rooms/" + url.PathEscape(room.ID)
	for _, token := range []string{bob, cat} {
		c.must(1, token, "POST", in+"/join", "{}", nil)
	}
	n := 0
	send := func(token, typ, body string) string {
		t.Helper()
		var out struct {
			ID string `json:"event_id"`
		}
		n++
		c.must(0, token, "PUT", in+"/send/"+typ+"/"+string(rune('a'+n)), body, &out)
		return out.ID
	}
	relates := func(body, rel, target string) string {
		return `{"body":"` + body + `","m.relates_to":{"rel_type":"` + rel + `","event_id":"` + target + `"},"m.new_content":{"body":"` + body + `"}}`
	}
	root := send(bob, "m.room.message", `{"body":"root"}`)
	said := send(amy, "m.room.message", `{"body":"SECRET"}`)
	reply := send(amy, "m.room.message", relates("SECRET reply", "m.thread", root))
	send(amy, "m.room.message", relates("SECRET edit", "m.replace", said))
	spam := send(bob, "m.room.message", `{"body":"spam"}`)
	c.must(0, amy, "PUT", in+"/redact/"+url.PathEscape(spam)+"/r", `{"reason":"SECRET reason"}`, nil)
	c.must(0, amy, "POST", in+"/kick", `{"user_id":"@cat:h","reason":"SECRET reason"}`, nil)
	c.must(2, eve, "POST", in+"/join", "{}", nil)

	in1 := "/_matrix/client/v1" + in
	queries := []string{in + "/messages?dir=b&limit=100", in + "/messages?dir=f&limit=100", in + "/event/" + url.PathEscape(said), in + "/event/" + url.PathEscape(spam),
		in + "/context/" + url.PathEscape(reply), in + "/state", in + "/state/m.room.member/@cat:h", in + "/state/m.room.member/@cat:h?format=event",
		in + "/members", in1 + "/relations/" + url.PathEscape(root), in1 + "/relations/" + url.PathEscape(said), in1 + "/threads",
		"/sync", "/sync?filter=" + url.QueryEscape(`{"room":{"timeline":{"limit":3}}}`), `/sync?full_state=true&use_state_after=true`}
	sees := func(who, token string, want bool) {
		t.Helper()
		for site := range c.sites {
			for _, q := range queries {
				w := c.call(site, token, "GET", q, "")
				if w.Code != 200 {
					t.Fatalf("GET %s: %d %s", q, w.Code, w.Body)
				}
				if strings.Contains(w.Body.String(), "SECRET") != want {
					t.Errorf("site %d, %s, GET %s: want the text shown: %t, got %s", site, who, q, want, w.Body)
				}
			}
		}
	}
	c.settled()
	sees("eve before", eve, true)
	c.must(2, amy, "POST", "/account/deactivate", `{"erase":true,"auth":{"type":"m.login.password","password":"long enough"}}`, nil)
	c.must(1, dan, "POST", in+"/join", "{}", nil)
	eventually(t, "amy leaves", func() bool {
		return strings.Contains(c.call(0, bob, "GET", in+"/state/m.room.member/@amy:h", "").Body.String(), `"leave"`)
	})
	c.settled()
	sees("bob", bob, true)
	sees("eve", eve, false)
	sees("dan", dan, false)
	for site := range c.sites {
		w := c.call(site, dan, "GET", in+"/event/"+url.PathEscape(said), "")
		if body := w.Body.String(); !strings.Contains(body, `"content":{}`) || strings.Contains(body, "redacted_because") || strings.Contains(body, "m.replace") {
			t.Errorf("site %d: the redacted copy is %s", site, body)
		}
		if w := c.call(site, dan, "GET", in+"/state/m.room.name", ""); w.Body.String() != `{"name":"lobby"}` {
			t.Errorf("site %d: the room's name, which is the room's, is %s", site, w.Body)
		}
		if w := c.call(site, dan, "POST", "/user_directory/search", `{"search_term":"amy"}`); strings.Contains(w.Body.String(), "@amy:h") {
			t.Errorf("site %d: the directory still has her: %s", site, w.Body)
		}
	}
}
