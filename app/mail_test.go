package app

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"bongsu/config"
	"bongsu/mailer/mailertest"
)

// mailing are settings with a mail server.
func mailing(t *testing.T, smtp *mailertest.Server) config.Config {
	t.Helper()
	cfg := settings(t.TempDir())
	cfg.PublicURL = "https://chat.example.org/"
	cfg.Accounts.RegistrationEmail = "required"
	cfg.Mail.Server, cfg.Mail.Security, cfg.Mail.From = smtp.Address, "none", "Bongsu <no-reply@example.org>"
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestMailIsSent: the mail server of the settings gets the messages of a registration and of a forgotten password, and the links in them
// work.
func TestMailIsSent(t *testing.T) {
	smtp := mailertest.Start(t, nil)
	s := open(t, mailing(t, smtp))
	ask := func(path string, attempt int) string {
		return fmt.Sprintf(`{"client_secret":"s%s","email":"amy@example.org","send_attempt":%d}`, path[:1], attempt)
	}
	const reg, forgot = "register", "account/password"
	post := func(path, body string) map[string]any {
		t.Helper()
		return call(t, s, "", "POST", "/_matrix/client/v3/"+path, body)
	}
	// letter is the message that comes, and follows the link in it.
	letter := func(subject string) {
		t.Helper()
		var m mailertest.Message
		select {
		case m = <-smtp.Messages:
		case <-time.After(20 * time.Second):
			t.Fatal("no message")
		}
		_, link, _ := strings.Cut(m.Text, "https://chat.example.org")
		link, _, _ = strings.Cut(link, "\n")
		if m.From != "no-reply@example.org" || m.To != "amy@example.org" || m.Subject != subject || !strings.HasPrefix(link, "/_bongsu/confirm?") {
			t.Fatalf("%+v", m)
		}
		w := httptest.NewRecorder()
		s.Handler.ServeHTTP(w, httptest.NewRequest("POST", strings.TrimSpace(link), nil))
		if w.Code != 200 {
			t.Fatalf("the link: %d %s", w.Code, w.Body)
		}
	}
	creds := func(sid any, secret string) string {
		return fmt.Sprintf(`"auth":{"type":"m.login.email.identity","threepid_creds":{"sid":%q,"client_secret":%q}}`, sid, secret)
	}

	sid := post(reg+"/email/requestToken", ask(reg, 1))["sid"]
	letter("Your new account at localhost")
	amy := post(reg, `{"username":"amy","password":"correct horse",`+creds(sid, "sr")+`}`)["access_token"].(string)
	threepids := call(t, s, amy, "GET", "/_matrix/client/v3/account/3pid", "")["threepids"].([]any)
	if len(threepids) != 1 || threepids[0].(map[string]any)["address"] != "amy@example.org" {
		t.Errorf("%v", threepids)
	}

	sid = post(forgot+"/email/requestToken", ask(forgot, 1))["sid"]
	letter("New password at localhost")
	post(forgot, `{"new_password":"battery staple",`+creds(sid, "sa")+`}`)
	post("login", `{"type":"m.login.password","password":"battery staple","identifier":{"type":"m.id.thirdparty","medium":"email","address":"amy@example.org"}}`)
	if n := len(smtp.Messages); n != 0 {
		t.Errorf("%d more messages", n)
	}
}

// TestMailIsRefused: while the mail server takes nothing, people are told to try again.
func TestMailIsRefused(t *testing.T) {
	smtp := mailertest.Start(t, nil)
	smtp.Refuse = "451 not now"
	s := open(t, mailing(t, smtp))
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, httptest.NewRequest("POST", "/_matrix/client/v3/register/email/requestToken",
		strings.NewReader(`{"client_secret":"s","email":"amy@example.org","send_attempt":1}`)))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || len(smtp.Messages) != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
