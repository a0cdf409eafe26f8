package harness_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bongsu/api/admin"
	"bongsu/api/client"
	"bongsu/harness"
)

// The route table with its types, so that a new route is tested from the day on which it is there.
var (
	routes = client.Routes(client.Endpoints{})
	// plain are routes that answer in words of their own, not in errcodes.
	plain = []string{"metrics"}
	// pages are for browsers: they answer people, in HTML, but for requests that no link makes.
	pages = []string{"confirmationPage", "confirm", "fallbackPage", "passFallback"}
	// final are operations that end a session or an account when they work: each gets a session of its own.
	final = []string{"logout", "logout_all", "deactivateAccount", "changePassword", "deleteDevice", "deleteDevices"}
	// uploads take bytes, not JSON.
	uploads = []string{"uploadContent", "uploadContentToMXC"}
	// bodyless are operations that change something and take no body, and those that refuse everything: what comes with them is not looked at.
	bodyless = []string{"logout", "logout_all", "createContent", "forgetRoom", "actOnDelayedEvent", "confirm", "passFallback", "bind3PID",
		"requestTokenToRegisterMSISDN", "requestTokenToResetPasswordMSISDN", "requestTokenTo3PIDMSISDN"}
)

// abused is a server that is about to be treated badly.
type abused struct {
	t      *testing.T
	s      *harness.Server
	log    *log
	anna   *harness.Client   // an administrator
	spare  *harness.Client   // of anna too
	bela   *harness.Client   // whom administrators moderate
	values map[string]string // for the path: parameter to a value that exists
	bodies map[string]string // for the operations with a body: one that would work
	kind   string            // Content-Type of the requests; empty for none
	http   *http.Client
	n      int
}

