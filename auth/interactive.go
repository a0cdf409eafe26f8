package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"

	"bongsu/errs"
)

// The stages of user-interactive authentication that we have. Specification: Client-Server API, "User-Interactive Authentication
// API".
const (
	Dummy             = "m.login.dummy"
	Password          = "m.login.password"
	Email             = "m.login.email.identity"
	RegistrationToken = "m.login.registration_token"
	Terms             = "m.login.terms"

	// Token is a way to log in, and no stage.
	Token = "m.login.token"
)

// Flow is a way to authenticate: the stages to pass.
type Flow struct {
	Stages []string `json:"stages"`
}

// Challenge is the error of a call that needs a stage to be passed first. It is answered with 401 and what it holds.
type Challenge struct {
	Flows     []Flow
	Params    map[string]any // what a client has to know of a stage
	Session   string         // for the client to send along with its attempts
	Completed []string       // the stages passed so far
	Cause     error          // why the last attempt failed; nil: there was none
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
	Token      string      // of RegistrationToken
	Creds      Credentials // of Email
}

// Credentials name a confirmed address: the session in which it was confirmed, and the secret of the client that began it.
type Credentials struct {
	Session string `json:"sid"`
	Secret  string `json:"client_secret"`
}

// ParseAttempt reads "auth". Absent, null and {} are no attempt, and no error.
func ParseAttempt(raw json.RawMessage) (a Attempt, err error) {
	if len(raw) == 0 {
		return a, nil
	}
	var in struct {
		Type       string      `json:"type"`
		Session    string      `json:"session"`
		Identifier Identifier  `json:"identifier"`
		User       string      `json:"user"`
		Password   string      `json:"password"`
		Token      string      `json:"token"`
		Creds      Credentials `json:"threepid_creds"`
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

// Progress remembers which stages were passed in a session, for any site to go on.
type Progress interface {
	// Stages are the stages passed in a session, with what was noted of each.
	Stages(session string) map[string]string
	// PassStage notes that a stage was passed.
	PassStage(ctx context.Context, session, stage, note string) error
}

// Call is a call that only those may make who pass all stages of one of its flows.
type Call struct {
	Flows  []Flow
	Params map[string]any
	// Check decides an attempt at a stage other than Dummy. A note is kept with the stage until the flow is passed. errs.Forbidden and
	// errs.Unauthenticated refuse the attempt, and the client may try again; any other error is returned as it is. One attempt may be
	// decided more than once.
	Check func(ctx context.Context, session string, a Attempt) (note string, err error)
	// Progress is required where a flow has more than one stage.
	Progress Progress
}

// Passed is a flow that has been passed.
type Passed struct {
	Session string
	Notes   map[string]string // by stage
}

// Interactive decides an attempt. It returns a *Challenge while the client has not passed a flow.
//
// A flow of one stage is passed or not by the attempt itself, and nothing is remembered: the session only lets a client connect its
// calls, and a retried call be known. Of longer flows, stages are remembered until the last one is passed.
func (c Call) Interactive(ctx context.Context, a Attempt) (Passed, error) {
	p := Passed{Session: a.Session, Notes: map[string]string{}}
	if p.Session == "" {
		p.Session = base64.RawURLEncoding.EncodeToString(random(18))
	} else if c.Progress != nil {
		maps.Copy(p.Notes, c.Progress.Stages(a.Session))
	}
	var cause error
	if _, done := p.Notes[a.Type]; a.Type != "" && !done {
		note, err := c.attempt(ctx, p.Session, a)
		switch {
		case refuses(err):
			cause = err
		case err != nil:
			return Passed{}, err
		default:
			p.Notes[a.Type] = note
			if c.passed(p) {
				return p, nil
			}
			if err := c.Progress.PassStage(ctx, p.Session, a.Type, note); err != nil {
				return Passed{}, errs.Wrap("auth.Interactive", err)
			}
		}
	}
	if cause == nil && c.passed(p) {
		return p, nil
	}
	return Passed{}, &Challenge{Flows: c.Flows, Params: c.Params, Session: p.Session, Completed: c.completed(p), Cause: cause}
}

// Pass decides an attempt that comes before the call, as from a fallback page: the stage that it passes is remembered in its session, and
// the call is made with the session alone. Errors: those of Check; errs.Invalid without a session. Progress is required.
//
// Specification: "Fallback".
func (c Call) Pass(ctx context.Context, a Attempt) error {
	const op = "auth.Pass"
	if a.Session == "" || len(a.Session) > maxSession {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "a session has 1 to %d bytes", maxSession)
	}
	if _, done := c.Progress.Stages(a.Session)[a.Type]; done {
		return nil
	}
	note, err := c.attempt(ctx, a.Session, a)
	if err != nil {
		return err
	}
	return errs.Wrap(op, c.Progress.PassStage(ctx, a.Session, a.Type, note))
}

func (c Call) attempt(ctx context.Context, session string, a Attempt) (note string, err error) {
	if !slices.ContainsFunc(c.Flows, func(f Flow) bool { return slices.Contains(f.Stages, a.Type) }) {
		return "", noStage()
	}
	if a.Type == Dummy {
		return "", nil
	}
	return c.Check(ctx, session, a)
}

func noStage() error {
	return errs.New("auth.Interactive", errs.Forbidden, errs.Unrecognized, "there is no such stage in the flows")
}

// refuses reports whether an error is about the attempt, and not about us.
func refuses(err error) bool {
	return errs.Is(err, errs.Forbidden) || errs.Is(err, errs.Unauthenticated)
}

func (c Call) passed(p Passed) bool {
	return slices.ContainsFunc(c.Flows, func(f Flow) bool {
		return !slices.ContainsFunc(f.Stages, func(stage string) bool {
			_, done := p.Notes[stage]
			return !done
		})
	})
}

// completed are the stages that were passed, in the order of the flows.
func (c Call) completed(p Passed) (out []string) {
	for _, f := range c.Flows {
		for _, stage := range f.Stages {
			if _, done := p.Notes[stage]; done && !slices.Contains(out, stage) {
				out = append(out, stage)
			}
		}
	}
	return out
}
