package client

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// newKeysAPI serves the endpoints of keys for amy on PHONE, and tells of commits.
func newKeysAPI(t *testing.T) (*testAPI, *replica.Replica, <-chan struct{}) {
	t.Helper()
	arrived := make(chan struct{}, 1)
	r := replicatest.New(t, replicatest.Options{Rules: 3, Machines: []replica.Machine{keys.Machine()},
		Sink: func(replica.Commit) {
			select {
			case arrived <- struct{}{}:
			default:
			}
		}})
	k := keys.New(keys.Config{Replica: r, Server: "example.org", Devices: func(_ kv.Reader, u id.UserID) []keys.Device {
		if u == "@amy:example.org" {
			return []keys.Device{{ID: "PHONE", Name: "Phone"}, {ID: "TABLET"}}
		}
		return nil
	}})
	t.Cleanup(k.Close)
	h := Keys{Service: k,
		Changes: func(_ context.Context, user id.UserID, from, to string) (changed, left []id.UserID, err error) {
			if from != "s1" {
				return nil, nil, errs.New("fake", errs.Invalid, errs.InvalidParam, "not a token")
			}
			return []id.UserID{user}, nil, nil
		},
		Confirm: func(_ context.Context, _ *Request, auth json.RawMessage) (any, error) {
			if string(auth) == `{"password":"right"}` {
				return nil, nil
			}
			return Reply{Status: 401, Body: json.RawMessage(`{"flows":[{"stages":["m.login.password"]}],"session":"x"}`)}, nil
		}}
	return newTestAPI(t, nil, h.Routes()...), r, arrived
}

