package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"

	"bongsu/errs"
)

// The stages of user-interactive authentication that we have. Specification: Client-Server API, "User-Interactive Authentication
// API".
const (
	Dummy    = "m.login.dummy"
	Password = "m.login.password"
)

// Flow is a way to authenticate: the stages to pass.
type Flow struct {
	Stages []string `json:"stages"`
}

// Challenge is the error of a call that needs a stage to be passed first. It is answered with 401 and what it holds.
type Challenge struct {
	Flows   []Flow
	Session string // for the client to send along with its attempts
	Cause   error  // why the last attempt failed; nil: there was none
}

func (c *Challenge) Error() string {
	if c.Cause != nil {
		return "auth: challenge: " + c.Cause.Error()
	}
	return "auth: challenge"
}

func (c *Challenge) Unwrap() error { return c.Cause }

// Attempt is what a client sent as "auth".
type Attempt struct {
	Type       string
	Session    string
	Identifier Identifier
	User       string // legacy form of Identifier
	Password   string
}

// Identifier names who wants in. Specification: "Identifier types".
type Identifier struct {
	Type string `json:"type"`
	User string `json:"user"`
}

// IdentifierUser is the identifier type of user ids and their localparts.
const IdentifierUser = "m.id.user"

// Name is the user id or localpart that the attempt names, "" for none, errs.Unsupported for identifiers of other types.
func (i Identifier) Name(legacy string) (string, error) {
	switch i.Type {
	case "":
		return legacy, nil
	case IdentifierUser:
		return i.User, nil
	}
	return "", errs.New("auth.Identifier", errs.Unsupported, "", "identifiers of type %q are not supported", i.Type)
}

// ParseAttempt reads "auth". Absent, null and {} are no attempt, and no error.
func ParseAttempt(raw json.RawMessage) (a Attempt, err error) {
	if len(raw) == 0 {
		return a, nil
	}
	var in struct {
		Type       string     `json:"type"`
		Session    string     `json:"session"`
		Identifier Identifier `json:"identifier"`
		User       string     `json:"user"`
		Password   string     `json:"password"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return a, errs.New("auth.ParseAttempt", errs.Invalid, errs.BadJSON, `"auth" does not have the right shape`)
	}
	if len(in.Session) > maxSession {
		return a, errs.New("auth.ParseAttempt", errs.Invalid, errs.InvalidParam, "the session is longer than %d bytes", maxSession)
	}
	return Attempt(in), nil
}

const maxSession = 255

// Interactive decides an attempt at a flow of the one stage. It returns a *Challenge while the client has not passed it. check
// verifies a password for the stage Password: errs.Forbidden refuses the attempt, and the client may try again; any other error is
// returned as it is.
//
// Nothing is remembered between the calls: a flow of one stage is passed or not by the attempt itself, so any site may take it. The
// session only lets a client connect its calls, and a retried call be known.
func Interactive(ctx context.Context, a Attempt, stage string, check func(context.Context, Attempt) error) error {
	c := &Challenge{Flows: []Flow{{Stages: []string{stage}}}, Session: a.Session}
	if c.Session == "" {
		c.Session = base64.RawURLEncoding.EncodeToString(random(18))
	}
	switch {
	case a.Type == "":
		return c
	case a.Type != stage:
		c.Cause = errs.New("auth.Interactive", errs.Invalid, errs.Unrecognized, "there is no such stage in the flows")
		return c
	case stage == Dummy:
		return nil
	}
	err := check(ctx, a)
	if errs.Is(err, errs.Forbidden) {
		c.Cause = err
		return c
	}
	return err
}
