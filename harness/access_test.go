package harness_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"slices"
	"strings"
	"testing"

	"bongsu/api/client"
	"bongsu/harness"
)

// Who tries everything: people that stand to anna's room, and to anna, in all ways there are. The columns of access, in this
// order. Whoever makes people stand in a new way adds a column here and in stage. Two more need none: a suspended member may what a
// member may, but for what silenced lists, and a locked user may do what unlocked lists.
const (
	stranger = iota // was never in the room
	invited
	former // joined, said something, and left
	banned // joined, and was banned
	member // joined, with the power of everybody
	owner  // anna, by another device than the one that made everything; she is an administrator, too
	people
)

// What an answer may be, in access.
var outcomes = map[byte]func(status int, errcode string) bool{
	'+': func(status int, _ string) bool { return status/100 == 2 },
	'-': func(status int, errcode string) bool { return status == 403 && errcode == "M_FORBIDDEN" },
	'0': func(status int, errcode string) bool { return status == 404 && errcode == "M_NOT_FOUND" },
	'4': func(status int, _ string) bool { return status == 400 },
	'9': func(status int, _ string) bool { return status == 409 },
	's': func(status int, errcode string) bool { return status == 403 && errcode == "M_USER_SUSPENDED" },
	'l': func(status int, errcode string) bool { return status == 401 && errcode == "M_USER_LOCKED" },
	'u': func(status int, errcode string) bool {
		return status == 401 && (errcode == "" || errcode == "M_FORBIDDEN")
	}, // prove who you are
	// without a token, or with one that is not known; access does not use it, nor 's' and 'l'
	'?': func(status int, errcode string) bool {
		return status == 401 && (errcode == "M_MISSING_TOKEN" || errcode == "M_UNKNOWN_TOKEN")
	},
}

// The sorts of rules that most endpoints follow.
const (
	anyone  = "++++++" // with an account: what it does concerns the caller alone
	hers    = "-----+" // only anna, on each of her devices
	members = "----++"
	past    = "--++++" // and who was a member sees what was then
	proof   = "uuuuuu" // asks for the password whoever it is
	open    = ""       // no account is needed
)

