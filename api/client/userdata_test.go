package client

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bongsu/account"
	"bongsu/auth"
)

func TestDeviceEndpoints(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, device := aa.register(t, "amy")
	bobs, bobsDevice := aa.register(t, "bob")
	list := func() string {
		t.Helper()
		return fmt.Sprint(answer(t, aa.call(t, a, "GET", "/devices", "")))
	}
	if got := list(); got != "map[devices:[map[device_id:"+device+"]]]" {
		t.Error(got)
	}
	answer(t, aa.call(t, a, "PUT", "/devices/"+device, `{"display_name":"Phone <3"}`))
	answer(t, aa.call(t, a, "PUT", "/devices/"+device, `{}`))
	if got := aa.call(t, a, "GET", "/devices/"+device, "").Body.String(); got != `{"device_id":"`+device+`","display_name":"Phone <3"}` {
		t.Error(got)
	}
	for range 3 {
		answer(t, aa.call(t, "", "POST", "/login", `{"type":"m.login.password","user":"amy","password":"`+testPassword+`"}`))
	}
	const proof = `"auth":{"type":"m.login.password","password":"` + testPassword + `"}`
	aa.table(t, a, []row{
		{"GET", "/devices/NONE", ``, 404, "M_NOT_FOUND"},
		{"GET", "/devices/" + bobsDevice, ``, 404, "M_NOT_FOUND"},
		{"PUT", "/devices/NONE", `{"display_name":"x"}`, 404, "M_NOT_FOUND"},
		{"PUT", "/devices/NONE", `{}`, 404, "M_NOT_FOUND"},
		{"PUT", "/devices/" + device, `{"display_name":1}`, 400, "M_BAD_JSON"},
		{"PUT", "/devices/" + device, `{"display_name":"` + strings.Repeat("x", 256) + `"}`, 400, "M_INVALID_PARAM"},
		{"DELETE", "/devices/" + device, ``, 401, ""},
		{"DELETE", "/devices/" + device, `{}`, 401, ""},
		{"DELETE", "/devices/NONE", `{` + proof + `}`, 200, ""},
		{"DELETE", "/devices/" + bobsDevice, `{` + proof + `}`, 200, ""},
		{"DELETE", "/devices/" + device, `[]`, 400, "M_BAD_JSON"},
		{"POST", "/delete_devices", `{` + proof + `}`, 400, "M_MISSING_PARAM"},
		{"POST", "/delete_devices", `{"devices":"x"}`, 400, "M_BAD_JSON"},
		{"POST", "/delete_devices", `{"devices":[` + strings.Repeat(`"x",`, 1000) + `"x"]}`, 400, "M_INVALID_PARAM"},
		{"POST", "/delete_devices", `{"devices":[]}`, 401, ""},
	})
	asked(t, aa.call(t, a, "DELETE", "/devices/"+device, `{"auth":{"type":"m.login.password","password":"wrong"}}`), auth.Password, "M_FORBIDDEN")
	answer(t, aa.call(t, bobs, "GET", "/account/whoami", ""))
	var ids []string
	for _, d := range account.Devices(aa.accounts.Service.Rows(), "@amy:example.org") {
		if string(d.ID) != device {
			ids = append(ids, string(d.ID))
		}
	}
	body, err := json.Marshal(ids)
	if err != nil || len(ids) != 3 {
		t.Fatal(ids, err)
	}
	answer(t, aa.call(t, a, "POST", "/delete_devices", `{"devices":`+string(body)+`,`+proof+`}`))
	if got := list(); strings.Count(got, "device_id") != 1 {
		t.Error(got)
	}
	answer(t, aa.call(t, a, "DELETE", "/devices/"+device, `{`+proof+`}`))
	expect(t, aa.call(t, a, "GET", "/devices", ""), 401, "M_UNKNOWN_TOKEN")
}