func newAbused(t *testing.T) *abused {
	t.Helper()
	a := &abused{t: t, http: &http.Client{Transport: newJudge(t), Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}}
	data := filepath.Join(t.TempDir(), "data")
	a.s, a.log = startLogged(t, data, "--registration-tokens")
	t.Cleanup(a.http.CloseIdleConnections)
	a.spare = harness.NewClientOver(a.s.URL(), newJudge(t))
	t.Cleanup(a.spare.Close)
	a.anna = user(t, a.s, "anna")
	bela := user(t, a.s, "bela")
	a.bela = bela
	ctx, yes := t.Context(), true
	if err := admin.NewClient(filepath.Join(data, "admin.sock")).ChangeUser(ctx, "anna", admin.Change{Admin: &yes}); err != nil {
		t.Fatal(err)
	}
	room, err := a.anna.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	event, err := a.anna.Send(ctx, room, "m.room.message", "first", map[string]string{"body": "x", "msgtype": "m.text"})
	if err != nil {
		t.Fatal(err)
	}
	media, err := a.anna.Upload(ctx, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	a.values = map[string]string{
		"roomId": room, "roomIdOrAlias": room, "userId": a.anna.User, "deviceId": a.anna.Device, "keyName": "displayname",
		"type": "org.bongsu.x", "filterId": "0", "kind": "override", "ruleId": "mine", "eventType": "org.bongsu.x", "stateKey": "",
		"txnId": "t", "tag": "u.x", "eventId": event, "receiptType": "m.read", "serverName": "localhost", "fileName": "x.txt",
		"mediaId": strings.TrimPrefix(media, "mxc://localhost/"), "roomAlias": "#some:localhost", "delayId": "none", "action": "cancel",
		"relType": "m.thread", "authType": "m.login.registration_token", "version": "1", "sessionId": "s",
	}
	device := fmt.Sprintf(`{"user_id": %q, "device_id": %q, "algorithms": ["m.megolm.v1.aes-sha2"],
		"keys": {"curve25519:%[2]s": "AAAA"}, "signatures": {}}`, a.anna.User, a.anna.Device)
	const kept = `{"first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": {"ciphertext": "x"}}`
	a.bodies = map[string]string{
		"register":                     `{"username": "c", "password": "long enough", "device_id": "D", "initial_device_display_name": "d", "inhibit_login": true}`,
		"login":                        `{"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "anna"}, "password": "wrong one", "device_id": "D"}`,
		"refresh":                      `{"refresh_token": "x"}`,
		"generateLoginToken":           `{"auth": {"type": "m.login.password", "session": "x"}}`,
		"changePassword":               `{"new_password": "long enough", "logout_devices": false, "auth": {"type": "m.login.password", "session": "x"}}`,
		"deactivateAccount":            `{"auth": {"type": "m.login.password", "session": "x"}, "erase": false}`,
		"add3PID":                      `{"sid": "s", "client_secret": "secret", "auth": {"type": "m.login.password", "session": "x"}}`,
		"post3PIDs":                    `{"three_pid_creds": {"sid": "s", "client_secret": "secret"}, "auth": {"type": "m.login.password", "session": "x"}}`,
		"requestOpenIdToken":           `{}`,
		"delete3pidFromAccount":        `{"medium": "email", "address": "anna@localhost.example"}`,
		"unbind3pidFromAccount":        `{"medium": "email", "address": "anna@localhost.example"}`,
		"setAdminLockUser":             `{"locked": false}`,
		"setAdminSuspendUser":          `{"suspended": false}`,
		"reportRoom":                   `{"reason": "r"}`,
		"reportEvent":                  `{"reason": "r"}`,
		"reportUser":                   `{"reason": "r"}`,
		"updateDevice":                 `{"display_name": "d"}`,
		"deleteDevice":                 `{"auth": {"type": "m.login.password", "session": "x"}}`,
		"deleteDevices":                `{"devices": ["D"], "auth": {"type": "m.login.password"}}`,
		"setProfileField":              `{"displayname": "Anna"}`,
		"setAccountData":               `{"a": 1}`,
		"setAccountDataPerRoom":        `{"a": 1}`,
		"defineFilter":                 `{"room": {"timeline": {"limit": 5, "types": ["m.*"]}, "rooms": ["` + room + `"]}, "event_fields": ["type"]}`,
		"setPushRule":                  `{"actions": ["notify"], "conditions": [{"kind": "event_match", "key": "type", "pattern": "m.*"}]}`,
		"setPushRuleEnabled":           `{"enabled": true}`,
		"setPushRuleActions":           `{"actions": ["notify", {"set_tweak": "sound", "value": "x"}]}`,
		"createRoom":                   `{"name": "n", "topic": "t", "preset": "private_chat", "visibility": "private", "invite": ["` + bela.User + `"], "is_direct": true, "room_version": "12", "creation_content": {"x": 1}, "power_level_content_override": {"users_default": 1}, "initial_state": [{"type": "x", "state_key": "", "content": {}}]}`,
		"joinRoom":                     `{"reason": "r"}`,
		"knockRoom":                    `{"reason": "r"}`,
		"joinRoomById":                 `{"reason": "r"}`,
		"leaveRoom":                    `{"reason": "r"}`,
		"inviteUser":                   `{"user_id": "` + bela.User + `", "reason": "r"}`,
		"kick":                         `{"user_id": "` + bela.User + `", "reason": "r"}`,
		"ban":                          `{"user_id": "` + bela.User + `", "reason": "r"}`,
		"unban":                        `{"user_id": "` + bela.User + `", "reason": "r"}`,
		"setRoomStateWithKey":          `{"a": 1}`,
		"sendMessage":                  `{"a": 1}`,
		"redactEvent":                  `{"reason": "r"}`,
		"postReceipt":                  `{"thread_id": "main"}`,
		"setReadMarker":                `{"m.fully_read": "` + event + `", "m.read": "` + event + `", "m.read.private": "` + event + `"}`,
		"uploadKeys":                   `{"device_keys": ` + device + `, "one_time_keys": {"signed_curve25519:A": {"key": "x", "signatures": {}}}, "fallback_keys": {}}`,
		"queryKeys":                    `{"device_keys": {"` + a.anna.User + `": []}, "timeout": 10}`,
		"claimKeys":                    `{"one_time_keys": {"` + a.anna.User + `": {"` + a.anna.Device + `": "signed_curve25519"}}, "timeout": 10}`,
		"uploadCrossSigningKeys":       `{"master_key": {"user_id": "` + a.anna.User + `", "usage": ["master"], "keys": {"ed25519:A": "A"}}}`,
		"uploadCrossSigningSignatures": `{"` + a.anna.User + `": {"` + a.anna.Device + `": ` + device + `}}`,
		"sendToDevice":                 `{"messages": {"` + bela.User + `": {"*": {"a": 1}}}}`,
		"setRoomAlias":                 `{"room_id": "` + room + `"}`,
		"setRoomVisibilityOnDirectory": `{"visibility": "private"}`,
		"queryPublicRooms":             `{"limit": 5, "filter": {"generic_search_term": "x", "room_types": ["m.space"]}}`,
		"upgradeRoom":                  `{"new_version": "12"}`,
		"searchUserDirectory":          `{"search_term": "a", "limit": 5}`,
		"updateDelayedEvent":           `{"action": "cancel"}`,
		"postRoomKeysVersion":          `{"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "x", "signatures": {}}}`,
		"putRoomKeysVersion":           `{"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "y", "signatures": {}}}`,
		"putRoomKeys":                  `{"rooms": {"` + room + `": {"sessions": {"s": ` + kept + `}}}}`,
		"putRoomKeysByRoomId":          `{"sessions": {"s": ` + kept + `}}`,
		"putRoomKeyBySessionId":        kept,
		"setPresence":                  `{"presence": "online", "status_msg": "x"}`,
		"setRoomTag":                   `{"order": 0.5}`,
		"setTyping":                    `{"typing": true, "timeout": 1000}`,
	}
	for _, purpose := range []string{"ToRegister", "ToResetPassword", "To3PID"} {
		a.bodies["requestToken"+purpose+"Email"] = `{"client_secret": "secret", "email": "anna@localhost.example", "send_attempt": 1, "next_link": "https://localhost/"}`
	}
	return a
}

// path is a route's path with its parameters filled in, one of them as given.
func (a *abused) path(r client.Route, param, value string) string {
	path := strings.TrimSuffix(r.Path, "{$}")
	for name, v := range a.values {
		if name == "txnId" {
			a.n++
			v = fmt.Sprintf("t%d", a.n)
		}
		if name == "userId" && strings.Contains(r.Path, "/admin/") {
			v = a.bela.User
		}
		v = url.PathEscape(v)
		if name == param {
			v = value
		}
		path = strings.ReplaceAll(path, "{"+name+"}", v)
	}
	if strings.Contains(path, "{") {
		a.t.Fatalf("%s: no value for a parameter of %s", r.Op, path)
	}
	return path
}

// params are the names of a route's parameters.
func params(r client.Route) []string {
	var names []string
	for name := range strings.SplitSeq(r.Path, "/") {
		if strings.HasPrefix(name, "{") && name != "{$}" {
			names = append(names, strings.Trim(name, "{}"))
		}
	}
	return names
}

// token is the access token for a request. What may end a session gets one that nothing else needs.
func (a *abused) token(r client.Route) string {
	if !slices.Contains(final, r.Op) {
		return a.anna.Token
	}
	path := harness.Path("v3", "account", "whoami")
	if a.spare.Token == "" || a.spare.Do(a.t.Context(), http.MethodGet, path, nil, nil) != nil {
		if err := a.spare.Login(a.t.Context(), "anna", "password of anna"); err != nil {
			a.t.Fatal(err)
		}
	}
	return a.spare.Token
}

// ask makes a request and checks what holds for every answer: no fault of the server, and errors in their form.
func (a *abused) ask(r client.Route, path, token string, body []byte) (status int, errcode string) {
	a.t.Helper()
	what := fmt.Sprintf("%s: %s %.200s with %.120q", r.Op, r.Method, path, body)
	req, err := http.NewRequestWithContext(a.t.Context(), r.Method, a.s.URL()+path, bytes.NewReader(body))
	if err != nil {
		a.t.Fatalf("%s: %v", what, err)
	}
	if token != "" {
		req.Header["Authorization"] = []string{"Bearer " + token}
	}
	if a.kind != "" {
		req.Header["Content-Type"] = []string{a.kind}
	}
	resp, err := a.http.Do(req)
	if err != nil {
		a.t.Errorf("%s: %v", what, err)
		return 0, ""
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Errorf("%s: %v", what, err)
	}
	resp.Body.Close()
	page := slices.Contains(pages, r.Op) && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html;") && resp.StatusCode/100 == 4
	if resp.StatusCode/100 == 2 || page {
		return resp.StatusCode, ""
	}
	var e struct {
		Errcode, Error string
		Flows          []any
	}
	if err := json.Unmarshal(text, &e); err != nil && r.Method != http.MethodHead {
		a.t.Errorf("%s: %d and no JSON: %.200q", what, resp.StatusCode, text)
	}
	if !strings.HasPrefix(e.Errcode, "M_") && !(resp.StatusCode == 401 && len(e.Flows) > 0) || e.Errcode != "" && e.Error == "" {
		a.t.Errorf("%s: %d without errcode or words: %.200q", what, resp.StatusCode, text)
	}
	if resp.StatusCode/100 != 4 {
		a.t.Errorf("%s: %d %s %s", what, resp.StatusCode, e.Errcode, e.Error)
	}
	return resp.StatusCode, e.Errcode
}

// sound checks that the server has taken all of it in good health.
func (a *abused) sound() {
	a.t.Helper()
	var status struct {
		Writes   string
		Failures int
		Refused  int
	}
	if err := a.anna.Do(a.t.Context(), "GET", "/_bongsu/status", nil, &status); err != nil || status.Writes != "ok" || status.Failures != 0 || status.Refused != 0 {
		a.t.Errorf("status afterwards: %+v, %v", status, err)
	}
	if _, err := a.anna.Sync(a.t.Context(), "", 0, ""); err != nil {
		a.t.Errorf("sync afterwards: %v", err)
	}
	for line := range strings.Lines(a.log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			a.t.Errorf("in the log: %s", line)
		}
	}
}

