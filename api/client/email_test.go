package client

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"bongsu/errs"
)

// mailbox is where the messages of a test go.
type mailbox struct {
	mu   sync.Mutex
	to   []string
	text []string
	down bool
}

func (m *mailbox) send(_ context.Context, to, subject, text string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return errs.New("test", errs.Unavailable, "", "the mail server does not take the message now; try again")
	}
	m.to, m.text = append(m.to, to), append(m.text, subject+"\n"+text)
	return nil
}

var inMessage = regexp.MustCompile(`https://h(/_bongsu/confirm\?\S+)`)

// last is the last message, and the link in it.
func (m *mailbox) last(t *testing.T, n int, to string) (text, link string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.to) != n || m.to[n-1] != to {
		t.Fatalf("messages to %v", m.to)
	}
	if found := inMessage.FindStringSubmatch(m.text[n-1]); found != nil {
		link = found[1]
	}
	return m.text[n-1], link
}

func (c *cluster) requestToken(site int, path, email, secret string, attempt int) (sid string) {
	c.t.Helper()
	var out struct{ SID string }
	c.must(site, "", "POST", path+"/email/requestToken",
		fmt.Sprintf(`{"client_secret":"%s","email":"%s","send_attempt":%d,"next_link":"https://app.h/next?a=1"}`, secret, email, attempt), &out)
	if out.SID == "" {
		c.t.Fatal("no session")
	}
	return out.SID
}

// follow opens a link at a site, and presses the button.
func (c *cluster) follow(site int, link string) *httptest.ResponseRecorder {
	c.t.Helper()
	w := c.call(site, "", "GET", link, "")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<form") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		c.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return c.call(site, "", "POST", link, "")
}