func TestProfileEndpoints(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, _ := aa.register(t, "amy")
	const me = "/profile/@amy:example.org"
	if got := aa.call(t, "", "GET", me, "").Body.String(); got != "{}" {
		t.Error(got)
	}
	answer(t, aa.call(t, a, "PUT", me+"/displayname", `{"displayname":"Amy <3 \"x\" 에이미"}`))
	answer(t, aa.call(t, a, "PUT", me+"/avatar_url", `{"avatar_url":"mxc://example.org/abc"}`))
	answer(t, aa.call(t, a, "PUT", me+"/org.example.n", `{"org.example.n":{"a":[1,null]},"x":1}`))
	const want = `{"avatar_url":"mxc://example.org/abc","displayname":"Amy <3 \"x\" 에이미","org.example.n":{"a":[1,null]}}`
	for _, path := range []string{me, "/profile/%40amy%3Aexample.org"} {
		if got := aa.call(t, "", "GET", path, "").Body.String(); got != want {
			t.Error(got)
		}
	}
	if got := aa.call(t, "", "GET", me+"/displayname", "").Body.String(); got != `{"displayname":"Amy <3 \"x\" 에이미"}` {
		t.Error(got)
	}
	if n := aa.profiles.Load(); n != 2 {
		t.Errorf("%d changes were told, want 2", n)
	}
	answer(t, aa.call(t, a, "PUT", me+"/avatar_url", `{"avatar_url":null}`))
	aa.table(t, a, []row{
		{"GET", me + "/avatar_url", ``, 404, "M_NOT_FOUND"},
		{"GET", me + "/Nonsense", ``, 404, "M_NOT_FOUND"},
		{"GET", "/profile/@bob:example.org", ``, 404, "M_NOT_FOUND"},
		{"GET", "/profile/@amy:other.org/displayname", ``, 404, "M_NOT_FOUND"},
		{"GET", "/profile/amy", ``, 400, "M_INVALID_PARAM"},
		{"PUT", me + "/displayname", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", me + "/displayname", `{"displayname":1}`, 400, "M_BAD_JSON"},
		{"PUT", me + "/displayname", `"Amy"`, 400, "M_BAD_JSON"},
		{"PUT", me + "/displayname", `{`, 400, "M_NOT_JSON"},
		{"PUT", me + "/avatar_url", `{"avatar_url":"https://example.org"}`, 400, "M_INVALID_PARAM"},
		{"PUT", me + "/Nonsense", `{"Nonsense":1}`, 400, "M_INVALID_PARAM"},
		{"PUT", me + "/a." + strings.Repeat("b", 254), `{}`, 400, "M_KEY_TOO_LARGE"},
		{"PUT", me + "/org.example.big", `{"org.example.big":"` + strings.Repeat("x", 64<<10) + `"}`, 400, "M_PROFILE_TOO_LARGE"},
		{"PUT", me + "/org.example.big", `{"org.example.big":"` + strings.Repeat("x", 81<<10) + `"}`, 413, "M_TOO_LARGE"},
		{"PUT", "/profile/@bob:example.org/displayname", `{"displayname":"x"}`, 403, "M_FORBIDDEN"},
		{"DELETE", "/profile/@bob:example.org/displayname", ``, 403, "M_FORBIDDEN"},
		{"DELETE", me + "/Nonsense", ``, 400, "M_INVALID_PARAM"},
		{"DELETE", me + "/displayname", ``, 200, ""},
		{"DELETE", me + "/displayname", ``, 200, ""},
	})
	expect(t, aa.call(t, "", "PUT", me+"/displayname", `{"displayname":"x"}`), 401, "M_MISSING_TOKEN")
	if got := aa.call(t, "", "GET", me, "").Body.String(); got != `{"org.example.n":{"a":[1,null]}}` {
		t.Error(got)
	}
}

func TestAccountDataEndpoints(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, _ := aa.register(t, "amy")
	const me, room = "/user/@amy:example.org/account_data/", "/user/@amy:example.org/rooms/!r:example.org/account_data/"
	answer(t, aa.call(t, a, "PUT", me+"m.direct", `{ "@bob:example.org" : ["!r"], "<": 0.5 }`))
	answer(t, aa.call(t, a, "PUT", room+"m.tag", `{"tags":{"m.favourite":{"order":0.5}}}`))
	if got := aa.call(t, a, "GET", me+"m.direct", "").Body.String(); got != `{"@bob:example.org":["!r"],"<":0.5}` {
		t.Error(got)
	}
	if got := aa.call(t, a, "GET", room+"m.tag", "").Body.String(); got != `{"tags":{"m.favourite":{"order":0.5}}}` {
		t.Error(got)
	}
	// The rules can be read where they cannot be written.
	rules := answer(t, aa.call(t, a, "GET", me+"m.push_rules", ""))
	if fmt.Sprint(rules) != fmt.Sprint(answer(t, aa.call(t, a, "GET", "/pushrules/", ""))) {
		t.Errorf("%v", rules)
	}
	aa.table(t, a, []row{
		{"GET", me + "m.tag", ``, 404, "M_NOT_FOUND"},
		{"GET", room + "m.direct", ``, 404, "M_NOT_FOUND"},
		{"GET", room + "m.push_rules", ``, 404, "M_NOT_FOUND"},
		{"PUT", me + "m.push_rules", `{}`, 405, "M_BAD_JSON"},
		{"PUT", me + "m.fully_read", `{}`, 405, "M_BAD_JSON"},
		{"PUT", room + "m.fully_read", `{}`, 405, "M_BAD_JSON"},
		{"PUT", me + "x", `[]`, 400, "M_BAD_JSON"},
		{"PUT", me + "x", `x`, 400, "M_NOT_JSON"},
		{"PUT", me + "x", ``, 400, "M_NOT_JSON"},
		{"PUT", me + "x", `{"a":1,"a":2}`, 400, "M_BAD_JSON"},
		{"PUT", me + strings.Repeat("x", 256), `{}`, 400, "M_INVALID_PARAM"},
		{"PUT", me + "x", `{"a":"` + strings.Repeat("x", account.MaxContent) + `"}`, 413, "M_TOO_LARGE"},
		{"PUT", "/user/@bob:example.org/account_data/x", `{}`, 403, "M_FORBIDDEN"},
		{"GET", "/user/@bob:example.org/account_data/x", ``, 403, "M_FORBIDDEN"},
		{"PUT", "/user/@bob:example.org/rooms/!r/account_data/x", `{}`, 403, "M_FORBIDDEN"},
		{"GET", "/user/bob/account_data/x", ``, 400, "M_INVALID_PARAM"},
		{"PUT", "/user/@amy:example.org/rooms/r/account_data/x", `{}`, 400, "M_INVALID_PARAM"},
		{"GET", "/user/@amy:example.org/rooms/r/account_data/x", ``, 400, "M_INVALID_PARAM"},
	})
	expect(t, aa.call(t, "", "GET", me+"m.direct", ""), 401, "M_MISSING_TOKEN")
}

func TestFilterEndpoints(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, _ := aa.register(t, "amy")
	const me = "/user/@amy:example.org/filter"
	const filter = `{"event_fields":["content.body"],"event_format":"client","presence":{"types":[]},"room":{"include_leave":true,` +
		`"rooms":["!a"],"timeline":{"limit":10,"not_senders":["@x:y"],"contains_url":true},"state":{"lazy_load_members":true}},"x.y":1}`
	out := field(t, answer(t, aa.call(t, a, "POST", me, filter)), "filter_id")
	if again := field(t, answer(t, aa.call(t, a, "POST", me, filter)), "filter_id"); again != out {
		t.Errorf("%s and %s", out, again)
	}
	if got := aa.call(t, a, "GET", me+"/"+out, "").Body.String(); got != filter {
		t.Error(got)
	}
	aa.table(t, a, []row{
		{"POST", me, `{}`, 200, ""},
		{"POST", me, `[]`, 400, "M_BAD_JSON"},
		{"POST", me, ``, 400, "M_NOT_JSON"},
		{"POST", me, `{"room":[]}`, 400, "M_BAD_JSON"},
		{"POST", me, `{"room":{"timeline":{"limit":"10"}}}`, 400, "M_BAD_JSON"},
		{"POST", me, `{"room":{"timeline":{"limit":-1}}}`, 400, "M_BAD_JSON"},
		{"POST", me, `{"room":{"state":{"types":"m.room.member"}}}`, 400, "M_BAD_JSON"},
		{"POST", me, `{"event_format":"xml"}`, 400, "M_BAD_JSON"},
		{"POST", me, `{"x":"` + strings.Repeat("x", account.MaxFilter) + `"}`, 413, "M_TOO_LARGE"},
		{"POST", "/user/@bob:example.org/filter", `{}`, 403, "M_FORBIDDEN"},
		{"GET", "/user/@bob:example.org/filter/" + out, ``, 403, "M_FORBIDDEN"},
		{"GET", me + "/none", ``, 404, "M_NOT_FOUND"},
	})
}

func TestPushRuleEndpoints(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, _ := aa.register(t, "amy")
	const global = "/pushrules/global"
	all := answer(t, aa.call(t, a, "GET", "/pushrules/", ""))
	for _, path := range []string{global, global + "/"} {
		if got := answer(t, aa.call(t, a, "GET", path, "")); fmt.Sprint(got) != fmt.Sprint(all["global"]) {
			t.Errorf("%s: %v", path, got)
		}
	}
	get := func(path, want string) {
		t.Helper()
		if got := aa.call(t, a, "GET", global+path, "").Body.String(); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	answer(t, aa.call(t, a, "PUT", global+"/content/cake", `{"pattern":"cake*lie","actions":["notify"]}`))
	get("/content/cake", `{"actions":["notify"],"default":false,"enabled":true,"pattern":"cake*lie","rule_id":"cake"}`)
	answer(t, aa.call(t, a, "PUT", global+"/content/pie?after=cake", `{"pattern":"pie","actions":[]}`))
	answer(t, aa.call(t, a, "PUT", global+"/content/cake/enabled", `{"enabled":false}`))
	get("/content/cake/enabled", `{"enabled":false}`)
	answer(t, aa.call(t, a, "PUT", global+"/content/cake/actions", `{"actions":["notify",{"set_tweak":"highlight"}]}`))
	get("/content/cake/actions", `{"actions":["notify",{"set_tweak":"highlight"}]}`)
	answer(t, aa.call(t, a, "PUT", global+"/override/.m.rule.master/enabled", `{"enabled":true}`))
	get("/override/.m.rule.master/enabled", `{"enabled":true}`)
	answer(t, aa.call(t, a, "PUT", global+"/room/%21r%3Aexample.org", `{"actions":["dont_notify"]}`))
	get("/room/!r:example.org/actions", `{"actions":[]}`)
	// What is stored is what /sync will show.
	stored, _ := account.PushRules(aa.accounts.Service.Rows(), "@amy:example.org")
	if got := aa.call(t, a, "GET", "/pushrules/", "").Body.String(); got != string(stored) {
		t.Errorf("%s\n%s", got, stored)
	}
	answer(t, aa.call(t, a, "DELETE", global+"/content/pie", ""))
	aa.table(t, a, []row{
		{"GET", global + "/content/pie", ``, 404, "M_NOT_FOUND"},
		{"DELETE", global + "/content/pie", ``, 404, "M_NOT_FOUND"},
		{"PUT", global + "/content/pie/enabled", `{"enabled":true}`, 404, "M_NOT_FOUND"},
		{"PUT", global + "/content/pie/actions", `{"actions":[]}`, 404, "M_NOT_FOUND"},
		{"PUT", global + "/content/cake/enabled", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", global + "/content/cake/enabled", `{"enabled":"yes"}`, 400, "M_BAD_JSON"},
		{"PUT", global + "/content/cake/actions", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", global + "/content/cake/actions", `{"actions":["explode"]}`, 400, "M_INVALID_PARAM"},
		{"PUT", global + "/content/x", `{"actions":[]}`, 400, "M_MISSING_PARAM"},
		{"PUT", global + "/content/.x", `{"pattern":"x","actions":[]}`, 400, "M_INVALID_PARAM"},
		{"PUT", global + "/content/x?before=none", `{"pattern":"x","actions":[]}`, 400, "M_INVALID_PARAM"},
		{"PUT", global + "/nonsense/x", `{"actions":[]}`, 400, "M_INVALID_PARAM"},
		{"GET", global + "/nonsense/x", ``, 400, "M_INVALID_PARAM"},
		{"DELETE", global + "/override/.m.rule.master", ``, 400, "M_INVALID_PARAM"},
		{"GET", "/pushrules/local", ``, 404, "M_UNRECOGNIZED"},
	})
	expect(t, aa.call(t, "", "GET", "/pushrules/", ""), 401, "M_MISSING_TOKEN")
}