func hasBody(r client.Route) bool {
	return (r.Method == "POST" || r.Method == "PUT" || r.Op == "deleteDevice") && !slices.Contains(uploads, r.Op) && !slices.Contains(bodyless, r.Op)
}

func TestBadInputBodies(t *testing.T) {
	a := newAbused(t)
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for name, body := range map[string]string{
		"half":                "{",
		"words":               "hello",
		"list":                "[]",
		"list of objects":     "[{}]",
		"string":              `"text"`,
		"number":              "12",
		"null":                "null",
		"two objects":         "{}{}",
		"trailing text":       "{} x",
		"single quotes":       "{'a': 1}",
		"comment":             "{/**/}",
		"trailing comma":      `{"a":1,}`,
		"duplicated key":      `{"a":1,"a":2}`,
		"duplicate by escape": `{"a":1,"\u0061":2}`,
		"duplicate inside":    `{"x":[{"a":1,"a":1}]}`,
		"invalid UTF-8":       "{\"a\":\"\xff\"}",
		"invalid UTF-8 key":   "{\"\xc0\xaf\":1}",
		"UTF-8 surrogate":     "{\"a\":\"\xed\xa0\x80\"}",
		"lone surrogate":      `{"a":"\ud800"}`,
		"NUL byte":            "{\"a\":\"\x00\"}",
		"NUL between":         "{\x00}",
		"control character":   "{\"a\":\"\x01\"}",
		"byte order mark":     "\ufeff{}",
		"UTF-16":              "\xfe\xff\x00{\x00}",
		"not a number":        `{"a":NaN}`,
		"leading zero":        `{"a":01}`,
		"hexadecimal":         `{"a":0x1}`,
		"bad escape":          `{"a":"\x"}`,
		"deep":                deep(10_000),
		"deep list":           `{"a":` + strings.Repeat("[", 100_000),
		"large":               `{"a":"` + strings.Repeat("x", 5<<20) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := *a
			b.t = t
			for _, r := range routes {
				if !hasBody(r) {
					continue
				}
				status, code := b.ask(r, b.path(r, "", ""), b.token(r), []byte(body))
				if status/100 == 2 {
					t.Errorf("%s took it", r.Op)
				}
				if want := wantCode(name); code != "" && !slices.Contains(want, code) {
					t.Errorf("%s: %d %s, want one of %v", r.Op, status, code, want)
				}
			}
		})
	}
	a.sound()
}

