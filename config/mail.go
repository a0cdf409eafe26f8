package config

import (
	"errors"
	"fmt"

	"bongsu/mailer"
)

// Mailer is the mailer that the settings describe, nil for none.
func (m Mail) Mailer() (*mailer.Mailer, error) {
	if m.Server == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	return mailer.New(mailer.Config{Server: m.Server, Security: mailer.Security(m.Security), From: m.From, User: m.User, Password: m.Password})
}

func (c *Config) checkMail() error {
	if c.Mail.Server == "" {
		if c.Accounts.RegistrationEmail == "required" || c.Accounts.RegistrationEmail == "optional" {
			return errors.New("--registration-email: name a mail server with --mail-server")
		}
		return nil
	}
	if c.Mail.From == "" {
		return errors.New("--mail-from: name the sender of messages, for example 'Example <no-reply@example.org>'")
	}
	if _, err := c.Mail.Mailer(); err != nil {
		return fmt.Errorf("--mail-server, --mail-from: %w", err)
	}
	if c.PublicURL == "" {
		return errors.New("--public-url: messages to e-mail addresses have links, and need it")
	}
	return nil
}
