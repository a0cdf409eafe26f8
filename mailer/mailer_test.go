package mailer_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/mailer"
	"bongsu/mailer/mailertest"
)

// certificate is a certificate of this machine, and who trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12}
}

func TestSend(t *testing.T) {
	server, trusting := certificate(t)
	for _, c := range []struct {
		name     string
		security mailer.Security
		offered  bool
		user     string
		trust    *tls.Config
		fails    bool
	}{
		{"plain", mailer.None, false, "", nil, false},
		{"starttls", mailer.StartTLS, true, "amy", trusting, false},
		{"starttls is not offered", mailer.StartTLS, false, "", trusting, true},
		{"a certificate that nobody knows", mailer.StartTLS, true, "", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var offered *tls.Config
			if c.offered {
				offered = server
			}
			s := mailertest.Start(t, offered)
			m, err := mailer.New(mailer.Config{Server: s.Address, Security: c.security, From: "Bongsu 봉수 <no-reply@example.org>",
				User: c.user, Password: "secret", TLS: c.trust})
			if err != nil {
				t.Fatal(err)
			}
			err = m.Send(t.Context(), mailer.Message{To: "bob@example.org", Subject: "새 비밀번호", Text: "Open this:\n\nhttps://example.org/?a=b&c=" + strings.Repeat("d", 100) + "\n"})
			if c.fails {
				if !errs.Is(err, errs.Unavailable) || len(s.Messages) != 0 {
					t.Errorf("%v, %d messages", err, len(s.Messages))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := <-s.Messages
			if got.From != "no-reply@example.org" || got.To != "bob@example.org" || got.Subject != "새 비밀번호" || got.Secure != c.offered ||
				!strings.Contains(got.Text, "https://example.org/?a=b&c="+strings.Repeat("d", 100)) || got.User != "" && got.User != "amy secret" ||
				(got.User == "") != (c.user == "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	s := mailertest.Start(t, nil)
	s.Refuse = "451 not now"
	m, err := mailer.New(mailer.Config{Server: s.Address, Security: mailer.None, From: "a@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Send(t.Context(), mailer.Message{To: "b@example.org"}); !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
	if err := m.Send(t.Context(), mailer.Message{To: "b"}); !errs.Is(err, errs.Invalid) {
		t.Error(err)
	}
	for _, cfg := range []mailer.Config{
		{Server: "localhost", From: "a@b"}, {Server: "localhost:0", From: "a@b"}, {Server: "localhost:smtp", From: "a@b"},
		{Server: "localhost:25", From: "nobody"}, {Server: "localhost:25", From: "a@b", Security: "some"},
	} {
		if _, err := mailer.New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
