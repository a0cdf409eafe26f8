package spec

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func load(t *testing.T) *Spec {
	t.Helper()
	s, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOperations(t *testing.T) {
	s := load(t)
	if len(s.Operations) < 160 {
		t.Errorf("only %d operations", len(s.Operations))
	}
	seen := map[string]bool{}
	for _, o := range s.Operations {
		if seen[o.ID] {
			t.Errorf("%s is there twice", o.ID)
		}
		seen[o.ID] = true
	}
	ban := s.Operation("ban")
	if ban == nil || ban.Method != "POST" || ban.Path != "/_matrix/client/v3/rooms/{roomId}/ban" || ban.Token != MustToken || !ban.BodyRequired ||
		len(ban.Parameters) != 1 || ban.Parameters[0].Name != "roomId" || !slices.Equal(ban.BodyTypes, []string{"application/json"}) {
		t.Errorf("%+v", ban)
	}
	if o := s.Operation("getVersions"); o.Token != MayToken {
		t.Errorf("%+v", o)
	}
	if o := s.Operation("getContentAuthed"); len(o.Parameters) < 3 || o.Parameters[0].Name != "serverName" { // by reference
		t.Errorf("%+v", o)
	}
}

// TestSchemasCompile compiles every schema of an answer or a body.
func TestSchemasCompile(t *testing.T) {
	s := load(t)
	for _, o := range s.Operations {
		places := []place{}
		if o.body != nil {
			places = append(places, *o.body)
		}
		for status, answer := range o.answers {
			content, ok, err := o.loader.at(answer, "content")
			if err != nil {
				t.Errorf("%s %s: %v", o.ID, status, err)
			}
			if !ok {
				continue
			}
			for _, kind := range content.keys() {
				media, _, err := o.loader.at(content, kind)
				if err != nil {
					t.Errorf("%s %s: %v", o.ID, status, err)
				}
				if schema, ok, err := o.loader.at(media, "schema"); err != nil {
					t.Errorf("%s %s: %v", o.ID, status, err)
				} else if ok && kind == "application/json" {
					places = append(places, schema)
				}
			}
		}
		for _, p := range places {
			if _, err := o.loader.compile(p); err != nil {
				t.Errorf("%s: %v", o.ID, err)
			}
		}
	}
}

func TestFind(t *testing.T) {
	s := load(t)
	for request, want := range map[string]string{
		"GET /_matrix/client/v3/rooms/!a/state/m.x/k":               "getRoomStateWithKey",
		"GET /_matrix/client/v3/rooms/!a/state/m.x/":                "getRoomStateWithKey",
		"GET /_matrix/client/v3/rooms/!a/state/m.x":                 "getRoomStateWithKey",
		"GET /_matrix/client/r0/rooms/!a/state/m.x":                 "getRoomStateWithKey",
		"GET /_matrix/client/v3/rooms/!a/state":                     "getRoomState",
		"HEAD /_matrix/client/v3/rooms/!a/state":                    "getRoomState",
		"PUT /_matrix/client/r0/rooms/!a/state/m.x/a%2Fb":           "setRoomStateWithKey",
		"POST /_matrix/media/v1/create":                             "createContent",
		"POST /_matrix/media/v1/upload":                             "uploadContent",
		"GET /_matrix/media/r0/config":                              "getConfig",
		"GET /_matrix/client/versions":                              "getVersions",
		"GET /.well-known/matrix/client":                            "getWellknown",
		"GET /_matrix/client/v3/pushrules/":                         "getPushRules",
		"GET /_matrix/client/v3/pushrules/global/":                  "getPushRulesGlobal",
		"GET /_matrix/client/v3/profile/@a:b/displayname":           "getProfileField",
		"POST /_matrix/client/v3/rooms/!a/invite":                   "inviteUser", // and not inviteBy3PID
		"GET /_matrix/client/v3/events":                             "peekEvents", // and not getEvents
		"GET /_matrix/client/v3/rooms//state":                       "",
		"POST /_matrix/client/v3/rooms/!a/state":                    "",
		"GET /_matrix/client/v9/sync":                               "",
		"GET /_matrix/client/v3/rooms/!a/relations/$e/m.thread/m.x": "",
		"GET /_matrix/client/v1/rooms/!a/relations/$e/m.thread/m.x": "getRelatingEventsWithRelTypeAndEventType",
	} {
		method, path, _ := strings.Cut(request, " ")
		got := ""
		if o := s.Find(method, path); o != nil {
			got = o.ID
		}
		if got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
}

func TestCheckAnswer(t *testing.T) {
	s := load(t)
	for name, c := range map[string]struct {
		op     string
		status int
		kind   string
		body   string
		want   []string
	}{
		"right":            {"getTokenOwner", 200, "", `{"user_id":"@a:b","x":1}`, nil},
		"missing":          {"getTokenOwner", 200, "", `{}`, []string{"getTokenOwner 200 : missing property 'user_id'"}},
		"wrong type":       {"getTokenOwner", 200, "", `{"user_id":"@a:b","device_id":1}`, []string{"getTokenOwner 200 /device_id: got number, want string"}},
		"wrong identifier": {"joinRoomById", 200, "", `{"room_id":"x"}`, []string{"joinRoomById 200 /room_id: is no mx-room-id"}},
		"in a list": {"getDevices", 200, "", `{"devices":[{"device_id":"A"},{}]}`,
			[]string{"getDevices 200 /devices/*: missing property 'device_id'"}},
		"unlisted status":  {"getTokenOwner", 201, "", `{"user_id":"@a:b"}`, []string{"getTokenOwner 201 : the specification does not list this status"}},
		"no JSON":          {"getTokenOwner", 200, "text/plain", `x`, []string{"getTokenOwner 200 : Content-Type is text/plain"}},
		"bytes":            {"getContentAuthed", 200, "image/png", `x`, nil},
		"part of a file":   {"getContentAuthed", 206, "image/png", `x`, nil},
		"part of JSON":     {"getTokenOwner", 206, "", `{"user_id":"@a:b"}`, []string{"getTokenOwner 206 : the specification does not list this status"}},
		"error":            {"getTokenOwner", 404, "", `{"errcode":"M_NOT_FOUND","error":"x"}`, nil},
		"unlisted error":   {"getTokenOwner", 418, "", `{"errcode":"M_X","error":"x"}`, nil},
		"no errcode":       {"getTokenOwner", 404, "", `{}`, []string{"getTokenOwner 404 : an error without errcode", "getTokenOwner 404 : missing property 'errcode'"}},
		"no words":         {"getTokenOwner", 404, "", `{"errcode":"M_X"}`, []string{"getTokenOwner 404 : an error whose errcode is no errcode, or without words"}},
		"strange errcode":  {"getTokenOwner", 404, "", `{"errcode":"X","error":"x"}`, []string{"getTokenOwner 404 : an error whose errcode is no errcode, or without words"}},
		"error in HTML":    {"getTokenOwner", 500, "text/html", `<p>`, []string{"getTokenOwner 500 : Content-Type of an error is text/html"}},
		"next stage":       {"deleteDevices", 401, "", `{"flows":[{"stages":["m.login.password"]}],"session":"x"}`, nil},
		"next stage wrong": {"deleteDevices", 401, "", `{"flows":[{}]}`, []string{"deleteDevices 401 /flows/*: missing property 'stages'"}},
		"token unknown":    {"deleteDevices", 401, "", `{"errcode":"M_UNKNOWN_TOKEN","error":"x"}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if c.kind == "" {
				c.kind = "application/json"
			}
			var got []string
			for _, f := range s.Operation(c.op).CheckAnswer(c.status, http.Header{"Content-Type": {c.kind}}, []byte(c.body)) {
				got = append(got, f.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestCheckBody(t *testing.T) {
	ban := load(t).Operation("ban")
	if f := ban.CheckBody([]byte(`{"user_id":"@a:b"}`)); f != nil {
		t.Error(f)
	}
	for _, bad := range []string{`{}`, `{"user_id":1}`, `{"user_id":"a"}`, `[]`, `{`} {
		if ban.CheckBody([]byte(bad)) == nil {
			t.Errorf("takes %s", bad)
		}
	}
}
