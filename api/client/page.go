package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"slices"

	"golang.org/x/text/language"

	"bongsu/errs"
)

// page is what a person sees in a browser. It needs nothing but itself.
type page struct {
	Lang    string // of the words
	Title   string
	Text    string
	Problem string // why the last attempt has failed
	Links   []link // documents, which open elsewhere
	Forms   []form
	Next    string // a URL where the person goes on
	Done    bool   // the client that has opened the page is told that it can go on
}

type link struct{ Name, URL string }

// form is sent to the same path. Opening a page does nothing, since programs that look into mail open links; a person presses a button.
type form struct {
	Query  string            // of the path: "?a=b"
	Hidden map[string]string // fields that come back
	Label  string            // of the field that the person fills in; empty: there is none
	Name   string            // of that field
	Type   string            // of that field: "text", "email"
	Button string
}

// done is the script by which a client learns that a stage was passed. Specification: "Fallback" of user-interactive authentication.
const done = `if (window.onAuthDone) { window.onAuthDone(); } else if (window.opener && window.opener.postMessage) { window.opener.postMessage("authDone", "*"); }`

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="{{.Lang}}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}}</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color-scheme:light dark}
button,input{font:inherit;padding:.5rem 1.5rem;max-width:100%;box-sizing:border-box}input{display:block;padding:.5rem;margin-bottom:1rem}</style></head><body><h1>{{.Title}}</h1><p>{{.Text}}</p>
{{if .Problem}}<p role="alert"><strong>{{.Problem}}</strong></p>{{end}}
{{if .Links}}<ul>{{range .Links}}<li><a rel="noreferrer" target="_blank" href="{{.URL}}">{{.Name}}</a></li>{{end}}</ul>{{end}}
{{range .Forms}}<form method="post" action="{{.Query}}">{{range $name, $value := .Hidden}}<input type="hidden" name="{{$name}}" value="{{$value}}">{{end}}
{{if .Label}}<label>{{.Label}} <input type="{{.Type}}" name="{{.Name}}" required autofocus autocomplete="{{if eq .Type "email"}}email{{else}}off{{end}}"></label>
{{end}}<button>{{.Button}}</button></form>{{end}}
{{if .Next}}<p><a rel="noreferrer" href="{{.Next}}">{{.Next}}</a></p>{{end}}{{if .Done}}<script>` + done + `</script>{{end}}</body></html>
`))

// policy lets a page do what pages do. The one script is named by its hash.
var policy = func() string {
	hash := sha256.Sum256([]byte(done))
	return "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

func (p page) reply(status int) (any, error) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		return nil, errs.Wrap("api.page", err)
	}
	return Reply{Status: status, Body: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Language", p.Lang)
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer") // what is in the link is a secret
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = b.WriteTo(w) // who does not get it loads it again
	})}, nil
}

// languages are those that pages can be read in, the first for everybody else.
var languages = language.NewMatcher([]language.Tag{language.English, language.Korean})

// maxLanguages is how much of a header is looked at, in bytes.
const maxLanguages = 255

// speaks is what the person at the browser reads: the words of the pages, and the languages that they want, the best first.
func (rq *Request) speaks() (phrases, []string) {
	header := rq.Header("Accept-Language")
	wanted, _, err := language.ParseAcceptLanguage(header[:min(len(header), maxLanguages)])
	if err != nil {
		return english, nil
	}
	var bases []string
	for _, tag := range wanted {
		base, _ := tag.Base()
		bases = append(bases, base.String())
	}
	if _, i, _ := languages.Match(wanted...); i == 1 {
		return korean, bases
	}
	return english, bases
}

// in is a policy's text in the best of some languages; else in English, else the first there is.
func (p *Policy) in(wanted []string) PolicyText {
	for _, l := range append(slices.Clone(wanted), english.lang) {
		if i := slices.IndexFunc(p.Texts, func(t PolicyText) bool { return t.Language == l }); i >= 0 {
			return p.Texts[i]
		}
	}
	if len(p.Texts) == 0 {
		return PolicyText{Name: p.ID}
	}
	return p.Texts[0]
}