// access says for each operation who may. A new route needs a line.
var access = map[string]string{
	// the server
	"getVersions": open, "getCapabilities": anyone, "getWellknown": open, "getWellknownSupport": open, "getSites": open, "health": open, "status": open, "metrics": open,

	// accounts: the bodies of these tests do not prove who sends them
	"register": open, "checkUsernameAvailability": open, "getLoginFlows": open, "login": open,
	"registrationTokenValidity": open, "requestTokenToRegisterEmail": open, "requestTokenToResetPasswordEmail": open,
	"requestTokenToRegisterMSISDN": open, "requestTokenToResetPasswordMSISDN": open, "confirmationPage": open, "confirm": open,
	"fallbackPage": open, "passFallback": open, "requestOpenIdToken": hers, "exchangeOpenIdToken": open,
	"requestTokenTo3PIDEmail": open, "requestTokenTo3PIDMSISDN": open, "refresh": open, "generateLoginToken": proof,
	"getAccount3PIDs": anyone, "post3PIDs": proof, "add3PID": proof, "delete3pidFromAccount": anyone, "unbind3pidFromAccount": anyone, "bind3PID": "444444",
	"logout": anyone, "logout_all": anyone, "changePassword": proof, "deactivateAccount": proof, "getTokenOwner": anyone,
	"getDevices": anyone, "getDevice": "00000+", "updateDevice": "00000+", "deleteDevice": "uuuuuu", "deleteDevices": proof,

	// of bela, for administrators
	"getWhoIs": hers, "getAdminLockUser": hers, "setAdminLockUser": hers, "getAdminSuspendUser": hers, "setAdminSuspendUser": hers,

	// what users say about themselves is for everybody, what they note is theirs
	"getUserProfile": open, "getProfileField": open, "setProfileField": hers, "deleteProfileField": hers,
	"getAccountData": hers, "setAccountData": hers, "getAccountDataPerRoom": hers, "setAccountDataPerRoom": hers,
	"defineFilter": hers, "getFilter": hers,
	"getPushRules": anyone, "getPushRulesGlobal": anyone, "getPushRule": "00000+", "setPushRule": anyone, "deletePushRule": "00000+",
	"getPushRuleActions": "00000+", "setPushRuleActions": "00000+", "isPushRuleEnabled": "00000+", "setPushRuleEnabled": "00000+",

	// rooms
	"createRoom": anyone, "getJoinedRooms": anyone, "sync": anyone,
	"joinRoom": "-+--++", "joinRoomById": "-+--++", "knockRoom": "------",
	"leaveRoom": "-++-++", "forgetRoom": "-4++44",
	"inviteUser": members, "kick": hers, "ban": hers, "unban": hers,
	"getOneRoomEvent": "00++++", "getEventContext": "00++++", "getRoomEvents": past, "getMembersByRoom": past, "getJoinedMembersByRoom": members,
	"getRoomState": past, "getRoomStateWithKey": past, "setRoomStateWithKey": hers,
	"sendMessage": members, "redactEvent": "----++", "setTyping": hers, "postReceipt": members, "setReadMarker": members,

	"getRoomIdByAlias": open, "setRoomAlias": members, "deleteRoomAlias": hers, "getLocalAliases": members,
	"getRoomVisibilityOnDirectory": open, "setRoomVisibilityOnDirectory": hers, "getPublicRooms": anyone, "queryPublicRooms": anyone,
	"getRoomSummary": open, "getSpaceHierarchy": "-+--++", "upgradeRoom": hers, "searchUserDirectory": anyone, "getMutualRooms": anyone,
	"reportRoom": anyone, "reportEvent": "0000++", "reportUser": anyone,
	"getRelatingEvents": "00++++", "getRelatingEventsWithRelType": "00++++", "getRelatingEventsWithRelTypeAndEventType": "00++++",
	"getThreadRoots": past, "getEventByTimestamp": past,
	"getPresence": members, "setPresence": hers, "getRoomTags": hers, "setRoomTag": hers, "deleteRoomTag": hers,
	"getDelayedEvents": anyone, "updateDelayedEvent": open, "actOnDelayedEvent": open, // whoever knows the id

	// backups of keys: what is of another user is not there
	"postRoomKeysVersion": anyone, "getRoomKeysVersionCurrent": anyone, "getRoomKeysVersion": "00000+", "putRoomKeysVersion": "00000+",
	"deleteRoomKeysVersion": "00000+", "putRoomKeys": "00000+", "getRoomKeys": "00000+", "deleteRoomKeys": "00000+",
	"putRoomKeysByRoomId": "00000+", "getRoomKeysByRoomId": "00000+", "deleteRoomKeysByRoomId": "00000+",
	"putRoomKeyBySessionId": "00000+", "getRoomKeyBySessionId": "00000+", "deleteRoomKeyBySessionId": "00000+",

	// keys and messages to devices
	"uploadKeys": "44444+", "queryKeys": anyone, "claimKeys": anyone, "getKeysChanges": anyone, "uploadCrossSigningKeys": "44444+",
	"uploadCrossSigningSignatures": anyone, "sendToDevice": anyone,

	// files: whoever has the address may read
	"getConfig": anyone, "getConfigAuthed": anyone, "createContent": anyone, "uploadContent": anyone, "uploadContentToMXC": "-----9",
	"getContentAuthed": anyone, "getContentOverrideNameAuthed": anyone, "getContentThumbnailAuthed": anyone,
	"getContent": open, "getContentOverrideName": open, "getContentThumbnail": open,
}

// Exceptions from access.
var (
	// silenced is what suspended users may not do, which is to say something to others, or to hide whose an account is. What else they
	// may is what a member may.
	silenced = []string{
		"createRoom", "joinRoom", "joinRoomById", "knockRoom", "inviteUser", "kick", "ban", "unban", "upgradeRoom",
		"sendMessage", "setRoomStateWithKey", "setTyping", "redactEvent", // which another member has said
		"setRoomAlias", "deleteRoomAlias", "setRoomVisibilityOnDirectory", "setProfileField", "deleteProfileField", "setPresence",
		"uploadContent", "createContent", "uploadContentToMXC", "delete3pidFromAccount",
	}
	// unlocked is all that locked users may do. Specification: "Account locking".
	unlocked = []string{"logout", "logout_all"}
	// secret is what is open to those who know a secret, and these tests do not.
	secret = []string{"login", "refresh", "confirm", "exchangeOpenIdToken"}
)

