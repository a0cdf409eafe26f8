package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/clock"
	"bongsu/id"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// accountAPI serves the endpoints of accounts over a replica in memory.
type accountAPI struct {
	*API
	t        testing.TB
	accounts Accounts
	profiles *atomic.Int32 // how often a profile changed
}

const testPassword = "correct horse"

func newAccountAPI(t testing.TB, change func(*Accounts, *Config)) *accountAPI {
	t.Helper()
	return newHashingAPI(t, auth.Config{Memory: 8, Passes: 1}, change)
}

func newHashingAPI(t testing.TB, hashing auth.Config, change func(*Accounts, *Config)) *accountAPI {
	t.Helper()
	keys := replica.Machine{Name: "keys", Byte: 'k', Kinds: map[string]replica.Kind{
		"keys.forget": {Apply: func(*replica.Tx, []byte) ([]byte, error) { return nil, nil }},
	}}
	r := replicatest.New(t, replicatest.Options{Rules: 3, Machines: []replica.Machine{account.Machine(), keys}})
	aa := &accountAPI{t: t, profiles: new(atomic.Int32)}
	aa.accounts = Accounts{Registration: Registration{Open: true}, Service: account.New(account.Config{
		Replica: r, Server: "example.org", Passwords: auth.NewPasswords(hashing),
		ProfileChanged: func(context.Context, id.UserID) { aa.profiles.Add(1) },
	})}
	cfg := Config{Sessions: accountSessions{aa.accounts.Service}, Fresh: r, Limits: Limits{Off: true}}
	if change != nil {
		change(&aa.accounts, &cfg)
	}
	api, err := New(cfg, aa.accounts.Routes())
	if err != nil {
		t.Fatal(err)
	}
	aa.API = api
	return aa
}

// ServeHTTP serves a request of a test.
func (aa *accountAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) { judged(aa.t, aa.API, w, r) }

// accountSessions is the Sessions of an account service.
type accountSessions struct{ *account.Service }

func (s accountSessions) Authenticate(ctx context.Context, token string) (Session, error) {
	ses, err := s.Service.Authenticate(ctx, token)
	return Session(ses), err
}

// call sends a request with a token, or none if it is empty. The path is below /_matrix/client/v3.
func (aa *accountAPI) call(t testing.TB, token, method, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := newRequest(t, method, "/_matrix/client/v3"+path, body)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	aa.ServeHTTP(w, r)
	return w
}

