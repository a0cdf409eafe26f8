package client

import "testing"

func TestTagEndpoints(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, _ := aa.register(t, "amy")
	aa.register(t, "bob")
	const tags, data = "/user/@amy:example.org/rooms/!r:example.org/tags", "/user/@amy:example.org/rooms/!r:example.org/account_data/m.tag"
	get := func(want string) {
		t.Helper()
		if got := aa.call(t, a, "GET", tags, "").Body.String(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	get(`{"tags":{}}`)
	answer(t, aa.call(t, a, "PUT", tags+"/m.favourite", `{"order":0.25,"org.example.more":[1]}`))
	answer(t, aa.call(t, a, "PUT", tags+"/u.%EC%9D%BC%2F", `{}`))
	get(`{"tags":{"m.favourite":{"order":0.25,"org.example.more":[1]},"u.일/":{}}}`)
	if got := aa.call(t, a, "GET", data, "").Body.String(); got != `{"tags":{"m.favourite":{"order":0.25,"org.example.more":[1]},"u.일/":{}}}` {
		t.Error(got)
	}
	answer(t, aa.call(t, a, "PUT", data, `{"kept":1,"tags":{"u.x":{"order":1}}}`))
	answer(t, aa.call(t, a, "PUT", tags+"/u.y", `{"order":0}`))
	answer(t, aa.call(t, a, "DELETE", tags+"/u.x", ``))
	answer(t, aa.call(t, a, "DELETE", tags+"/u.never", ``))
	get(`{"tags":{"u.y":{"order":0}}}`)
	if got := aa.call(t, a, "GET", data, "").Body.String(); got != `{"kept":1,"tags":{"u.y":{"order":0}}}` {
		t.Error(got)
	}
	aa.table(t, a, []row{
		{"PUT", tags + "/u.z", `{"order":1.5}`, 400, "M_INVALID_PARAM"},
		{"PUT", tags + "/u.z", `{"order":"first"}`, 400, "M_BAD_JSON"},
		{"PUT", tags + "/u.z", `[]`, 400, "M_BAD_JSON"},
		{"PUT", tags + "/u.z", ``, 400, "M_NOT_JSON"},
		{"PUT", "/user/@amy:example.org/rooms/r/tags/u.z", `{}`, 400, "M_INVALID_PARAM"},
		{"PUT", "/user/@bob:example.org/rooms/!r:example.org/tags/u.z", `{}`, 403, "M_FORBIDDEN"},
		{"GET", "/user/@bob:example.org/rooms/!r:example.org/tags", ``, 403, "M_FORBIDDEN"},
		{"DELETE", "/user/@bob:example.org/rooms/!r:example.org/tags/u.z", ``, 403, "M_FORBIDDEN"},
	})
}