// wantCode says how a body is refused that is bad in this way.
func wantCode(name string) []string {
	switch name {
	case "large":
		return []string{"M_TOO_LARGE"}
	case "deep", "deep list": // some bodies are over their limit before they are too deep
		return []string{"M_BAD_JSON", "M_NOT_JSON", "M_TOO_LARGE"}
	}
	return []string{"M_BAD_JSON", "M_NOT_JSON"}
}

// TestBadInputTypes takes a body that would work and puts into each of its places what does not belong there.
func TestBadInputTypes(t *testing.T) {
	a := newAbused(t)
	wrong := []string{`null`, `true`, `-1`, `1.5`, `1e99`, `9007199254740993`, `""`, `"\u0000"`, `"` + strings.Repeat("x", 70_000) + `"`,
		`[]`, `[null]`, `[1]`, `[{}]`, `{}`, `{"":{}}`, `{"a":{"a":1}}`}
	known := map[string]bool{}
	asked := 0
	for _, r := range routes {
		if !hasBody(r) {
			continue
		}
		known[r.Op] = true
		body, ok := a.bodies[r.Op]
		if !ok {
			t.Errorf("%s: say here what body it takes", r.Op)
			continue
		}
		if !json.Valid([]byte(body)) {
			t.Fatalf("%s: the body of this test is wrong: %s", r.Op, body)
		}
		for _, mutated := range mutate(body, wrong) {
			a.ask(r, a.path(r, "", ""), a.token(r), []byte(mutated))
			asked++
		}
	}
	for op := range a.bodies {
		if !known[op] {
			t.Errorf("there is no operation %s with a body", op)
		}
	}
	t.Logf("%d requests", asked)
	a.sound()
}