// answer reads an answer that must be 200.
func answer(t testing.TB, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	expect(t, w, 200, "")
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// field is a member of an answer that is a string.
func field(t testing.TB, body map[string]any, name string) string {
	t.Helper()
	s, ok := body[name].(string)
	if !ok {
		t.Fatalf("no %s in %v", name, body)
	}
	return s
}

func (aa *accountAPI) register(t testing.TB, name string) (token string, device string) {
	t.Helper()
	body := answer(t, aa.call(t, "", "POST", "/register",
		`{"username":"`+name+`","password":"`+testPassword+`","auth":{"type":"m.login.dummy"}}`))
	if got := field(t, body, "user_id"); got != "@"+name+":example.org" {
		t.Fatal(got)
	}
	return field(t, body, "access_token"), field(t, body, "device_id")
}

// asked checks that w asks for a stage, and returns the session.
func asked(t testing.TB, w *httptest.ResponseRecorder, stage, errcode string) string {
	t.Helper()
	var body struct {
		Flows   []struct{ Stages []string }
		Params  map[string]any
		Session string
		Errcode string
		Error   *string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 401 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if fmt.Sprint(body.Flows) != "[{["+stage+"]}]" || body.Params == nil || body.Session == "" || body.Errcode != errcode ||
		(errcode == "") != (body.Error == nil) {
		t.Fatalf("asked for %s", w.Body)
	}
	return body.Session
}

// row is a call and what must come of it.
type row struct {
	method, path, body string
	status             int
	errcode            string
}

func (aa *accountAPI) table(t *testing.T, token string, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(fmt.Sprintf("%s %s %.80s", r.method, r.path, r.body), func(t *testing.T) {
			w := aa.call(t, token, r.method, r.path, r.body)
			if r.status == 401 && r.errcode == "" {
				asked(t, w, auth.Password, "")
				return
			}
			expect(t, w, r.status, r.errcode)
		})
	}
}

func TestRegistration(t *testing.T) {
	aa := newAccountAPI(t, nil)
	session := asked(t, aa.call(t, "", "POST", "/register", `{}`), auth.Dummy, "")
	if again := asked(t, aa.call(t, "", "POST", "/register", `{"auth":{"session":"`+session+`"}}`), auth.Dummy, ""); again != session {
		t.Error("another session")
	}
	asked(t, aa.call(t, "", "POST", "/register", `{"auth":{"type":"m.login.sso"}}`), auth.Dummy, "M_UNRECOGNIZED")
	asked(t, aa.call(t, "", "POST", "/register", `{"auth":null,"username":null,"password":null}`), auth.Dummy, "")

	full := `{"username":"Amy","password":"` + testPassword + `","device_id":"PHONE","initial_device_display_name":"Phone",
		"refresh_token":true,"auth":{"type":"m.login.dummy","session":"` + session + `"}}`
	first := answer(t, aa.call(t, "", "POST", "/register", full))
	if len(first) != 5 || first["expires_in_ms"] != 3600000.0 || field(t, first, "refresh_token") == "" || field(t, first, "user_id") != "@amy:example.org" || field(t, first, "device_id") != "PHONE" {
		t.Errorf("%v", first)
	}
	who := answer(t, aa.call(t, field(t, first, "access_token"), "GET", "/account/whoami", ""))
	if fmt.Sprint(who) != "map[device_id:PHONE is_guest:false user_id:@amy:example.org]" {
		t.Errorf("%v", who)
	}
	// The answer was lost: the client asks again and gets in.
	again := answer(t, aa.call(t, "", "POST", "/register", full))
	answer(t, aa.call(t, field(t, again, "access_token"), "GET", "/account/whoami", ""))
	// Somebody else does not.
	expect(t, aa.call(t, "", "POST", "/register", strings.Replace(full, session, "other", 1)), 400, "M_USER_IN_USE")

	out := answer(t, aa.call(t, "", "POST", "/register",
		`{"username":"bot","password":"`+testPassword+`","inhibit_login":true,"auth":{"type":"m.login.dummy"}}`))
	if fmt.Sprint(out) != "map[user_id:@bot:example.org]" {
		t.Errorf("%v", out)
	}
	anon := answer(t, aa.call(t, "", "POST", "/register", `{"password":"`+testPassword+`","auth":{"type":"m.login.dummy"}}`))
	field(t, anon, "access_token")

	const dummy = `,"auth":{"type":"m.login.dummy"}}`
	aa.table(t, "", []row{
		{"POST", "/register?kind=user", `{"username":"amy"}`, 400, "M_USER_IN_USE"}, // before anybody authenticates
		{"POST", "/register", `{"username":"a my"}`, 400, "M_INVALID_USERNAME"},
		{"POST", "/register", `{"username":"@amy:example.org"}`, 400, "M_INVALID_USERNAME"},
		{"POST", "/register", `{"username":"` + strings.Repeat("a", 250) + `"}`, 400, "M_INVALID_USERNAME"},
		{"POST", "/register", `{"username":"x","password":"short"}`, 400, "M_WEAK_PASSWORD"},
		{"POST", "/register", `{"username":"x"` + dummy, 400, "M_MISSING_PARAM"},
		{"POST", "/register", `{"username":"x","password":"` + testPassword + `","device_id":"a\u0000b"` + dummy, 400, "M_INVALID_PARAM"},
		{"POST", "/register", `{"username":1}`, 400, "M_BAD_JSON"},
		{"POST", "/register", `{"auth":[]}`, 400, "M_BAD_JSON"},
		{"POST", "/register", `{"auth":{"session":1}}`, 400, "M_BAD_JSON"},
		{"POST", "/register", `[]`, 400, "M_BAD_JSON"},
		{"POST", "/register", ``, 400, "M_NOT_JSON"},
		{"POST", "/register", `{`, 400, "M_NOT_JSON"},
		{"POST", "/register", `{"username":"a","username":"b"}`, 400, "M_BAD_JSON"},
		{"POST", "/register?kind=guest", `{}`, 403, "M_FORBIDDEN"},
		{"POST", "/register?kind=pope", `{}`, 400, "M_INVALID_PARAM"},
		{"GET", "/register", ``, 405, "M_UNRECOGNIZED"},
		{"GET", "/register/available?username=carl", ``, 200, ""},
		{"GET", "/register/available?username=AMY", ``, 400, "M_USER_IN_USE"},
		{"GET", "/register/available?username=", ``, 400, "M_INVALID_USERNAME"},
		{"GET", "/register/available?username=%ff", ``, 400, "M_INVALID_PARAM"},
		{"GET", "/register/available?username=a%20b", ``, 400, "M_INVALID_USERNAME"},
		{"GET", "/register/available", ``, 400, "M_MISSING_PARAM"},
	})
}

func TestRegistrationClosed(t *testing.T) {
	aa := newAccountAPI(t, func(a *Accounts, _ *Config) { a.Registration.Open = false })
	for _, r := range []row{{"POST", "/register", `{}`, 403, ""}, {"GET", "/register/available?username=a", "", 403, ""}} {
		w := aa.call(t, "", r.method, r.path, r.body)
		expect(t, w, 403, "M_FORBIDDEN")
		if !strings.Contains(w.Body.String(), "Registration has been disabled") {
			t.Errorf("%s", w.Body)
		}
	}
	if _, err := aa.accounts.Service.AddUser(t.Context(), "amy", testPassword, false); err != nil {
		t.Fatal(err)
	}
	answer(t, aa.call(t, "", "POST", "/login", `{"type":"m.login.password","user":"amy","password":"`+testPassword+`"}`))
}

// TestRegistrationRace has 100 clients want one name at once: one gets it, and the others are told.
func TestRegistrationRace(t *testing.T) {
	aa := newAccountAPI(t, nil)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			w := aa.call(t, "", "POST", "/register", `{"username":"amy","password":"`+testPassword+`","auth":{"type":"m.login.dummy"}}`)
			switch {
			case w.Code == 200:
				won.Add(1)
			case w.Code != 400 || !strings.Contains(w.Body.String(), "M_USER_IN_USE"):
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d won", won.Load())
	}
}

func TestLogin(t *testing.T) {
	aa := newAccountAPI(t, nil)
	token, device := aa.register(t, "amy")
	if got := answer(t, aa.call(t, "", "GET", "/login", "")); fmt.Sprint(got) != "map[flows:[map[type:m.login.password] map[get_login_token:true type:m.login.token]]]" {
		t.Errorf("%v", got)
	}
	login := func(rest string) map[string]any {
		t.Helper()
		return answer(t, aa.call(t, "", "POST", "/login", `{"type":"m.login.password","password":"`+testPassword+`",`+rest+`}`))
	}
	for _, who := range []string{
		`"identifier":{"type":"m.id.user","user":"amy"}`, `"identifier":{"type":"m.id.user","user":"@amy:example.org"}`,
		`"identifier":{"type":"m.id.user","user":"Amy"}`, `"user":"amy"`, `"user":"@amy:example.org"`,
	} {
		out := login(who)
		if len(out) != 3 || field(t, out, "user_id") != "@amy:example.org" || field(t, out, "device_id") == device {
			t.Errorf("%s: %v", who, out)
		}
	}
	// A known device gets a new token; the old one is not known any more.
	out := login(`"user":"amy","device_id":"` + device + `","initial_device_display_name":"New","refresh_token":true`)
	if field(t, out, "device_id") != device {
		t.Errorf("%v", out)
	}
	expect(t, aa.call(t, token, "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")
	answer(t, aa.call(t, field(t, out, "access_token"), "GET", "/account/whoami", ""))

	const pass = `"password":"` + testPassword + `"`
	aa.table(t, "", []row{
		{"POST", "/login", `{"type":"m.login.password","user":"amy","password":"wrong"}`, 403, "M_FORBIDDEN"},
		{"POST", "/login", `{"type":"m.login.password","user":"nobody",` + pass + `}`, 403, "M_FORBIDDEN"},
		{"POST", "/login", `{"type":"m.login.password","user":"@amy:other.org",` + pass + `}`, 403, "M_FORBIDDEN"},
		{"POST", "/login", `{"type":"m.login.password","user":"a\u0000",` + pass + `}`, 403, "M_FORBIDDEN"},
		{"POST", "/login", `{"type":"m.login.password","user":"amy"}`, 400, "M_MISSING_PARAM"},
		{"POST", "/login", `{"type":"m.login.password",` + pass + `}`, 400, "M_MISSING_PARAM"},
		{"POST", "/login", `{"user":"amy",` + pass + `}`, 400, "M_MISSING_PARAM"},
		{"POST", "/login", `{"type":"m.login.token","token":"x"}`, 403, "M_FORBIDDEN"},
		{"POST", "/login", `{"type":"m.login.token"}`, 400, "M_MISSING_PARAM"},
		{"POST", "/login", `{"type":"m.login.sso"}`, 400, "M_UNKNOWN"},
		{"POST", "/login", `{"type":"m.login.password","identifier":{"type":"m.id.thirdparty","medium":"email","address":"a@b"},` + pass + `}`, 403, "M_FORBIDDEN"},
		{"POST", "/login", `{"type":"m.login.password","medium":"email","address":"a@b",` + pass + `}`, 403, "M_FORBIDDEN"},
		{"POST", "/login", `{"type":"m.login.password","identifier":{"type":"m.id.phone","country":"KR","phone":"02"},` + pass + `}`, 400, "M_UNKNOWN"},
		{"POST", "/login", `{"type":"m.login.password","user":"amy","device_id":"` + strings.Repeat("x", 256) + `",` + pass + `}`, 400, "M_INVALID_PARAM"},
		{"POST", "/login", `{"type":"m.login.password","identifier":"amy",` + pass + `}`, 400, "M_BAD_JSON"},
		{"POST", "/login", `{"type":1}`, 400, "M_BAD_JSON"},
		{"POST", "/login", ``, 400, "M_NOT_JSON"},
		{"GET", "/account/whoami", ``, 401, "M_MISSING_TOKEN"},
	})
	expect(t, aa.call(t, "x", "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")
}

// TestGuessing limits how fast one account's password can be guessed, from however many addresses.
func TestGuessing(t *testing.T) {
	aa := newAccountAPI(t, func(_ *Accounts, c *Config) { c.Limits = Limits{Account: Rate{0.001, 3}} })
	token, _ := aa.register(t, "amy")
	const guess = `{"type":"m.login.password","user":"AMY","password":"wrong"}`
	for range 2 {
		expect(t, aa.call(t, "", "POST", "/login", guess), 403, "M_FORBIDDEN")
	}
	w := aa.call(t, token, "POST", "/account/password", `{"new_password":"another password","auth":{"type":"m.login.password","password":"wrong"}}`)
	asked(t, w, auth.Password, "M_FORBIDDEN")
	w = aa.call(t, "", "POST", "/login", guess)
	expect(t, w, 429, "M_LIMIT_EXCEEDED")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w = aa.call(t, token, "POST", "/account/password", `{"new_password":"another password","auth":{"type":"m.login.password","password":"wrong"}}`)
	expect(t, w, 429, "M_LIMIT_EXCEEDED")
	expect(t, aa.call(t, "", "POST", "/login", strings.Replace(guess, "AMY", "bob", 1)), 403, "M_FORBIDDEN")
}

// TestWrongPasswordsWait makes whoever guesses wait for longer each time, at login and where a password confirms something; the right one
// ends that.
func TestWrongPasswordsWait(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	aa := newAccountAPI(t, func(a *Accounts, _ *Config) {
		a.Guard = auth.NewGuard(clock.Func(func() time.Time { return now }))
	})
	token, _ := aa.register(t, "amy")
	login := func(password string) *httptest.ResponseRecorder {
		return aa.call(t, "", "POST", "/login", `{"type":"m.login.password","user":"AMY","password":"`+password+`"}`)
	}
	for range 6 {
		expect(t, login("wrong"), 403, "M_FORBIDDEN")
	}
	w := login(testPassword) // guessing does not go on with the right one
	expect(t, w, 429, "M_LIMIT_EXCEEDED")
	if w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"retry_after_ms":1000`) {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	expect(t, aa.call(t, token, "POST", "/account/password",
		`{"new_password":"another password","auth":{"type":"m.login.password","password":"wrong"}}`), 429, "M_LIMIT_EXCEEDED")
	now = now.Add(time.Second)
	expect(t, login("wrong"), 403, "M_FORBIDDEN")
	now = now.Add(time.Second)
	expect(t, login(testPassword), 429, "M_LIMIT_EXCEEDED")
	now = now.Add(time.Second)
	expect(t, login(testPassword), 200, "")
	for range 6 {
		expect(t, login("wrong"), 403, "M_FORBIDDEN")
	}
}

// TestUnknownUsersTakeAsLong compares the time of a wrong password with that of nobody's, by name and by address: as a ratio, of medians of
// attempts that take turns.
func TestUnknownUsersTakeAsLong(t *testing.T) {
	aa := newHashingAPI(t, auth.Config{Memory: 4 << 10, Passes: 4}, nil)
	aa.register(t, "amy")
	who := []string{`"user":"amy"`, `"user":"nobody"`, `"user":"not a name"`, `"medium":"email","address":"nobody@h"`}
	took := make([][]time.Duration, len(who))
	for range 15 {
		for i, name := range who {
			start := time.Now()
			expect(t, aa.call(t, "", "POST", "/login", `{"type":"m.login.password","password":"wrong",`+name+`}`), 403, "M_FORBIDDEN")
			took[i] = append(took[i], time.Since(start))
		}
	}
	median := func(d []time.Duration) float64 { slices.Sort(d); return d[len(d)/2].Seconds() }
	for i, name := range who {
		if ratio := median(took[i]) / median(took[0]); ratio < 0.5 || ratio > 2 {
			t.Errorf("%s takes %.2f of the time of a wrong password", name, ratio)
		}
	}
}

func TestLogout(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, _ := aa.register(t, "amy")
	out := answer(t, aa.call(t, "", "POST", "/login", `{"type":"m.login.password","user":"amy","password":"`+testPassword+`"}`))
	b := field(t, out, "access_token")
	answer(t, aa.call(t, b, "POST", "/logout", ""))
	expect(t, aa.call(t, b, "POST", "/logout", ""), 401, "M_UNKNOWN_TOKEN")
	answer(t, aa.call(t, a, "POST", "/logout/all", "{}"))
	expect(t, aa.call(t, a, "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")
}

func TestChangePassword(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, _ := aa.register(t, "amy")
	aa.register(t, "bob")
	out := answer(t, aa.call(t, "", "POST", "/login", `{"type":"m.login.password","user":"amy","password":"`+testPassword+`"}`))
	b := field(t, out, "access_token")
	session := asked(t, aa.call(t, a, "POST", "/account/password", `{"new_password":"another password"}`), auth.Password, "")
	change := func(token, rest, auth string) *httptest.ResponseRecorder {
		t.Helper()
		return aa.call(t, token, "POST", "/account/password", `{`+rest+`"auth":{"session":"`+session+`","type":"m.login.password",`+auth+`}}`)
	}
	const to, right = `"new_password":"another password",`, `"password":"` + testPassword + `"`
	asked(t, change(a, to, `"password":"wrong"`), auth.Password, "M_FORBIDDEN")
	asked(t, change(a, to, `"user":"amy"`), auth.Password, "M_FORBIDDEN")
	asked(t, change(a, to, `"identifier":{"type":"m.id.user","user":"bob"},`+right), auth.Password, "M_FORBIDDEN")
	expect(t, change(a, to, `"identifier":{"type":"m.id.phone"},`+right), 400, "M_UNKNOWN")
	expect(t, change(a, `"new_password":"short",`, right), 400, "M_WEAK_PASSWORD")
	expect(t, change(a, ``, right), 400, "M_MISSING_PARAM")
	expect(t, change(a, `"new_password":1,`, right), 400, "M_BAD_JSON")
	expect(t, change("", to, right), 401, "M_MISSING_TOKEN")

	answer(t, change(a, to+`"logout_devices":false,`, `"identifier":{"type":"m.id.user","user":"amy"},`+right))
	answer(t, aa.call(t, b, "GET", "/account/whoami", ""))
	asked(t, change(a, to, right), auth.Password, "M_FORBIDDEN")
	answer(t, change(a, to, `"user":"@amy:example.org","password":"another password"`))
	answer(t, aa.call(t, a, "GET", "/account/whoami", ""))
	expect(t, aa.call(t, b, "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")
}

func TestDeactivate(t *testing.T) {
	aa := newAccountAPI(t, nil)
	a, _ := aa.register(t, "amy")
	asked(t, aa.call(t, a, "POST", "/account/deactivate", ""), auth.Password, "")
	w := aa.call(t, a, "POST", "/account/deactivate", `{"auth":{"type":"m.login.password","password":"`+testPassword+`"}}`)
	if got := answer(t, w); fmt.Sprint(got) != "map[id_server_unbind_result:success]" {
		t.Errorf("%v", got)
	}
	aa.table(t, "", []row{
		{"POST", "/login", `{"type":"m.login.password","user":"amy","password":"` + testPassword + `"}`, 403, "M_USER_DEACTIVATED"},
		{"POST", "/register", `{"username":"amy"}`, 400, "M_USER_IN_USE"},
		{"GET", "/profile/@amy:example.org", ``, 404, "M_NOT_FOUND"},
	})
	expect(t, aa.call(t, a, "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")
}
