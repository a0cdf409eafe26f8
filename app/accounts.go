package app

import (
	"context"
	"slices"
	"strings"

	"bongsu/account"
	"bongsu/api/client"
	"bongsu/auth"
	"bongsu/config"
	"bongsu/id"
	"bongsu/mailer"
)

// registration is who may make an account, as the settings say. They have been validated.
func registration(cfg config.Config) client.Registration {
	r := client.Registration{Open: cfg.OpenRegistration, Tokens: cfg.Accounts.RegistrationTokens}
	if cfg.Accounts.RegistrationEmail != "off" {
		r.Email = client.Email(cfg.Accounts.RegistrationEmail)
	}
	terms, _ := cfg.Accounts.Documents()
	for _, t := range terms {
		i := slices.IndexFunc(r.Terms, func(p client.Policy) bool { return p.ID == t.ID })
		if i < 0 {
			i = len(r.Terms)
			r.Terms = append(r.Terms, client.Policy{ID: t.ID, Version: t.Version})
		}
		r.Terms[i].Texts = append(r.Terms[i].Texts, client.PolicyText{Language: t.Language, Name: t.Name, URL: t.URL})
	}
	return r
}

// support is whom people can ask for help, as the settings say. They have been validated.
func support(cfg config.Config) client.Support {
	out := client.Support{Page: cfg.Support.Page}
	people, _ := cfg.Support.People()
	for _, p := range people {
		out.Contacts = append(out.Contacts, client.Contact{Role: p.Role, User: p.User, Email: p.Email})
	}
	return out
}

// accountConfig is what the service of accounts works with.
func (s *Server) accountConfig() (account.Config, error) {
	cfg := account.Config{Replica: s.replica, Server: id.ServerName(s.cfg.ServerName), Passwords: auth.NewPasswords(auth.Config{}),
		TokenLife: s.cfg.Accounts.TokenLifetime, PublicURL: strings.TrimSuffix(s.cfg.PublicURL, "/"),
		ProfileChanged: func(_ context.Context, user id.UserID) { s.herald.Tell(user) }}
	m, err := s.cfg.Mail.Mailer()
	if m == nil || err != nil {
		return cfg, err
	}
	cfg.Mail = func(ctx context.Context, to, subject, text string) error {
		err := m.Send(ctx, mailer.Message{To: to, Subject: subject, Text: text})
		if err != nil {
			s.log.Warn("a message to an e-mail address could not be sent", "err", err) // the client is told only that
		}
		return err
	}
	return cfg, nil
}

// showAccount has the rooms of a user show what the account has become: another name or picture, or that it is closed.
func (s *Server) showAccount(ctx context.Context, user id.UserID) error {
	if a, _ := account.Find(s.replica.Rows(), user); a.Deactivated {
		return s.rooms.LeaveAll(ctx, user)
	}
	return s.rooms.ShowProfile(ctx, user)
}