// mutate returns body with each of its values, at any depth, replaced by each of wrong.
func mutate(body string, wrong []string) []string {
	var all []string
	var tree any
	if err := json.Unmarshal([]byte(body), &tree); err != nil {
		panic(err)
	}
	var walk func(node any)
	put := func(set func(any), was any) {
		for _, w := range wrong {
			set(json.RawMessage(w))
			text, err := json.Marshal(tree)
			if err != nil {
				panic(err)
			}
			all = append(all, string(text))
		}
		set(was)
		walk(was)
	}
	walk = func(node any) {
		switch node := node.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(node)) {
				put(func(v any) { node[k] = v }, node[k])
			}
		case []any:
			for i := range node {
				put(func(v any) { node[i] = v }, node[i])
			}
		}
	}
	walk(tree)
	return all
}

func TestBadInputPaths(t *testing.T) {
	a := newAbused(t)
	hostile := []string{"%00", "%FF", "%C0%AF", "a%00b", ".", "..", "%2e%2e", "..%2f..%2fetc", "%2F", "%0A", "!", "!:", "!x", "@", "@:", "@x:",
		"%23", "$", "%24%00", "-1", "0", "null", "%7B%7D", "!x:localhost", "@nobody:localhost", "$nothing", "%F0%9F%94%A5",
		strings.Repeat("x", 300), strings.Repeat("%21", 3000)}
	identifiers := []string{"userId", "eventId", "roomId"}
	anyRoom := []string{"setAccountDataPerRoom", "getAccountDataPerRoom", "getRoomTags", "setRoomTag", "deleteRoomTag"} // what users note about a room needs no such room
	for _, r := range routes {
		for _, param := range params(r) {
			for _, value := range hostile {
				status, _ := a.ask(r, a.path(r, param, value), a.token(r), []byte(a.bodies[r.Op]))
				decoded, err := url.PathUnescape(value)
				if err != nil {
					t.Fatal(err)
				}
				exact := slices.Contains(identifiers, param) && !(slices.Contains(anyRoom, r.Op) && strings.HasPrefix(decoded, "!"))
				if status/100 == 2 && (exact || !validText(decoded)) {
					t.Errorf("%s takes %q for its %s", r.Op, decoded, param)
				}
			}
		}
	}
	a.sound()
}

// validText reports whether s may be a word in a path at all.
func validText(s string) bool { return strings.ToValidUTF8(s, "") == s && !strings.Contains(s, "\x00") }