// TestAddressAcrossSites adds an address, logs in with it, and sets a forgotten password, each step at another site.
func TestAddressAcrossSites(t *testing.T) {
	t.Parallel()
	var mail mailbox
	c := newCluster(t)
	c.mail(mail.send)
	amy, bob := c.user(0, "amy", "PHONE"), c.user(1, "bob", "B")
	const at = "Amy@Example.org"
	add := func(site int, token, sid string) *httptest.ResponseRecorder {
		return c.call(site, token, "POST", "/account/3pid/add",
			`{"sid":"`+sid+`","client_secret":"s1","auth":{"type":"m.login.password","password":"long enough"}}`)
	}
	sid := c.requestToken(0, "/account/3pid", at, "s1", 1)
	if again := c.requestToken(1, "/account/3pid", at, "s1", 1); again != sid {
		t.Error("another session")
	}
	_, link := mail.last(t, 1, "amy@example.org") // one attempt, one message
	challengeOf(t, c.call(0, amy, "POST", "/account/3pid/add", `{"sid":"`+sid+`","client_secret":"s1"}`), "")
	expect(t, add(0, amy, sid), 403, "M_THREEPID_AUTH_FAILED")
	if w := c.call(1, "", "POST", strings.Replace(link, "token=", "token=x", 1), ""); w.Code != 403 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	c.burn(0, 11)
	if w := c.follow(2, link); w.Code != 200 || !strings.Contains(w.Body.String(), `href="https://app.h/next?a=1"`) {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	c.settled()
	expect(t, add(1, amy, sid), 200, "")
	var list struct {
		Threepids []struct {
			Medium, Address string
			Validated       int64 `json:"validated_at"`
			Added           int64 `json:"added_at"`
		}
	}
	c.must(1, amy, "GET", "/account/3pid", "", &list)
	if len(list.Threepids) != 1 || list.Threepids[0].Address != "amy@example.org" || list.Threepids[0].Added < list.Threepids[0].Validated {
		t.Errorf("%+v", list)
	}
	expect(t, add(1, bob, sid), 400, "M_THREEPID_IN_USE")
	old := `{"three_pid_creds":{"sid":"` + sid + `","client_secret":"s1","id_server":"h","id_access_token":"x"}`
	challengeOf(t, c.call(1, amy, "POST", "/account/3pid", old+"}"), "")
	expect(t, c.call(1, amy, "POST", "/account/3pid", old+`,"auth":{"type":"m.login.password","password":"long enough"}}`), 200, "")
	c.settled()
	login := func(site int, password string) *httptest.ResponseRecorder {
		return c.call(site, "", "POST", "/login", `{"type":"m.login.password","password":"`+password+
			`","identifier":{"type":"m.id.thirdparty","medium":"email","address":"AMY@example.org"}}`)
	}
	expect(t, login(2, "long enough"), 200, "")

	// Who asks for an address learns nothing of it; the message says it.
	for i, who := range []string{"amy@example.org", "nobody@example.org"} {
		w := c.call(i, "", "POST", "/register/email/requestToken", `{"client_secret":"r","email":"`+who+`","send_attempt":1}`)
		expect(t, w, 200, "")
	}
	if _, link := mail.last(t, 3, "nobody@example.org"); link == "" {
		t.Error("no link for a new address")
	}

	// A forgotten password.
	forgot := func(site int, sid, secret string) *httptest.ResponseRecorder {
		return c.call(site, "", "POST", "/account/password", `{"new_password":"entirely new","auth":{"type":"m.login.email.identity",
			"threepid_creds":{"sid":"`+sid+`","client_secret":"`+secret+`"}}}`)
	}
	u := challengeOf(t, c.call(2, "", "POST", "/account/password", `{"new_password":"entirely new"}`), "")
	if fmt.Sprint(u.Flows) != "[{[m.login.email.identity]}]" {
		t.Errorf("%+v", u)
	}
	challengeOf(t, forgot(0, sid, "s1"), "M_THREEPID_AUTH_FAILED") // confirmed for something else
	none := c.requestToken(0, "/account/password", "nobody@example.org", "s2", 1)
	if text, link := mail.last(t, 4, "nobody@example.org"); link != "" || !strings.Contains(text, "no account") {
		t.Errorf("%s", text)
	}
	challengeOf(t, forgot(0, none, "s2"), "M_THREEPID_AUTH_FAILED")
	reset := c.requestToken(0, "/account/password", at, "s2", 1)
	_, link = mail.last(t, 5, "amy@example.org")
	challengeOf(t, forgot(1, reset, "s2"), "M_THREEPID_AUTH_FAILED")
	if w := c.follow(1, link); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	c.settled()
	challengeOf(t, forgot(2, reset, "other"), "M_THREEPID_AUTH_FAILED")
	expect(t, forgot(2, reset, "s2"), 200, "")
	c.settled()
	challengeOf(t, forgot(0, reset, "s2"), "M_THREEPID_AUTH_FAILED") // once
	expect(t, login(0, "long enough"), 403, "M_FORBIDDEN")
	expect(t, login(0, "entirely new"), 200, "")
	expect(t, c.call(0, amy, "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")

	c.must(0, "", "POST", "/login", `{"type":"m.login.password","user":"amy","password":"entirely new","device_id":"NEW"}`, &struct{}{})
	var in struct {
		Token string `json:"access_token"`
	}
	c.must(0, "", "POST", "/login", `{"type":"m.login.password","user":"amy","password":"entirely new"}`, &in)
	c.must(1, in.Token, "POST", "/account/3pid/delete", `{"medium":"email","address":"`+at+`"}`, nil)
	c.must(1, in.Token, "GET", "/account/3pid", "", &list)
	if len(list.Threepids) != 0 {
		t.Errorf("%+v", list)
	}
	c.settled()
	expect(t, login(2, "entirely new"), 403, "M_FORBIDDEN")
}

// TestRegistrationWithAddress makes an account for whoever confirms an address, and one for each.
func TestRegistrationWithAddress(t *testing.T) {
	t.Parallel()
	var mail mailbox
	c := newCluster(t, func(a *Accounts) { a.Registration.Email = EmailRequired })
	c.mail(mail.send)
	mail.down = true
	w := c.call(0, "", "POST", "/register/email/requestToken", `{"client_secret":"r","email":"amy@h","send_attempt":1}`)
	if !unavailable(w) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	mail.down = false
	sid := c.requestToken(1, "/register", "amy@h", "r", 1) // the same attempt again, since nothing was sent
	_, link := mail.last(t, 1, "amy@h")
	register := func(site int, name string) *httptest.ResponseRecorder {
		return c.call(site, "", "POST", "/register", `{"username":"`+name+`","password":"long enough","auth":{"session":"mine","type":"m.login.email.identity",
			"threepid_creds":{"sid":"`+sid+`","client_secret":"r"}}}`)
	}
	challengeOf(t, register(1, "amy"), "M_THREEPID_AUTH_FAILED")
	if w := c.follow(0, link); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	expect(t, register(2, "amy"), 200, "")
	expect(t, register(2, "amy"), 200, "") // the answer was lost
	c.settled()
	expect(t, register(0, "bob"), 400, "M_THREEPID_IN_USE")
	if got := c.sites[1].accounts.Addresses("@amy:h"); len(got) != 1 || got[0].Address != "amy@h" {
		t.Errorf("%+v", got)
	}
}

func TestAddressRefusals(t *testing.T) {
	var mail mailbox
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	ok := `{"client_secret":"s","email":"a@b","send_attempt":1}`
	expect(t, c.call(0, "", "POST", "/register/email/requestToken", ok), 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED") // no mail server
	expect(t, c.call(0, "", "POST", "/account/password", `{"new_password":"entirely new"}`), 401, "M_MISSING_TOKEN")
	c.mail(mail.send)
	for _, r := range []row{
		{"POST", "/register/email/requestToken", `{"client_secret":"s","email":"a b","send_attempt":1}`, 400, "M_INVALID_PARAM"},
		{"POST", "/register/email/requestToken", `{"client_secret":"s","email":"A <a@b>","send_attempt":1}`, 400, "M_INVALID_PARAM"},
		{"POST", "/register/email/requestToken", `{"client_secret":"s s","email":"a@b","send_attempt":1}`, 400, "M_INVALID_PARAM"},
		{"POST", "/register/email/requestToken", `{"client_secret":"s","email":"a@b","send_attempt":0}`, 400, "M_INVALID_PARAM"},
		{"POST", "/register/email/requestToken", `{"client_secret":"s","email":"a@b","send_attempt":"1"}`, 400, "M_BAD_JSON"},
		{"POST", "/register/email/requestToken", `{"email":"a@b","send_attempt":1}`, 400, "M_MISSING_PARAM"},
		{"POST", "/register/email/requestToken", strings.Replace(ok, "{", `{"next_link":"javascript:x",`, 1), 400, "M_INVALID_PARAM"},
		{"POST", "/register/msisdn/requestToken", `{}`, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"},
		{"POST", "/account/3pid/msisdn/requestToken", `{}`, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"},
		{"POST", "/account/password/msisdn/requestToken", `{}`, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"},
		{"POST", "/account/3pid/add", `{}`, 400, "M_MISSING_PARAM"},
		{"POST", "/account/3pid", `{}`, 400, "M_MISSING_PARAM"},
		{"POST", "/account/3pid", `{"three_pid_creds":{"sid":"s"}}`, 400, "M_MISSING_PARAM"},
		{"POST", "/account/3pid", `{"three_pid_creds":[]}`, 400, "M_BAD_JSON"},
		{"POST", "/account/3pid/bind", `{}`, 400, "M_SERVER_NOT_TRUSTED"},
		{"POST", "/account/3pid/unbind", `{}`, 400, "M_MISSING_PARAM"},
		{"POST", "/account/3pid/unbind", `{"medium":"email","address":"a@b"}`, 200, ""},
		{"POST", "/account/3pid/delete", `{"medium":"pigeon","address":"a@b"}`, 400, "M_INVALID_PARAM"},
		{"POST", "/account/3pid/delete", `{}`, 400, "M_MISSING_PARAM"},
		{"POST", "/account/3pid/delete", `{"medium":"email","address":"a@b"}`, 200, ""},
		{"POST", "/account/3pid/delete", `{"medium":"msisdn","address":"44"}`, 200, ""},
	} {
		expect(t, c.call(0, amy, r.method, r.path, r.body), r.status, r.errcode)
	}
	if len(mail.to) != 0 {
		t.Errorf("messages to %v", mail.to)
	}
	page := c.call(0, "", "GET", "/_bongsu/confirm?sid="+url.QueryEscape(`"><script>`)+"&token=x", "")
	if strings.Contains(page.Body.String(), "<script>") || page.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%s", page.Body)
	}
}
