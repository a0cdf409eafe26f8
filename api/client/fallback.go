package client

import (
	"context"
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"bongsu/account"
	"bongsu/auth"
	"bongsu/errs"
)

// A client that does not know a stage of a registration opens a page for it in a browser. What the person does there is noted in the
// session, for any site. There is none for the password: whoever has to prove it has logged in before.
//
// Specification: "Fallback" of user-interactive authentication.

func (a Accounts) fallbackRoutes() []Route {
	const path, most = "/_matrix/client/v3/auth/{authType}/fallback/web", 16 << 10
	return []Route{
		{Op: "fallbackPage", Method: "GET", Path: path, Auth: None, Static: true, Handle: a.fallbackPage},
		{Op: "passFallback", Method: "POST", Path: path, Auth: None, Limit: LimitRegister, MaxBody: most, Deadline: mailPatience,
			Handle: a.passFallback},
	}
}

// fallback is a stage of a registration that somebody is to pass on a page.
type fallback struct {
	call    auth.Call
	stage   string
	session string
	words   phrases
	wanted  []string // languages
}

func (a Accounts) fallback(rq *Request) (f fallback, err error) {
	op := "api." + rq.Op()
	if err := a.open(op); err != nil {
		return f, err
	}
	f.call, f.stage = a.registration(), rq.Path("authType")
	if !slices.ContainsFunc(f.call.Flows, func(flow auth.Flow) bool { return slices.Contains(flow.Stages, f.stage) }) {
		return f, errs.New(op, errs.NotFound, "", "there is no page for %q", f.stage)
	}
	if err := rq.needs("session"); err != nil {
		return f, err
	}
	f.session, err = rq.Query("session")
	f.words, f.wanted = rq.speaks()
	return f, err
}

// form asks for what the stage needs.
func (f *fallback) form(button string, hidden map[string]string) form {
	return form{Query: "?" + url.Values{"session": {f.session}}.Encode(), Button: button, Hidden: hidden}
}

// page is where the person begins.
func (f *fallback) page(terms []Policy) page {
	w := &f.words
	p := page{Lang: w.lang, Title: w.step, Text: w.stepText}
	ask := f.form(w.goOn, nil)
	switch f.stage {
	case auth.Terms:
		p.Title, p.Text, ask.Button = w.terms, w.termsText, w.termsButton
		for _, t := range terms {
			text := t.in(f.wanted)
			p.Links = append(p.Links, link{text.Name, text.URL})
		}
	case auth.RegistrationToken:
		p.Title, p.Text, ask.Label, ask.Name, ask.Type = w.token, w.tokenText, w.token, "token", "text"
	case auth.Email:
		p.Title, p.Text, ask.Label, ask.Name, ask.Type = w.email, w.emailText, w.email, "email", "email"
	}
	p.Forms = []form{ask}
	return p
}

func (a Accounts) fallbackPage(_ context.Context, rq *Request) (any, error) {
	f, err := a.fallback(rq)
	if err != nil {
		return nil, err
	}
	return f.page(a.Registration.Terms).reply(http.StatusOK)
}

func (a Accounts) passFallback(ctx context.Context, rq *Request) (any, error) {
	f, err := a.fallback(rq)
	if err != nil {
		return nil, err
	}
	in, err := rq.Form()
	if err != nil {
		return nil, err
	}
	mail := mailed{in.Get("email"), in.Get("client_secret"), in.Get("sid"), in.Get("attempt")}
	if f.stage == auth.Email && mail.sid == "" {
		return a.mailFallback(ctx, rq, f, mail)
	}
	if err := rq.CatchUp(ctx); err != nil { // another site may know more
		return nil, err
	}
	err = f.call.Pass(ctx, auth.Attempt{Type: f.stage, Session: f.session, Token: in.Get("token"),
		Creds: auth.Credentials{Session: mail.sid, Secret: mail.secret}})
	switch {
	case errs.Is(err, errs.Forbidden) && f.stage == auth.Email:
		return f.mailed(mail, f.words.unconfirmed).reply(http.StatusForbidden)
	case errs.Is(err, errs.Forbidden):
		p := f.page(a.Registration.Terms)
		p.Problem = f.words.badToken
		return p.reply(http.StatusForbidden)
	case err != nil:
		return nil, err
	}
	return page{Lang: f.words.lang, Title: f.words.passed, Text: f.words.passedText, Done: true}.reply(http.StatusOK)
}

// mailed is what comes back from the page that tells people to look into their mail: nothing of it is kept here.
type mailed struct{ address, secret, sid, attempt string }

// mailFallback sends the message with the link, or another one.
func (a Accounts) mailFallback(ctx context.Context, rq *Request, f fallback, m mailed) (any, error) {
	if _, err := account.ParseAddress(m.address); err != nil {
		p := f.page(nil)
		p.Problem = f.words.badEmail
		return p.reply(http.StatusBadRequest)
	}
	attempt, err := strconv.ParseUint(m.attempt, 10, 31)
	if err != nil || m.secret == "" {
		attempt, m.secret = 0, rand.Text()
	}
	m.attempt = strconv.FormatUint(attempt+1, 10)
	m.sid, err = a.sendLink(ctx, rq, account.Request{Purpose: account.ForRegistration, Address: m.address, Secret: m.secret, Attempt: uint32(attempt) + 1})
	if err != nil {
		return nil, err
	}
	return f.mailed(m, "").reply(http.StatusOK)
}

// mailed tells the person to look into their mail.
func (f *fallback) mailed(m mailed, problem string) page {
	w := &f.words
	known := map[string]string{"email": m.address, "client_secret": m.secret, "attempt": m.attempt}
	again := f.form(w.sentAgain, maps.Clone(known))
	known["sid"] = m.sid
	confirmed := f.form(w.goOn, known)
	return page{Lang: w.lang, Title: w.sent, Text: w.sentText, Problem: problem, Forms: []form{confirmed, again}}
}
