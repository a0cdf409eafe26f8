package client

import (
	"net/url"
	"testing"
)

// TestOpenIDAcrossSites: a token of one site is good at the others, for what it is for.
func TestOpenIDAcrossSites(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "A")
	const (
		ask      = "/user/@amy:h/openid/request_token"
		userinfo = "/_matrix/federation/v1/openid/userinfo"
	)
	var out struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Server  string `json:"matrix_server_name"`
		Expires int    `json:"expires_in"`
	}
	c.must(1, amy, "POST", ask, `{}`, &out)
	if out.Type != "Bearer" || out.Server != "h" || out.Expires != 3600 {
		t.Errorf("%+v", out)
	}
	check := func(site int, token string, status int, errcode string) {
		t.Helper()
		w := c.call(site, "", "GET", userinfo+"?access_token="+url.QueryEscape(token), "")
		expect(t, w, status, errcode)
		if status == 200 && w.Body.String() != `{"sub":"@amy:h"}` {
			t.Errorf("%s", w.Body)
		}
	}
	for site := range c.sites {
		check(site, out.Token, 200, "")
		check(site, amy, 401, "M_UNKNOWN_TOKEN")
		check(site, "", 401, "M_MISSING_TOKEN")
		expect(t, c.call(site, out.Token, "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")
	}
	expect(t, c.call(0, amy, "POST", "/user/@bob:h/openid/request_token", `{}`), 403, "M_FORBIDDEN")
	expect(t, c.call(0, amy, "POST", ask, `[]`), 400, "M_BAD_JSON")
	expect(t, c.call(0, amy, "POST", ask, `x`), 400, "M_NOT_JSON")
	c.must(2, amy, "POST", "/account/deactivate", `{"auth":{"type":"m.login.password","password":"long enough"}}`, nil)
	c.settled()
	check(0, out.Token, 401, "M_UNKNOWN_TOKEN")
}

// TestOpenIDIsLimited: each token is a row for an hour.
func TestOpenIDIsLimited(t *testing.T) {
	aa := newAccountAPI(t, func(_ *Accounts, c *Config) { c.Limits = Limits{OpenID: Rate{0.001, 2}} })
	amy, _ := aa.register(t, "amy")
	const path = "/user/@amy:example.org/openid/request_token"
	for range 2 {
		answer(t, aa.call(t, amy, "POST", path, `{}`))
	}
	expect(t, aa.call(t, amy, "POST", path, `{}`), 429, "M_LIMIT_EXCEEDED")
}
