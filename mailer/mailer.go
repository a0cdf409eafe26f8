// Package mailer sends e-mail through a server that the operator names.
//
// Invariant: Send returns nil only when the mail server has taken the message; from then on it is the mail server's.
//
// Limits: a connection for each message, plain text, one recipient; nothing is queued or tried again here.
package mailer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"

	"bongsu/errs"
)

// Security says how the connection is secured.
type Security string

// The ways to secure a connection.
const (
	StartTLS Security = "starttls" // TLS is asked for, and required
	TLS      Security = "tls"      // TLS from the first byte
	None     Security = "none"     // for a server on this machine
)

// Config says how mail is sent. Server and From are required.
type Config struct {
	Server   string // HOST:PORT
	Security Security
	From     string // "Example <no-reply@example.org>"
	User     string // empty: no authentication
	Password string
	Timeout  time.Duration // for one message; default 20 s
	TLS      *tls.Config   // default: the system's authorities, and the server's name
}

// Message is a message for one person.
type Message struct {
	To      string // an address
	Subject string
	Text    string
}

// Mailer sends messages. It is safe for concurrent use.
type Mailer struct {
	cfg  Config
	host string
	port int
}

// New makes one, without connecting. Errors name what is wrong with the configuration.
func New(cfg Config) (*Mailer, error) {
	host, port, err := net.SplitHostPort(cfg.Server)
	if err != nil {
		return nil, fmt.Errorf("%q is not HOST:PORT", cfg.Server)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%q is not a port, 1 to 65535", port)
	}
	if err := mail.NewMsg().From(cfg.From); err != nil {
		return nil, fmt.Errorf("%q is not an address such as 'Example <no-reply@example.org>'", cfg.From)
	}
	switch cfg.Security {
	case "":
		cfg.Security = StartTLS
	case StartTLS, TLS, None:
	default:
		return nil, fmt.Errorf("%q is none of starttls, tls and none", cfg.Security)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second
	}
	return &Mailer{cfg, host, int(n)}, nil
}

// Send hands a message to the mail server: errs.Unavailable if that fails, errs.Invalid for an address that is none.
func (m *Mailer) Send(ctx context.Context, msg Message) error {
	const op = "mailer.Send"
	out := mail.NewMsg()
	if err := out.From(m.cfg.From); err != nil {
		return errs.Wrap(op, err)
	}
	if err := out.To(msg.To); err != nil {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "%q is not an e-mail address", msg.To)
	}
	out.Subject(msg.Subject)
	out.SetDate()
	out.SetMessageID()
	out.SetBodyString(mail.TypeTextPlain, msg.Text)
	c, err := mail.NewClient(m.host, m.options()...)
	if err != nil {
		return errs.Wrap(op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	if err := c.DialAndSendWithContext(ctx, out); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = errors.Join(ctx.Err(), err)
		}
		return &errs.Error{Op: op, Kind: errs.Unavailable, Err: err, RetryAfter: 10 * time.Second,
			Message: "the mail server does not take the message now; try again"}
	}
	return nil
}

func (m *Mailer) options() []mail.Option {
	tlsConfig := m.cfg.TLS
	if tlsConfig == nil {
		tlsConfig = &tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12}
	}
	opts := []mail.Option{mail.WithTimeout(m.cfg.Timeout), mail.WithTLSConfig(tlsConfig)}
	switch m.cfg.Security {
	case TLS:
		opts = append(opts, mail.WithSSL())
	case None:
		opts = append(opts, mail.WithTLSPolicy(mail.NoTLS))
	case StartTLS:
		opts = append(opts, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	opts = append(opts, mail.WithPort(m.port)) // after WithSSL, which has its own
	if m.cfg.User != "" {
		opts = append(opts, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(m.cfg.User), mail.WithPassword(m.cfg.Password))
	}
	return opts
}