func TestKeysEndpoints(t *testing.T) {
	const v3 = "/_matrix/client/v3"
	deviceKeys := `{"user_id":"@amy:example.org","device_id":"PHONE","algorithms":[],"keys":{"ed25519:PHONE":"x"},"signatures":{}}`
	// A public key of 32 zero bytes: its signatures are not looked at.
	public := strings.Repeat("A", 43)
	master := `{"user_id":"@amy:example.org","usage":["master"],"keys":{"ed25519:` + public + `":"` + public + `"}}`
	other := strings.ReplaceAll(master, public, strings.Repeat("A", 42)+"E")
	ta, _, _ := newKeysAPI(t)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		errcode, want            string
	}{
		{"counts of nothing", "POST", "/keys/upload", `{}`, 200, "", `{"one_time_key_counts":{}}`},
		{"device and one-time keys", "POST", "/keys/upload",
			`{"device_keys":` + deviceKeys + `,"one_time_keys":{"sc:1":{"key":"k","signatures":{}}},"fallback_keys":{"sc:f":{"key":"f","signatures":{}}}}`,
			200, "", `{"one_time_key_counts":{"sc":1}}`},
		{"the same key with another value", "POST", "/keys/upload", `{"one_time_keys":{"sc:1":{"key":"other","signatures":{}}}}`, 400, "M_INVALID_PARAM", ""},
		{"keys of another device", "POST", "/keys/upload", `{"device_keys":` + strings.Replace(deviceKeys, "PHONE", "X", 1) + `}`,
			400, "M_INVALID_PARAM", ""},
		{"a key without signatures", "POST", "/keys/upload", `{"one_time_keys":{"sc:3":{"key":"k"}}}`, 400, "M_BAD_JSON", ""},
		{"wrong types", "POST", "/keys/upload", `{"one_time_keys":[]}`, 400, "M_BAD_JSON", ""},
		{"a fraction", "POST", "/keys/upload", `{"one_time_keys":{"sc:2":{"key":"k","n":0.5}}}`, 400, "M_BAD_JSON", ""},
		{"no JSON", "POST", "/keys/upload", `{`, 400, "M_NOT_JSON", ""},
		{"query", "POST", "/keys/query", `{"device_keys":{"@amy:example.org":[],"@ben:example.org":["X"],"@c:far.org":[]}}`, 200, "",
			`{"failures":{},"device_keys":{"@amy:example.org":{"PHONE":{"algorithms":[],"device_id":"PHONE","keys":{"ed25519:PHONE":"x"},` +
				`"signatures":{},"unsigned":{"device_display_name":"Phone"},"user_id":"@amy:example.org"}}},` +
				`"master_keys":{},"self_signing_keys":{},"user_signing_keys":{}}`},
		{"query of nothing", "POST", "/keys/query", `{}`, 400, "M_MISSING_PARAM", ""},
		{"query of no user id", "POST", "/keys/query", `{"device_keys":{"amy":[]}}`, 400, "M_INVALID_PARAM", ""},
		{"claim", "POST", "/keys/claim", `{"one_time_keys":{"@amy:example.org":{"PHONE":"sc","GONE":"sc"}}}`, 200, "",
			`{"failures":{},"one_time_keys":{"@amy:example.org":{"PHONE":{"sc:1":{"key":"k","signatures":{}}}}}}`},
		{"claim of the fallback key", "POST", "/keys/claim", `{"one_time_keys":{"@amy:example.org":{"PHONE":"sc"}}}`, 200, "",
			`{"failures":{},"one_time_keys":{"@amy:example.org":{"PHONE":{"sc:f":{"key":"f","signatures":{}}}}}}`},
		{"claim of nothing", "POST", "/keys/claim", `{}`, 400, "M_MISSING_PARAM", ""},
		{"changes", "GET", "/keys/changes?from=s1&to=s2", "", 200, "", `{"changed":["@amy:example.org"],"left":[]}`},
		{"changes since nothing", "GET", "/keys/changes?to=s2", "", 400, "M_MISSING_PARAM", ""},
		{"changes since nonsense", "GET", "/keys/changes?from=x&to=s2", "", 400, "M_INVALID_PARAM", ""},
		{"no master key", "POST", "/keys/device_signing/upload", `{}`, 400, "M_MISSING_PARAM", ""},
		{"first master key", "POST", "/keys/device_signing/upload", `{"master_key":` + master + `}`, 200, "", `{}`},
		{"same master key", "POST", "/keys/device_signing/upload", `{"master_key":` + master + `}`, 200, "", `{}`},
		{"another master key", "POST", "/keys/device_signing/upload", `{"master_key":` + other + `}`, 401, "", `{"flows":[{"stages":["m.login.password"]}],"session":"x"}`},
		{"another, confirmed", "POST", "/keys/device_signing/upload", `{"auth":{"password":"right"},"master_key":` + other + `}`, 200, "", `{}`},
		{"unsigned self-signing key", "POST", "/keys/device_signing/upload",
			`{"self_signing_key":` + strings.Replace(master, `"master"`, `"self_signing"`, 1) + `}`, 400, "M_INVALID_SIGNATURE", ""},
		{"signature on nothing", "POST", "/keys/signatures/upload", `{"@amy:example.org":{"NONE":{}}}`, 200, "",
			`{"failures":{"@amy:example.org":{"NONE":{"errcode":"M_NOT_FOUND","error":"there is no such key"}}}}`},
		{"no signature", "POST", "/keys/signatures/upload", `{"@amy:example.org":{"PHONE":` + deviceKeys + `}}`, 200, "",
			`{"failures":{"@amy:example.org":{"PHONE":{"errcode":"M_INVALID_SIGNATURE",` +
				`"error":"there is no valid signature of a key that may sign this"}}}}`},
		{"to device", "PUT", "/sendToDevice/m.x%2Fy/txn", `{"messages":{"@amy:example.org":{"*":{"n":1}}}}`, 200, "", `{}`},
		{"to device of nothing", "PUT", "/sendToDevice/m.x/txn", `{}`, 400, "M_MISSING_PARAM", ""},
		{"to device of no object", "PUT", "/sendToDevice/m.x/t2", `{"messages":{"@amy:example.org":{"*":[]}}}`, 400, "M_BAD_JSON", ""},
		{"to device of no user", "PUT", "/sendToDevice/m.x/t3", `{"messages":{"amy":{"*":{}}}}`, 400, "M_INVALID_PARAM", ""},
		{"long transaction id", "PUT", "/sendToDevice/m.x/" + strings.Repeat("t", 256), `{"messages":{}}`, 400, "M_INVALID_PARAM", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ta.call(t, c.method, v3+c.path, c.body)
			expect(t, w, c.status, c.errcode)
			if c.want != "" && w.Body.String() != c.want {
				t.Errorf("got  %s\nwant %s", w.Body, c.want)
			}
		})
	}
}