func TestBadInputQueries(t *testing.T) {
	a := newAbused(t)
	r, err := a.anna.Sync(t.Context(), "", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	var forged []string
	for i := range r.Next {
		for _, c := range "A_~9" {
			forged = append(forged, r.Next[:i]+string(c)+r.Next[i+1:])
		}
	}
	hostile := []string{"-1", "1.5", "abc", "99999999999999999999", "%00", "%FF", "s", "p", "t", "s0", "s_1", "sAAAAAAAA", "p!!", "{", "[]", "{}", "null",
		"%7B%22room%22:%7B%22timeline%22:%7B%22limit%22:-1%7D%7D%7D", "%7B%22room%22:1%7D", "0x10", "+", " ", strings.Repeat("9", 5000)}
	names := []string{"since", "from", "to", "limit", "timeout", "dir", "filter", "at", "full_state", "set_presence", "membership",
		"not_membership", "format", "width", "height", "method", "animated", "username", "filename", "timeout_ms", "use_state_after"}
	knows := map[string][]string{
		"sync":                      {"since", "timeout", "filter", "full_state", "set_presence", "use_state_after"},
		"getRoomEvents":             {"from", "to", "dir", "limit", "filter"},
		"getEventContext":           {"limit", "filter"},
		"getMembersByRoom":          {"at", "membership", "not_membership"},
		"getRoomStateWithKey":       {"format"},
		"getKeysChanges":            {"from", "to"},
		"checkUsernameAvailability": {"username"},
		"getContentThumbnailAuthed": {"width", "height", "method", "animated", "timeout_ms"},
		"getContentAuthed":          {"timeout_ms"},
	}
	for _, r := range routes {
		if r.Method != http.MethodGet || slices.Contains(plain, r.Op) {
			continue
		}
		base := "?timeout=0"
		switch r.Op {
		case "getRoomEvents":
			base = "?dir=b"
		case "getContentThumbnailAuthed", "getContentThumbnail":
			base = "?width=10&height=10"
		}
		for _, name := range names {
			values := hostile
			if !slices.Contains(knows[r.Op], name) {
				values = []string{"%00", "%FF", "-1"} // what it does not know
			}
			for _, value := range values {
				query := base + "&" + name + "=" + strings.ReplaceAll(value, " ", "%20")
				if strings.Contains(base, "?"+name+"=") || strings.Contains(base, "&"+name+"=") {
					query = "?" + name + "=" + strings.ReplaceAll(value, " ", "%20")
				}
				if name == "timeout" && value == "99999999999999999999" || name == "timeout" && len(value) > 1000 || name == "timeout" && value == "+" {
					query += "&full_state=true" // does not wait
				}
				status, _ := a.ask(r, a.path(r, "", "")+query, a.anna.Token, nil)
				if must := mustRefuse(r.Op, name, value); must && status/100 == 2 {
					t.Errorf("%s takes %.30q for its %s", r.Op, value, name)
				}
			}
		}
	}
	for _, since := range forged {
		// A token may look sound and be ahead of the server: 503 is right then.
		var e *harness.Error
		_, err := a.anna.Sync(t.Context(), since, 0, "")
		if asHarness(err, &e) && e.Status != 400 && e.Status != 503 {
			t.Errorf("sync since %q instead of %q: %v", since, r.Next, err)
		}
	}
	a.sound()
}

// mustRefuse reports whether the operation knows the parameter and the value is none for it.
func mustRefuse(op, name, value string) bool {
	switch op + " " + name {
	case "sync since", "getRoomEvents from", "getRoomEvents to":
		return true
	case "getRoomEvents limit", "getEventContext limit", "sync timeout":
		return slices.Contains([]string{"-1", "1.5", "abc", "%00", "{"}, value)
	case "getRoomEvents dir", "sync filter", "sync full_state", "sync set_presence":
		return slices.Contains([]string{"-1", "abc", "%00", "{", "[]"}, value)
	}
	return false
}

func asHarness(err error, e **harness.Error) bool {
	he, ok := err.(*harness.Error)
	*e = he
	return ok
}

func TestBadInputTokens(t *testing.T) {
	a := newAbused(t)
	flipped := []byte(a.anna.Token)
	flipped[len(flipped)/2] ^= 1
	for _, r := range routes {
		if r.Auth == client.None {
			continue
		}
		for _, token := range []string{"", "x", "bgs_x", "null", "Bearer", string(flipped), a.anna.Token + "x", a.anna.Token[1:], strings.Repeat("x", 20_000),
			"\xff\xfe", "bgs_" + strings.Repeat("_", 100)} {
			if token == "" && r.Auth == client.Optional {
				continue
			}
			status, code := a.ask(r, a.path(r, "", ""), token, []byte(a.bodies[r.Op]))
			want := "M_UNKNOWN_TOKEN"
			if token == "" {
				want = "M_MISSING_TOKEN"
			}
			if status != http.StatusUnauthorized || code != want {
				t.Errorf("%s with token %.40q: %d %s, want 401 %s", r.Op, token, status, code, want)
			}
		}
		if status, _ := a.ask(r, a.path(r, "", "")+"?access_token=x", "", []byte(a.bodies[r.Op])); status != http.StatusUnauthorized {
			t.Errorf("%s with an unknown token in the query: %d", r.Op, status)
		}
	}
	a.sound()
}

// TestBadInputEvents is about what an event may hold, to the byte.
func TestBadInputEvents(t *testing.T) {
	a := newAbused(t)
	send := client.Route{Op: "sendMessage", Method: "PUT", Path: "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}"}
	state := client.Route{Op: "setRoomStateWithKey", Method: "PUT", Path: "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}"}
	text := func(n int) string { return `{"body":"` + strings.Repeat("x", n) + `"}` }
	list := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	for _, c := range []struct {
		name, body string
		status     int
		code       string
	}{
		{"small", text(10), 200, ""},
		{"nearly too large", text(64_000), 200, ""},
		{"too large", text(65_536), 413, "M_TOO_LARGE"},
		{"much too large", text(500_000), 413, "M_TOO_LARGE"},
		{"largest number", `{"n":9007199254740991}`, 200, ""},
		{"smallest number", `{"n":-9007199254740991}`, 200, ""},
		{"number too large", `{"n":9007199254740992}`, 400, "M_BAD_JSON"},
		{"number too small", `{"n":-9007199254740992}`, 400, "M_BAD_JSON"},
		{"number far too large", `{"n":1e30}`, 400, "M_BAD_JSON"},
		{"fraction", `{"n":1.5}`, 400, "M_BAD_JSON"},
		{"number within list within object", `{"a":[{"n":1.5}]}`, 400, "M_BAD_JSON"},
		{"infinite", `{"n":1e400}`, 400, "M_BAD_JSON"},
		{"escaped NUL", `{"a":"\u0000"}`, 200, ""},
		{"as deep as it gets", `{"a":` + list(90) + `}`, 200, ""},
		{"too deep", `{"a":` + list(200) + `}`, 400, "M_BAD_JSON"},
		{"empty", `{}`, 200, ""},
		{"emoji", `{"🔥":"봉수"}`, 200, ""},
	} {
		for _, r := range []client.Route{send, state} {
			if status, code := a.ask(r, a.path(r, "", ""), a.anna.Token, []byte(c.body)); status != c.status || code != c.code {
				t.Errorf("%s, %s: %d %s, want %d %s", c.name, r.Op, status, code, c.status, c.code)
			}
		}
	}
	for name, path := range map[string]string{
		"long type": a.path(send, "eventType", strings.Repeat("x", 256)),
		"long key":  a.path(state, "stateKey", strings.Repeat("x", 256)),
	} {
		if status, code := a.ask(send, path, a.anna.Token, []byte(`{}`)); status/100 != 4 {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	a.sound()
}

// TestBadInputRoutes asks for what is not there.
func TestBadInputRoutes(t *testing.T) {
	a := newAbused(t)
	methods := map[string][]string{}
	for _, r := range routes {
		methods[r.Path] = append(methods[r.Path], r.Method)
	}
	for path, offered := range methods {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"} {
			r := client.Route{Op: "wrong method", Method: method, Path: path}
			if slices.Contains(offered, method) {
				continue
			}
			if status, code := a.ask(r, a.path(r, "", ""), a.anna.Token, nil); status != 405 || code != "M_UNRECOGNIZED" {
				t.Errorf("%s %s: %d %s", method, path, status, code)
			}
		}
	}
	for _, path := range []string{"/", "/_matrix", "/_matrix/client/v3/nothing", "/_matrix/client/v99/sync", "/_matrix/client/v3//sync", "/_matrix/client/v3/sync/",
		"/_matrix/client/v3/rooms//send/x/y", "/../etc/passwd", "/_matrix/client/v3/../v3/sync", "/favicon.ico", "/_matrix/client/v3/%73ync/x"} {
		for _, method := range []string{"GET", "POST"} {
			r := client.Route{Op: "no route", Method: method, Path: path}
			if status, code := a.ask(r, path, a.anna.Token, nil); status != 404 || code != "M_UNRECOGNIZED" {
				t.Errorf("%s %s: %d %s", method, path, status, code)
			}
		}
	}
	a.sound()
}