// world is a server with the people.
type world struct {
	*abused
	who         [people]*harness.Client
	target      *harness.Client // whom things are done to
	newcomer    *harness.Client // who is invited
	deactivated *harness.Client
	suspended   *harness.Client // a member
	locked      *harness.Client
}

func newWorld(t *testing.T) *world {
	w := &world{abused: newAbused(t)}
	for i, name := range []string{"stranger", "invited", "former", "banned", "member"} {
		w.who[i] = user(t, w.s, name)
	}
	w.who[owner] = harness.NewClientOver(w.s.URL(), newJudge(t))
	w.target, w.newcomer, w.deactivated = user(t, w.s, "target"), user(t, w.s, "newcomer"), user(t, w.s, "deactivated")
	w.suspended, w.locked = user(t, w.s, "suspended"), user(t, w.s, "locked")
	w.moderate("suspend", w.suspended, true)
	t.Cleanup(w.who[owner].Close)
	if err := w.who[owner].Login(t.Context(), "anna", "password of anna"); err != nil {
		t.Fatal(err)
	}
	w.must(w.deactivated, "POST", harness.Path("v3", "account", "deactivate"), map[string]any{"auth": map[string]any{"type": "m.login.password",
		"identifier": map[string]string{"type": "m.id.user", "user": "deactivated"}, "password": "password of deactivated"}})
	w.must(w.anna, "PUT", harness.Path("v3", "user", w.anna.User, "account_data", "org.bongsu.x"), map[string]int{"a": 1})
	var filter struct {
		ID string `json:"filter_id"`
	}
	if err := w.anna.Do(t.Context(), "POST", harness.Path("v3", "user", w.anna.User, "filter"), map[string]int{}, &filter); err != nil {
		t.Fatal(err)
	}
	w.values["filterId"] = filter.ID
	w.picture()
	return w
}

// picture makes the file that the routes name a picture, so that there is a thumbnail of it.
func (w *world) picture() {
	w.t.Helper()
	var file struct {
		URI string `json:"content_uri"`
	}
	if err := w.anna.Do(w.t.Context(), "POST", "/_matrix/media/v1/create", nil, &file); err != nil {
		w.t.Fatal(err)
	}
	w.values["mediaId"] = strings.TrimPrefix(file.URI, "mxc://localhost/")
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 20, 20))); err != nil {
		w.t.Fatal(err)
	}
	w.kind = "image/png"
	r := client.Route{Op: "uploadContentToMXC", Method: "PUT", Path: "/_matrix/media/v3/upload/{serverName}/{mediaId}"}
	if status, code := w.ask(r, w.path(r, "", ""), w.anna.Token, picture.Bytes()); status != http.StatusOK {
		w.t.Fatalf("upload: %d %s", status, code)
	}
	w.kind = ""
}

