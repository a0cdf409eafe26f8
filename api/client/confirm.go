package client

import (
	"context"
	"net/http"
	"net/url"

	"bongsu/errs"
)

// linked are the session and the token of the link in a message.
func linked(rq *Request) (session, token string, err error) {
	if session, err = rq.Query("sid"); err == nil {
		token, err = rq.Query("token")
	}
	return session, token, err
}

// confirmationPage is the page behind that link.
func (a Accounts) confirmationPage(_ context.Context, rq *Request) (any, error) {
	session, token, err := linked(rq)
	if err != nil {
		return nil, err
	}
	w, _ := rq.speaks()
	return page{Lang: w.lang, Title: w.confirm, Text: w.confirmText, Forms: []form{{Button: w.confirmButton,
		Query: "?" + url.Values{"sid": {session}, "token": {token}}.Encode()}}}.reply(http.StatusOK)
}

func (a Accounts) confirm(ctx context.Context, rq *Request) (any, error) {
	session, token, err := linked(rq)
	if err != nil {
		return nil, err
	}
	w, _ := rq.speaks()
	next, err := a.Service.Confirm(ctx, session, token)
	switch {
	case errs.Is(err, errs.Forbidden):
		return page{Lang: w.lang, Title: w.badLink, Text: w.badLinkText}.reply(http.StatusForbidden)
	case err != nil:
		return nil, err
	}
	return page{Lang: w.lang, Title: w.confirmed, Text: w.confirmedText, Next: next}.reply(http.StatusOK)
}
