package client

import (
	"net/url"
	"strings"
	"testing"
)

// TestReplacedRoomsKeepWhatMembersHaveSet: bob has a favourite that is a direct chat with rules of its own. It is replaced, and he joins
// the new room at a site that burns at once.
func TestReplacedRoomsKeepWhatMembersHaveSet(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy, bob := c.user(0, "amy", "A"), c.user(1, "bob", "B")
	var old, next struct {
		ID string `json:"room_id"`
		To string `json:"replacement_room"`
	}
	c.must(0, amy, "POST", "/createRoom", `{"preset":"public_chat","room_version":"11"}`, &old)
	in := url.PathEscape(old.ID)
	for _, who := range []struct{ name, token string }{{"amy", amy}, {"bob", bob}} {
		c.must(1, who.token, "POST", "/rooms/"+in+"/join", "{}", nil)
		user := "/user/@" + who.name + ":h"
		c.must(1, who.token, "PUT", user+"/rooms/"+in+"/tags/m.favourite", `{"order":0.5}`, nil)
		c.must(1, who.token, "PUT", user+"/account_data/m.direct", `{"@x:h":["`+old.ID+`"]}`, nil)
		c.must(1, who.token, "PUT", "/pushrules/global/room/"+in, `{"actions":["notify"]}`, nil)
		c.must(1, who.token, "PUT", "/pushrules/global/override/"+in,
			`{"actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"`+old.ID+`"}]}`, nil)
	}
	c.settled()
	c.must(0, amy, "POST", "/rooms/"+in+"/upgrade", `{"new_version":"12"}`, &next)
	to := url.PathEscape(next.To)
	c.must(1, bob, "POST", "/rooms/"+to+"/join", "{}", nil)
	c.burn(1, 2)
	for _, who := range []struct{ name, token string }{{"amy", amy}, {"bob", bob}} {
		user := "/user/@" + who.name + ":h"
		for path, want := range map[string]string{
			user + "/rooms/" + to + "/tags":    `{"tags":{"m.favourite":{"order":0.5}}}`,
			user + "/account_data/m.direct":    `{"@x:h":["` + old.ID + `","` + next.To + `"]}`,
			"/pushrules/global/room/" + to:     `"enabled":true`,
			"/pushrules/global/override/" + to: `"pattern":"` + next.To + `"`,
			"/pushrules/global/override/" + in: `"pattern":"` + old.ID + `"`,
			user + "/rooms/" + in + "/tags":    `"m.favourite"`,
		} {
			eventually(t, who.name+": GET "+path+": "+want, func() bool {
				return strings.Contains(c.call(2, who.token, "GET", path, "").Body.String(), want)
			})
		}
	}
}
