package client

import (
	"bytes"
	"context"
	"html/template"
	"net/http"

	"bongsu/errs"
)

// confirmation is the page behind the link in a message. Opening it does nothing, since programs that look into mail open links; the
// person presses the button.
var confirmation = template.Must(template.New("confirm").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}}</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
button{font:inherit;padding:.5rem 1.5rem}</style></head><body><h1>{{.Title}}</h1><p>{{.Text}}</p>
{{if .Ask}}<form method="post" action="?sid={{.Session}}&amp;token={{.Token}}"><button>Confirm</button></form>{{end}}
{{if .Next}}<p><a rel="noreferrer" href="{{.Next}}">{{.Next}}</a></p>{{end}}</body></html>
`))

// page is what confirmation shows.
type page struct {
	Title, Text          string
	Ask                  bool
	Session, Token, Next string
}

func (p page) reply(status int) (any, error) {
	var b bytes.Buffer
	if err := confirmation.Execute(&b, p); err != nil {
		return nil, errs.Wrap("api.confirm", err)
	}
	return Reply{Status: status, Body: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer") // the link is a secret
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = b.WriteTo(w) // who does not get it loads it again
	})}, nil
}

// linked are the session and the token of a link.
func linked(rq *Request) (session, token string, err error) {
	if session, err = rq.Query("sid"); err == nil {
		token, err = rq.Query("token")
	}
	return session, token, err
}

func (a Accounts) confirmationPage(_ context.Context, rq *Request) (any, error) {
	session, token, err := linked(rq)
	if err != nil {
		return nil, err
	}
	return page{Title: "Confirm your address", Text: "Press the button to confirm that this address is yours.", Ask: true,
		Session: session, Token: token}.reply(http.StatusOK)
}

func (a Accounts) confirm(ctx context.Context, rq *Request) (any, error) {
	session, token, err := linked(rq)
	if err != nil {
		return nil, err
	}
	next, err := a.Service.Confirm(ctx, session, token)
	switch {
	case errs.Is(err, errs.Forbidden):
		return page{Title: "This link is not good any more", Text: "Ask for another message in your app."}.reply(http.StatusForbidden)
	case err != nil:
		return nil, err
	}
	return page{Title: "Confirmed", Text: "You can close this page, and go on in your app.", Next: next}.reply(http.StatusOK)
}