func (w *world) must(c *harness.Client, method, path string, in any) {
	w.t.Helper()
	if err := c.Do(w.t.Context(), method, path, in, nil); err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// moderate has anna suspend or lock somebody, or end that.
func (w *world) moderate(what string, c *harness.Client, on bool) {
	w.t.Helper()
	w.must(w.anna, "PUT", harness.Path("v1", "admin", what, c.User), map[string]bool{what + "ed": on})
}

// stage makes a new room for one route, in which everybody is what they are called, and what the route's path names.
func (w *world) stage(ctx context.Context, r client.Route) {
	w.t.Helper()
	room, err := w.anna.CreateRoom(ctx, map[string]any{"preset": "private_chat", "invite": []string{
		w.who[invited].User, w.who[former].User, w.who[banned].User, w.who[member].User, w.target.User, w.suspended.User}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.moderate("suspend", w.suspended, false)
	for _, c := range []*harness.Client{w.who[former], w.who[banned], w.who[member], w.target, w.suspended} {
		if err := c.Join(ctx, room); err != nil {
			w.t.Fatal(err)
		}
	}
	w.moderate("suspend", w.suspended, true)
	said := w.anna
	if r.Op == "redactEvent" {
		said = w.who[member] // everybody may redact what is theirs
	}
	event, err := said.Send(ctx, room, "m.room.message", "first", map[string]string{"body": "x", "msgtype": "m.text"})
	if err != nil {
		w.t.Fatal(err)
	}
	state := harness.Path("v3", "rooms", room, "state", "org.bongsu.x", "")
	w.must(w.anna, "PUT", state, map[string]int{"a": 1})
	w.must(w.anna, "PUT", harness.Path("v3", "user", w.anna.User, "rooms", room, "account_data", "org.bongsu.x"), map[string]int{"a": 1})
	w.must(w.who[former], "POST", harness.Path("v3", "rooms", room, "leave"), map[string]int{})
	for _, c := range []*harness.Client{w.who[banned], w.target} {
		if c == w.target && r.Op != "unban" {
			continue
		}
		w.must(w.anna, "POST", harness.Path("v3", "rooms", room, "ban"), map[string]string{"user_id": c.User})
	}
	w.values["roomId"], w.values["roomIdOrAlias"], w.values["eventId"] = room, room, event
}

// prepare makes what the route names, where it is to be there.
func (w *world) prepare(r client.Route) {
	w.t.Helper()
	if strings.Contains(r.Path, "{roomId") || strings.Contains(r.Path, "{roomAlias}") {
		w.stage(w.t.Context(), r)
	}
	w.values["ruleId"] = "mine"
	switch {
	case r.Op == "getPresence": // earlier routes have let the invited into rooms
		var in struct {
			Rooms []string `json:"joined_rooms"`
		}
		if err := w.who[invited].Do(w.t.Context(), "GET", harness.Path("v3", "joined_rooms"), nil, &in); err != nil {
			w.t.Fatal(err)
		}
		for _, room := range in.Rooms {
			w.must(w.who[invited], "POST", harness.Path("v3", "rooms", room, "leave"), map[string]int{})
		}
	case r.Op == "deleteRoomAlias":
		w.values["roomAlias"] = "#annas:localhost"
		w.must(w.anna, "PUT", harness.Path("v3", "directory", "room", w.values["roomAlias"]), map[string]string{"room_id": w.values["roomId"]})
	case strings.Contains(r.Path, "{ruleId}") && r.Op != "setPushRule":
		w.values["ruleId"] = "annas"
		w.must(w.anna, "PUT", harness.Path("v3", "pushrules", "global", "override", "annas"),
			map[string]any{"actions": []string{"notify"}, "conditions": []any{}})
	case strings.Contains(r.Path, "/room_keys/"):
		var backup struct{ Version string }
		if err := w.anna.Do(w.t.Context(), "POST", harness.Path("v3", "room_keys", "version"), []byte(w.bodies["postRoomKeysVersion"]), &backup); err != nil {
			w.t.Fatal(err)
		}
		w.values["version"] = backup.Version
		w.must(w.anna, "PUT", harness.Path("v3", "room_keys", "keys", w.values["roomId"], "s")+"?version="+backup.Version,
			[]byte(w.bodies["putRoomKeyBySessionId"]))
	}
}

// body is what is sent to the route. It is right for whoever may.
func (w *world) body(r client.Route) []byte {
	target := w.target
	if r.Op == "inviteUser" {
		target = w.newcomer
	}
	switch r.Op {
	case "kick", "ban", "unban", "inviteUser":
		return fmt.Appendf(nil, `{"user_id": %q}`, target.User)
	case "setRoomAlias": // the one of the last is taken
		w.n++
		w.values["roomAlias"] = fmt.Sprintf("#a%d:localhost", w.n)
		return fmt.Appendf(nil, `{"room_id": %q}`, w.values["roomId"])
	case "setReadMarker":
		return fmt.Appendf(nil, `{"m.read": %q}`, w.values["eventId"])
	case "uploadKeys": // of anna's other device
		return fmt.Appendf(nil, `{"device_keys": {"user_id": %q, "device_id": %q, "algorithms": [], "keys": {}, "signatures": {}}}`,
			w.anna.User, w.who[owner].Device)
	case "setPushRule":
		return []byte(`{"actions": ["notify"], "conditions": []}`)
	case "uploadCrossSigningKeys": // of anna
		return fmt.Appendf(nil, `{"master_key": {"user_id": %q, "usage": ["master"], "keys": {"ed25519:%[2]s": %[2]q}}}`,
			w.anna.User, strings.Repeat("A", 43))
	}
	return []byte(w.bodies[r.Op])
}

// query is what the route needs of a query.
func (w *world) query(r client.Route) string {
	if strings.Contains(r.Path, "/room_keys/keys") {
		return "?version=" + w.values["version"]
	}
	switch r.Op {
	case "getEventByTimestamp":
		return "?ts=0&dir=f"
	case "sync":
		return "?timeout=0"
	case "getMutualRooms":
		return "?user_id=" + w.bela.User
	case "getRoomEvents":
		return "?dir=b"
	case "getContentThumbnailAuthed":
		return "?width=10&height=10"
	case "getKeysChanges":
		page, err := w.anna.Sync(w.t.Context(), "", 0, "")
		if err != nil {
			w.t.Fatal(err)
		}
		return "?from=" + page.Next + "&to=" + page.Next
	}
	return ""
}

// session is the token by which somebody tries r: one that nobody needs afterwards where r ends it.
func (w *world) session(r client.Route, who *harness.Client) string {
	if !slices.Contains(final, r.Op) {
		return who.Token
	}
	c := harness.NewClient(w.s.URL())
	defer c.Close()
	name, _, _ := strings.Cut(strings.TrimPrefix(who.User, "@"), ":")
	if err := c.Login(w.t.Context(), name, "password of "+name); err != nil {
		w.t.Fatal(err)
	}
	return c.Token
}

// TestWhoMay lets everybody try everything.
func TestWhoMay(t *testing.T) {
	w := newWorld(t)
	names := [people]string{"a stranger", "the invited", "a former member", "the banned", "a member", "the owner, on another device"}
	known := map[string]bool{}
	for _, r := range finalLast() {
		known[r.Op] = true
		rule, ok := access[r.Op]
		switch {
		case !ok:
			t.Errorf("%s: say in access who may", r.Op)
			continue
		case rule == open && r.Auth == client.Required || rule != open && r.Auth == client.None:
			t.Errorf("%s: access says %q, and the route table says %d of tokens", r.Op, rule, r.Auth)
			continue
		}
		w.prepare(r)
		try := func(name, token string, want byte) {
			t.Helper()
			body := w.body(r) // first: it may choose what the path names
			status, errcode := w.ask(r, w.path(r, "", "")+w.query(r), token, body)
			if !outcomes[want](status, errcode) {
				t.Errorf("%s by %s: %d %s, want %c", r.Op, name, status, errcode, want)
			}
		}
		if rule == open {
			status, errcode := w.ask(r, w.path(r, "", "")+w.query(r), "", w.body(r))
			if (status == http.StatusForbidden || outcomes['?'](status, errcode)) && !slices.Contains(secret, r.Op) {
				t.Errorf("%s by anybody: %d %s", r.Op, status, errcode)
			}
			continue
		}
		try("nobody", "", '?')
		try("somebody who makes up a token", "bgs_"+strings.Repeat("x", 40), '?')
		try("a deactivated user", w.deactivated.Token, '?')
		w.moderate("lock", w.locked, false)
		token, want := w.session(r, w.locked), byte('l')
		w.moderate("lock", w.locked, true)
		if slices.Contains(unlocked, r.Op) {
			want = '+'
		}
		try("a locked user", token, want)
		if want = rule[member]; slices.Contains(silenced, r.Op) {
			want = 's'
		}
		try("a suspended member", w.session(r, w.suspended), want)
		for i := range people {
			try(names[i], w.session(r, w.who[i]), rule[i])
		}
		if r.Op == "logout_all" {
			if err := w.anna.Login(t.Context(), "anna", "password of anna"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for op, rule := range access {
		if !known[op] {
			t.Errorf("access speaks of %s, and there is no such operation", op)
		}
		if rule != open && len(rule) != people {
			t.Errorf("access says %q of %s: there are %d sorts of people", rule, op, people)
		}
	}
	w.sound()
}

// finalLast are the routes, those last that end sessions: each of all people tries them too.
func finalLast() []client.Route {
	all := slices.Clone(routes)
	rank := func(r client.Route) int { return slices.Index(final, r.Op) }
	slices.SortStableFunc(all, func(a, b client.Route) int { return rank(a) - rank(b) })
	return all
}
