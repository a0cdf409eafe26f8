package client

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// TestModeration locks and suspends at one site, and looks at the others.
func TestModeration(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	root, amy, bob := c.user(0, "root", "R"), c.user(0, "amy", "PHONE"), c.user(0, "bob", "B")
	if err := c.sites[0].accounts.SetAdmin(t.Context(), "@root:h", true); err != nil {
		t.Fatal(err)
	}
	in := c.room(0, bob)
	c.must(0, amy, "POST", in+"/join", `{}`, nil)
	said := func(token, txn string) (event string) {
		var out struct {
			ID string `json:"event_id"`
		}
		c.must(0, token, "PUT", in+"/send/m.room.message/"+txn, `{"msgtype":"m.text","body":"x"}`, &out)
		return url.PathEscape(out.ID)
	}
	own, others := said(amy, "1"), said(bob, "1")
	var later struct {
		ID string `json:"delay_id"`
	}
	c.must(0, amy, "PUT", in+"/send/m.room.message/late?org.matrix.msc4140.delay=3600000", `{"msgtype":"m.text","body":"x"}`, &later)
	delayed := delayedAt + "/" + later.ID
	c.settled()

	const v1 = "/_matrix/client/v1/admin"
	var state struct{ Locked, Suspended *bool }
	c.must(1, root, "GET", v1+"/suspend/@amy:h", "", &state)
	c.must(1, root, "GET", v1+"/lock/@amy:h", "", &state)
	if state.Locked == nil || *state.Locked || state.Suspended == nil || *state.Suspended {
		t.Errorf("%+v", state)
	}
	for _, r := range []row{
		{"GET", "/lock/@amy:h", ``, 403, "M_FORBIDDEN"}, // amy asks: before anything is looked up
		{"GET", "/lock/@nobody:h", ``, 403, "M_FORBIDDEN"},
		{"PUT", "/suspend/@root:h", `{"suspended":true}`, 403, "M_FORBIDDEN"},
	} {
		expect(t, c.call(1, amy, r.method, v1+r.path, r.body), r.status, r.errcode)
	}
	for _, r := range []row{
		{"GET", "/lock/@nobody:h", ``, 404, "M_NOT_FOUND"},
		{"GET", "/lock/@amy:elsewhere", ``, 400, "M_INVALID_PARAM"},
		{"GET", "/lock/amy", ``, 400, "M_INVALID_PARAM"},
		{"PUT", "/lock/@root:h", `{"locked":true}`, 403, "M_FORBIDDEN"},
		{"PUT", "/suspend/@amy:h", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", "/lock/@amy:h", `{"locked":1}`, 400, "M_BAD_JSON"},
	} {
		expect(t, c.call(1, root, r.method, v1+r.path, r.body), r.status, r.errcode)
	}

	c.must(1, root, "PUT", v1+"/suspend/@amy:h", `{"suspended":true}`, nil)
	c.settled()
	for _, r := range []row{
		{"PUT", in + "/send/m.room.message/2", `{}`, 403, "M_USER_SUSPENDED"},
		{"PUT", in + "/state/m.room.topic/", `{}`, 403, "M_USER_SUSPENDED"},
		{"POST", in + "/join", `{}`, 403, "M_USER_SUSPENDED"},
		{"POST", in + "/invite", `{"user_id":"@root:h"}`, 403, "M_USER_SUSPENDED"},
		{"POST", "/createRoom", `{}`, 403, "M_USER_SUSPENDED"},
		{"PUT", "/profile/@amy:h/displayname", `{"displayname":"x"}`, 403, "M_USER_SUSPENDED"},
		{"PUT", in + "/redact/" + others + "/3", `{}`, 403, "M_USER_SUSPENDED"},
		{"PUT", in + "/redact/" + own + "/3", `{}`, 200, ""},
		{"PUT", in + "/send/m.room.message/later?org.matrix.msc4140.delay=3600000", `{}`, 403, "M_USER_SUSPENDED"},
		{"POST", delayed, `{"action":"send"}`, 403, "M_USER_SUSPENDED"},
		{"POST", delayed + "/restart", ``, 403, "M_USER_SUSPENDED"},
		{"PUT", "/presence/@amy:h/status", `{"presence":"online","status_msg":"x"}`, 403, "M_USER_SUSPENDED"},
		{"PUT", "/directory/room/" + url.PathEscape("#amys:h"), `{}`, 403, "M_USER_SUSPENDED"},
		{"GET", in + "/messages?dir=b", ``, 200, ""},
		{"GET", "/sync?timeout=0", ``, 200, ""},
		{"POST", "/login", `{"type":"m.login.password","user":"amy","password":"long enough"}`, 200, ""},
		{"POST", in + "/leave", `{}`, 200, ""},
	} {
		expect(t, c.call(2, amy, r.method, r.path, r.body), r.status, r.errcode)
	}
	expect(t, c.call(2, "", "POST", delayed+"/send", ``), 403, "M_USER_SUSPENDED") // by whom amy gave the id
	c.must(2, "", "POST", delayed+"/cancel", ``, nil)
	c.must(2, root, "PUT", v1+"/suspend/@amy:h", `{"suspended":false}`, nil)
	c.settled()
	c.must(0, amy, "POST", in+"/join", `{}`, nil)

	c.must(0, root, "PUT", v1+"/lock/@amy:h", `{"locked":true}`, nil)
	c.settled()
	for _, r := range []row{
		{"GET", "/sync?timeout=0", ``, 401, "M_USER_LOCKED"}, {"PUT", in + "/send/m.room.message/4", `{}`, 401, "M_USER_LOCKED"},
		{"POST", "/login", `{"type":"m.login.password","user":"amy","password":"long enough"}`, 401, "M_USER_LOCKED"},
	} {
		w := c.call(1, amy, r.method, r.path, r.body)
		expect(t, w, r.status, r.errcode)
		if !strings.Contains(w.Body.String(), `"soft_logout":true`) {
			t.Errorf("%s", w.Body)
		}
	}
	c.must(2, root, "PUT", v1+"/lock/@amy:h", `{"locked":false}`, nil)
	c.settled()
	c.must(1, amy, "GET", "/account/whoami", "", nil)
	c.must(2, root, "PUT", v1+"/lock/@amy:h", `{"locked":true}`, nil)
	c.settled()
	c.must(1, amy, "POST", "/logout/all", "", nil)

	for token, want := range map[string]bool{root: true, bob: false} {
		w := c.call(0, token, "GET", "/capabilities", "")
		if strings.Contains(w.Body.String(), `"m.account_moderation":{"suspend":true,"lock":true}`) != want {
			t.Errorf("%s", w.Body)
		}
	}
}

// TestWhoIs asks another site when and from where a device was seen.
func TestWhoIs(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy, bob := c.user(0, "amy", "PHONE"), c.user(0, "bob", "B")
	c.must(0, amy, "GET", "/sync?timeout=0", "", nil)
	const path = "/admin/whois/@amy:h"
	var out struct {
		User    string `json:"user_id"`
		Devices map[string]struct {
			Sessions []struct {
				Connections []struct {
					IP       string
					LastSeen int64 `json:"last_seen"`
				}
			}
		}
	}
	eventually(t, "the device was seen", func() bool {
		out.Devices = nil
		c.must(1, amy, "GET", path, "", &out)
		return len(out.Devices["PHONE"].Sessions[0].Connections) == 1
	})
	if got := out.Devices["PHONE"].Sessions[0].Connections[0]; got.IP != "192.0.2.1" || got.LastSeen == 0 || out.User != "@amy:h" {
		t.Errorf("%+v", out)
	}
	var device struct {
		IP string `json:"last_seen_ip"`
		At int64  `json:"last_seen_ts"`
	}
	if c.must(1, amy, "GET", "/devices/PHONE", "", &device); device.IP != "192.0.2.1" || device.At == 0 {
		t.Errorf("%+v", device)
	}
	expect(t, c.call(1, bob, "GET", path, ""), 403, "M_FORBIDDEN")
	if err := c.sites[0].accounts.SetAdmin(t.Context(), "@bob:h", true); err != nil {
		t.Fatal(err)
	}
	c.settled()
	c.must(1, bob, "GET", path, "", nil)
	expect(t, c.call(1, bob, "GET", "/admin/whois/@nobody:h", ""), 404, "M_NOT_FOUND")
}

// TestSuspensionNamesOperations finds operations that are called otherwise now.
func TestSuspensionNamesOperations(t *testing.T) {
	routes := fmt.Sprint(Routes(Endpoints{}))
	for _, op := range takingPart {
		if !strings.Contains(routes, "{"+op+" ") {
			t.Errorf("there is no operation %s", op)
		}
	}
}
