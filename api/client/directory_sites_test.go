package client

import (
	"encoding/json"
	"fmt"
	"net/url"
	"testing"
)

// ask is call for what has to succeed once the site has caught up.
func (c *cluster) ask(i int, token, method, path, body string, out any) {
	c.t.Helper()
	eventually(c.t, method+" "+path, func() bool {
		w := c.call(i, token, method, path, body)
		if unavailable(w) {
			return false
		}
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil || w.Code != 200 {
			c.t.Fatalf("site %d: %s %s: %d %s", i, method, path, w.Code, w.Body)
		}
		return true
	})
}

// TestRoomsAreFoundAtAllSites: names, pages and replacements of rooms are good at every site at once.
func TestRoomsAreFoundAtAllSites(t *testing.T) {
	c := newCluster(t)
	amy, bob := c.user(0, "amy", "A"), c.user(1, "bob", "B")
	var room, joined struct {
		ID string `json:"room_id"`
	}
	for round := range 3 {
		name := fmt.Sprint("lobby", round)
		c.ask(round, amy, "POST", "/createRoom", `{"preset":"public_chat","visibility":"public","room_version":"11","room_alias_name":"`+name+`","creation_content":{"type":"m.space"}}`, &room)
		c.ask((round+1)%3, bob, "POST", "/join/%23"+name+":h", "", &joined)
		if joined != room {
			t.Errorf("bob joined %s, not %s", joined.ID, room.ID)
		}
		if w := c.call((round+2)%3, amy, "POST", "/createRoom", `{"room_alias_name":"`+name+`"}`); w.Code != 400 {
			t.Errorf("the alias was given twice: %d %s", w.Code, w.Body)
		}
	}
	// One page at each site.
	var page struct {
		Chunk []struct {
			ID string `json:"room_id"`
		}
		Next string `json:"next_batch"`
	}
	seen := map[string]bool{}
	c.settled()
	for i, since := 0, ""; ; i++ {
		page.Next = ""
		c.ask(i%3, bob, "GET", "/publicRooms?limit=1&since="+url.QueryEscape(since), "", &page)
		seen[page.Chunk[0].ID] = true
		if since = page.Next; since == "" {
			break
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d rooms were found", len(seen))
	}
	c.ask(0, amy, "PUT", "/rooms/"+url.PathEscape(room.ID)+"/state/m.space.child/"+url.PathEscape(joined.ID), `{"via":["h"]}`, &struct{}{})
	for other := range seen {
		c.ask(0, amy, "PUT", "/rooms/"+url.PathEscape(room.ID)+"/state/m.space.child/"+url.PathEscape(other), `{"via":["h"]}`, &struct{}{})
	}
	c.settled()
	var part struct {
		Rooms []struct {
			ID string `json:"room_id"`
		}
		Next string `json:"next_batch"`
	}
	seen = map[string]bool{}
	for i, from := 0, ""; ; i++ {
		part.Next = ""
		c.ask(i%3, bob, "GET", "/_matrix/client/v1/rooms/"+url.PathEscape(room.ID)+"/hierarchy?limit=1&from="+url.QueryEscape(from), "", &part)
		seen[part.Rooms[0].ID] = true
		if from = part.Next; from == "" {
			break
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d rooms were walked", len(seen))
	}
}

// TestAnUpgradeThoughItsSiteBurns: the site that was asked burns on the way; another one is asked, and there is one new room.
func TestAnUpgradeThoughItsSiteBurns(t *testing.T) {
	c := newCluster(t)
	amy := c.user(0, "amy", "A")
	var room struct {
		ID string `json:"room_id"`
	}
	c.ask(0, amy, "POST", "/createRoom", `{"name":"kept","room_version":"10","room_alias_name":"moves"}`, &room)
	upgrade := "/rooms/" + url.PathEscape(room.ID) + "/upgrade"
	asked := make(chan struct{})
	burning := c.sites[0]
	go func() {
		defer close(asked)
		c.call(0, amy, "POST", upgrade, `{"new_version":"12"}`)
	}()
	burning.journal.Crash()
	<-asked
	c.burn(0, 2)

	var first, again struct {
		Room string `json:"replacement_room"`
	}
	c.ask(1, amy, "POST", upgrade, `{"new_version":"12"}`, &first)
	for i := range c.sites {
		c.ask(i, amy, "POST", upgrade, `{"new_version":"12"}`, &again)
		if again != first {
			t.Errorf("site %d: %s, not %s", i, again.Room, first.Room)
		}
		var name struct{ Name string }
		c.ask(i, amy, "GET", "/rooms/"+url.PathEscape(first.Room)+"/state/m.room.name", "", &name)
		var to struct {
			ID string `json:"room_id"`
		}
		c.ask(i, amy, "GET", "/directory/room/%23moves:h", "", &to)
		var all struct {
			Joined []string `json:"joined_rooms"`
		}
		c.ask(i, amy, "GET", "/joined_rooms", "", &all)
		if name.Name != "kept" || to.ID != first.Room || len(all.Joined) != 2 {
			t.Errorf("site %d: %q, the alias leads to %s, amy is in %v", i, name.Name, to.ID, all.Joined)
		}
	}
}
