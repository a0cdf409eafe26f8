package client

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"bongsu/account"
)

// uia is a challenge.
type uia struct {
	Flows     []struct{ Stages []string }
	Params    map[string]any
	Session   string
	Completed []string
	Errcode   string
}

func challengeOf(t testing.TB, w *httptest.ResponseRecorder, errcode string) (u uia) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &u); err != nil || w.Code != 401 || u.Errcode != errcode || u.Session == "" {
		t.Fatalf("no challenge: %d %s", w.Code, w.Body)
	}
	return u
}

// TestRegistrationAcrossSites passes each stage at another site, one of which has burned meanwhile.
func TestRegistrationAcrossSites(t *testing.T) {
	t.Parallel()
	c := newCluster(t, func(a *Accounts) {
		a.Registration = Registration{Tokens: true, Terms: []Policy{{ID: "privacy", Version: "1.0",
			Texts: []PolicyText{{"en", "Privacy", "https://h/en"}, {"ko", "개인정보", "https://h/ko"}}}}}
	})
	token, err := c.sites[0].accounts.AddRegistrationToken(t.Context(), "", account.RegistrationToken{Name: "friends", Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	const validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token="
	valid := func(site int, want bool) {
		t.Helper()
		var out struct{ Valid bool }
		if c.must(site, "", "GET", validity+token, "", &out); out.Valid != want {
			t.Errorf("valid: %t", out.Valid)
		}
	}
	valid(1, true)
	register := func(site int, auth string) *httptest.ResponseRecorder {
		return c.call(site, "", "POST", "/register", `{"username":"amy","password":"long enough","refresh_token":true,"auth":`+auth+`}`)
	}
	u := challengeOf(t, register(0, `{}`), "")
	if fmt.Sprint(u.Flows) != "[{[m.login.registration_token m.login.terms]}]" {
		t.Errorf("%v", u.Flows)
	}
	want := `{"m.login.terms":{"policies":{"privacy":{"en":{"name":"Privacy","url":"https://h/en"},"ko":{"name":"개인정보","url":"https://h/ko"},"version":"1.0"}}}}`
	if got, _ := json.Marshal(u.Params); string(got) != want {
		t.Errorf("%s", got)
	}
	stage := func(typ, rest string) string {
		return `{"session":"` + u.Session + `","type":"` + typ + `"` + rest + `}`
	}
	challengeOf(t, register(1, stage("m.login.registration_token", `,"token":"wrong"`)), "M_FORBIDDEN")
	challengeOf(t, register(1, stage("m.login.dummy", "")), "M_UNRECOGNIZED")
	got := challengeOf(t, register(1, stage("m.login.registration_token", `,"token":"`+token+`"`)), "")
	if fmt.Sprint(got.Completed) != "[m.login.registration_token]" || got.Session != u.Session {
		t.Errorf("%+v", got)
	}
	valid(2, false) // the use is reserved
	c.burn(1, 2)
	var in struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Life    int64  `json:"expires_in_ms"`
	}
	decode := func(w *httptest.ResponseRecorder) {
		t.Helper()
		expect(t, w, 200, "")
		if err := json.Unmarshal(w.Body.Bytes(), &in); err != nil || in.Refresh == "" || in.Life == 0 {
			t.Fatal(w.Body)
		}
	}
	decode(register(2, stage("m.login.terms", "")))
	decode(register(0, stage("m.login.terms", ""))) // the answer was lost
	w := c.call(0, "", "POST", "/register", `{"username":"bob","password":"long enough","auth":`+stage("m.login.terms", "")+`}`)
	expect(t, w, 403, "M_FORBIDDEN") // one account for one use
	expect(t, c.call(0, "", "GET", validity, ""), 200, "")
	expect(t, c.call(0, "", "GET", strings.TrimSuffix(validity, "?token="), ""), 400, "M_MISSING_PARAM")

	// A site refreshes, another is asked first with the new token, the third no longer takes the old one.
	first := in
	decode(c.call(2, "", "POST", "/refresh", `{"refresh_token":"`+first.Refresh+`"}`))
	c.must(0, first.Access, "GET", "/account/whoami", "", nil)
	c.must(0, in.Access, "GET", "/account/whoami", "", nil)
	c.settled()
	expect(t, c.call(1, first.Access, "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")
	expect(t, c.call(2, "", "POST", "/refresh", `{"refresh_token":"`+first.Refresh+`"}`), 401, "M_UNKNOWN_TOKEN")
	decode(c.call(1, "", "POST", "/refresh", `{"refresh_token":"`+in.Refresh+`"}`))
	expect(t, c.call(1, "", "POST", "/refresh", `{}`), 400, "M_MISSING_PARAM")
}

// TestLoginTokenAcrossSites makes a token at one site and uses it at another, once.
func TestLoginTokenAcrossSites(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	const path = "/_matrix/client/v1/login/get_token"
	challengeOf(t, c.call(1, amy, "POST", path, `{}`), "")
	var out struct {
		Token   string `json:"login_token"`
		Expires int64  `json:"expires_in_ms"`
	}
	c.must(1, amy, "POST", path, `{"auth":{"type":"m.login.password","password":"long enough"}}`, &out)
	if out.Expires != 120000 {
		t.Errorf("%+v", out)
	}
	var ok, not int
	codes := make([]int, len(siteNames))
	everywhere(func(site int) {
		codes[site] = c.call(site, "", "POST", "/login", `{"type":"m.login.token","token":"`+out.Token+`"}`).Code
	})
	for _, code := range codes {
		switch code {
		case 200:
			ok++
		case 403:
			not++
		}
	}
	if ok != 1 || not != 2 {
		t.Errorf("one token, three logins: %v", codes)
	}
}

// TestClosedAccountLeaves closes an account at a site that burns at once: the others take it out of its rooms.
func TestClosedAccountLeaves(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	bob, amy := c.user(1, "bob", "B"), c.user(1, "amy", "PHONE")
	in, invited := c.room(1, bob), c.room(1, bob)
	c.must(1, amy, "POST", in+"/join", `{}`, nil)
	c.must(1, bob, "POST", invited+"/invite", `{"user_id":"@amy:h"}`, nil)
	c.settled()
	c.sites[0].herald.Close() // it does not get to it
	c.must(0, amy, "POST", "/account/deactivate", `{"erase":true,"auth":{"type":"m.login.password","password":"long enough"}}`, nil)
	c.burn(0, 2)
	for _, room := range []string{in, invited} {
		eventually(t, "the room is left", func() bool {
			return strings.Contains(c.call(2, bob, "GET", room+"/state/m.room.member/@amy:h", "").Body.String(), `"membership":"leave"`)
		})
	}
}