func TestKeyBackup(t *testing.T) {
	const (
		v3   = "/_matrix/client/v3/room_keys"
		auth = `"algorithm":"m.megolm_backup.v1.curve25519-aes-sha2","auth_data":{"public_key":"abc"}`
		key  = `{"first_message_index":1,"forwarded_count":0,"is_verified":true,"session_data":{"ciphertext":"x"}}`
	)
	ta, _, _ := newKeysAPI(t)
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		errcode, want            string
	}{
		{"none yet", "GET", "/version", "", 404, "M_NOT_FOUND", ""},
		{"no algorithm", "POST", "/version", `{"auth_data":{}}`, 400, "M_MISSING_PARAM", ""},
		{"no data", "POST", "/version", `{"algorithm":"a"}`, 400, "M_MISSING_PARAM", ""},
		{"data of the wrong type", "POST", "/version", `{"algorithm":"a","auth_data":[]}`, 400, "M_BAD_JSON", ""},
		{"make one", "POST", "/version", `{` + auth + `}`, 200, "", `{"version":"1"}`},
		{"current", "GET", "/version", "", 200, "", `{` + auth + `,"count":0,"etag":"0","version":"1"}`},
		{"by number", "GET", "/version/1", "", 200, "", `{` + auth + `,"count":0,"etag":"0","version":"1"}`},
		{"unknown number", "GET", "/version/2", "", 404, "M_NOT_FOUND", ""},
		{"no number", "GET", "/version/x", "", 404, "M_NOT_FOUND", ""},
		{"change another algorithm", "PUT", "/version/1", `{"algorithm":"a","auth_data":{}}`, 400, "M_INVALID_PARAM", ""},
		{"change another version", "PUT", "/version/1", `{` + auth + `,"version":"2"}`, 400, "M_INVALID_PARAM", ""},
		{"change", "PUT", "/version/1", `{` + auth + `,"version":"1"}`, 200, "", `{}`},

		{"put without version", "PUT", "/keys", `{"rooms":{}}`, 400, "M_MISSING_PARAM", ""},
		{"put nothing", "PUT", "/keys?version=1", `{}`, 400, "M_MISSING_PARAM", ""},
		{"put no room", "PUT", "/keys?version=1", `{"rooms":{"r":{"sessions":{}}}}`, 400, "M_INVALID_PARAM", ""},
		{"put no key", "PUT", "/keys?version=1", `{"rooms":{"!r:s":{"sessions":{"a":{}}}}}`, 400, "M_BAD_JSON", ""},
		{"put many", "PUT", "/keys?version=1", `{"rooms":{"!r:s":{"sessions":{"a":` + key + `,"b":` + key + `}}}}`, 200, "", `{"count":2,"etag":"1"}`},
		{"put of a room", "PUT", "/keys/!q:s?version=1", `{"sessions":{"c":` + key + `}}`, 200, "", `{"count":3,"etag":"2"}`},
		{"put one", "PUT", "/keys/!q:s/d%2F?version=1", key, 200, "", `{"count":4,"etag":"3"}`},
		{"put of no room", "PUT", "/keys/q?version=1", `{"sessions":{}}`, 400, "M_INVALID_PARAM", ""},
		{"get all", "GET", "/keys?version=1", "", 200, "", `{"rooms":{"!q:s":{"sessions":{"c":` + key + `,"d/":` + key + `}},"!r:s":{"sessions":{"a":` + key + `,"b":` + key + `}}}}`},
		{"get a room", "GET", "/keys/!r:s?version=1", "", 200, "", `{"sessions":{"a":` + key + `,"b":` + key + `}}`},
		{"get an empty room", "GET", "/keys/!z:s?version=1", "", 200, "", `{"sessions":{}}`},
		{"get one", "GET", "/keys/!q:s/d%2F?version=1", "", 200, "", key},
		{"get none", "GET", "/keys/!q:s/z?version=1", "", 404, "M_NOT_FOUND", ""},
		{"get without version", "GET", "/keys", "", 400, "M_MISSING_PARAM", ""},
		{"get of no version", "GET", "/keys?version=9", "", 404, "M_NOT_FOUND", ""},
		{"delete one", "DELETE", "/keys/!q:s/c?version=1", "", 200, "", `{"count":3,"etag":"4"}`},
		{"delete a room", "DELETE", "/keys/!r:s?version=1", "", 200, "", `{"count":1,"etag":"5"}`},
		{"delete all", "DELETE", "/keys?version=1", "", 200, "", `{"count":0,"etag":"6"}`},

		{"another version", "POST", "/version", `{` + auth + `}`, 200, "", `{"version":"2"}`},
		{"put to the old one", "PUT", "/keys/!q:s/c?version=1", key, 403, "M_WRONG_ROOM_KEYS_VERSION",
			`{"errcode":"M_WRONG_ROOM_KEYS_VERSION","error":"this is not the current version of the key backup","current_version":"2"}`},
		{"delete the version", "DELETE", "/version/2", "", 200, "", `{}`},
		{"delete it again", "DELETE", "/version/2", "", 200, "", `{}`},
		{"delete one that never was", "DELETE", "/version/3", "", 404, "M_NOT_FOUND", ""},
		{"the former one", "GET", "/version", "", 200, "", `{` + auth + `,"count":0,"etag":"6","version":"1"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ta.call(t, c.method, v3+c.path, c.body)
			expect(t, w, c.status, c.errcode)
			if c.want != "" && w.Body.String() != c.want {
				t.Errorf("got  %s\nwant %s", w.Body, c.want)
			}
		})
	}
}

// A backup is larger than one record, and is put, read and deleted whole.
func TestLargeKeyBackup(t *testing.T) {
	const v3 = "/_matrix/client/v3/room_keys"
	ta, _, _ := newKeysAPI(t)
	expect(t, ta.call(t, "POST", v3+"/version", `{"algorithm":"a","auth_data":{}}`), 200, "")
	const n = 2500
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"session%d":{"first_message_index":1,"forwarded_count":0,"is_verified":true,"session_data":{"ciphertext":%q}}`, i, strings.Repeat("x", 600))
	}
	w := ta.call(t, "PUT", v3+"/keys?version=1", `{"rooms":{"!r:s":{"sessions":{`+b.String()[1:]+`}}}}`)
	expect(t, w, 200, "")
	if !strings.HasPrefix(w.Body.String(), `{"count":2500,`) {
		t.Error(w.Body)
	}
	w = ta.call(t, "GET", v3+"/keys/!r:s?version=1", "")
	if got := strings.Count(w.Body.String(), "session_data"); got != n {
		t.Errorf("%d keys came back", got)
	}
	expect(t, ta.call(t, "DELETE", v3+"/version/1", ""), 200, "")
	expect(t, ta.call(t, "GET", v3+"/keys/!r:s?version=1", ""), 404, "M_NOT_FOUND")
}

func TestSendToDeviceTwice(t *testing.T) {
	ta, r, commits := newKeysAPI(t)
	const path = "/_matrix/client/v3/sendToDevice/"
	for range 3 {
		expect(t, ta.call(t, "PUT", path+"m.x/same", `{"messages":{"@amy:example.org":{"*":{}}}}`), 200, "")
	}
	expect(t, ta.call(t, "PUT", path+"m.y/same", `{"messages":{"@amy:example.org":{"*":{}}}}`), 200, "")
	var in keys.Inbox
	for len(in.Events) < 2 { // the outbox delivers in order
		<-commits
		in = keys.Pending(r.Rows(), "@amy:example.org", "TABLET", replica.Place{}, 10)
	}
	for i, want := range []string{"m.x", "m.y"} {
		if got := string(in.Events[i]); got != `{"content":{},"sender":"@amy:example.org","type":"`+want+`"}` {
			t.Errorf("event %d is %s", i, got)
		}
	}
}
