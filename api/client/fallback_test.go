package client

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"bongsu/account"
)

var (
	inScript = regexp.MustCompile(`<script>(.*?)</script>`)
	aForm    = regexp.MustCompile(`<form method="post" action="(.*?)">(.*?)</form>`)
	aField   = regexp.MustCompile(`<input type="hidden" name="(.*?)" value="(.*?)">`)
)

// browse opens a page in a browser that reads Korean first.
func (c *cluster) browse(site int, method, path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(form))
	r.Header.Set("Accept-Language", "ko-KR,ko;q=0.9,en;q=0.8")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	judged(c.t, c.sites[site].API, w, r)
	return w
}

// press sends a form of a page as a browser would, with what a person has filled in.
func press(t *testing.T, w *httptest.ResponseRecorder, n int, fill string) (query, form string) {
	t.Helper()
	forms := aForm.FindAllStringSubmatch(strings.ReplaceAll(w.Body.String(), "\n", " "), -1)
	if len(forms) <= n {
		t.Fatalf("no form: %d %s", w.Code, w.Body)
	}
	values, err := url.ParseQuery(fill)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range aField.FindAllStringSubmatch(forms[n][2], -1) {
		values.Set(f[1], strings.ReplaceAll(f[2], "&#43;", "+"))
	}
	return forms[n][1], values.Encode()
}

// TestFallbackPagesAcrossSites: a client that knows no stage has its person pass them in a browser, each page at another site than the
// one before, and registers with the session alone.
func TestFallbackPagesAcrossSites(t *testing.T) {
	t.Parallel()
	var mail mailbox
	c := newCluster(t, func(a *Accounts) {
		a.Registration = Registration{Tokens: true, Email: EmailRequired, Terms: []Policy{{ID: "privacy", Version: "1.0",
			Texts: []PolicyText{{"en", "Privacy", "https://h/en"}, {"ko", "개인정보", "https://h/ko"}}}}}
	})
	c.mail(mail.send)
	token, err := c.sites[0].accounts.AddRegistrationToken(t.Context(), "", account.RegistrationToken{Name: "friends", Uses: 1})
	if err != nil {
		t.Fatal(err)
	}
	register := func(site int, auth string) *httptest.ResponseRecorder {
		return c.call(site, "", "POST", "/register", `{"username":"amy","password":"long enough","auth":`+auth+`}`)
	}
	u := challengeOf(t, register(0, `{}`), "")
	at := func(stage string) string {
		return "/_matrix/client/v3/auth/" + stage + "/fallback/web?session=" + url.QueryEscape(u.Session)
	}
	// step presses a button of a page and looks at what comes.
	step := func(site int, stage string, w *httptest.ResponseRecorder, form int, fill string, status int, says string) *httptest.ResponseRecorder {
		t.Helper()
		query, body := press(t, w, form, fill)
		path, _, _ := strings.Cut(at(stage), "?")
		w = c.browse(site, "POST", path+strings.ReplaceAll(query, "&amp;", "&"), body)
		script := inScript.FindStringSubmatch(w.Body.String())
		if w.Code != status || !strings.Contains(w.Body.String(), says) || (script != nil) != (says == korean.passed) {
			t.Fatalf("%s: %d %s, want %d %s", stage, w.Code, w.Body, status, says)
		}
		if script != nil {
			hash := sha256.Sum256([]byte(script[1]))
			if !strings.Contains(w.Header().Get("Content-Security-Policy"), "'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+"'") {
				t.Errorf("the page may not run its script: %s", w.Header())
			}
		}
		return w
	}

	page := c.browse(1, "GET", at("m.login.terms"), "")
	if text := page.Body.String(); !strings.Contains(text, `href="https://h/ko">개인정보</a>`) || !strings.Contains(text, `<html lang="ko">`) {
		t.Errorf("%s", text)
	}
	if text := c.call(1, "", "GET", at("m.login.terms"), "").Body.String(); !strings.Contains(text, `href="https://h/en">Privacy</a>`) {
		t.Errorf("%s", text)
	}
	step(2, "m.login.terms", page, 0, "", 200, korean.passed)

	page = c.browse(0, "GET", at("m.login.registration_token"), "")
	page = step(1, "m.login.registration_token", page, 0, "token=wrong", 403, korean.badToken)
	step(2, "m.login.registration_token", page, 0, "token="+token, 200, korean.passed)
	c.burn(2, 20)

	const email = "m.login.email.identity"
	page = step(0, email, c.browse(0, "GET", at(email), ""), 0, "email=nobody", 400, korean.badEmail)
	page = step(0, email, page, 0, "email=amy%40h", 200, korean.sentText)
	page = step(1, email, page, 0, "", 403, korean.unconfirmed)
	page = step(1, email, page, 1, "", 200, korean.sentText)
	got := challengeOf(t, register(1, `{"session":"`+u.Session+`"}`), "")
	if len(got.Completed) != 2 {
		t.Errorf("%+v", got)
	}
	_, link := mail.last(t, 2, "amy@h")
	if w := c.follow(0, link); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	step(1, email, page, 0, "", 200, korean.passed)
	expect(t, register(0, `{"session":"`+u.Session+`"}`), 200, "")
	if got := c.sites[0].accounts.Addresses("@amy:h"); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// TestFallbackRefusals is what a browser gets for a page that is not there; a session alone passes a single stage, too.
func TestFallbackRefusals(t *testing.T) {
	c := newCluster(t)
	const path = "/auth/m.login.dummy/fallback/web"
	for _, r := range []row{
		{"GET", "/auth/m.login.password/fallback/web?session=s", "", 404, "M_NOT_FOUND"},
		{"POST", "/auth/m.login.terms/fallback/web?session=s", "", 404, "M_NOT_FOUND"},
		{"GET", path, "", 400, "M_MISSING_PARAM"},
		{"POST", path + "?session=" + strings.Repeat("x", 256), "", 400, "M_INVALID_PARAM"},
		{"POST", path + "?session=s", "a=%", 400, "M_INVALID_PARAM"},
		{"POST", path + "?session=s", "a=%00", 400, "M_INVALID_PARAM"},
		{"POST", path + "?session=s", strings.Repeat("x", 20_000), 413, "M_TOO_LARGE"},
		{"POST", "/register", `{"username":"amy","password":"long enough","auth":{"session":"s"}}`, 401, ""},
	} {
		w := c.call(0, "", r.method, r.path, r.body)
		if w.Code != r.status || !strings.Contains(w.Body.String(), r.errcode) {
			t.Errorf("%s %s: %d %s, want %d %s", r.method, r.path, w.Code, w.Body, r.status, r.errcode)
		}
	}
	if w := c.call(1, "", "POST", path+"?session=s", ""); w.Code != 200 || !strings.Contains(w.Body.String(), "onAuthDone") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	expect(t, c.call(2, "", "POST", "/register", `{"username":"amy","password":"long enough","auth":{"session":"s"}}`), 200, "")
	page := c.call(0, "", "GET", path+"?session="+url.QueryEscape(`"><script>`), "")
	if strings.Contains(page.Body.String(), "<script>") {
		t.Errorf("%s", page.Body)
	}
	closed := newCluster(t, func(a *Accounts) { a.Registration = Registration{} })
	expect(t, closed.call(0, "", "GET", path+"?session=s", ""), 403, "M_FORBIDDEN")
}
