package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Term is a document that people accept when they make an account, in one language.
type Term struct{ ID, Version, Language, URL, Name string }

var (
	termID       = regexp.MustCompile(`^[0-9A-Za-z._~-]{1,255}$`)
	termLanguage = regexp.MustCompile(`^[A-Za-z]{2,8}([-_][0-9A-Za-z]{1,8})*$`)
)

// Documents are the terms, in the order of the setting.
func (a Accounts) Documents() ([]Term, error) {
	out := make([]Term, 0, len(a.Terms))
	for _, s := range a.Terms {
		f := strings.Fields(s)
		if len(f) < 5 {
			return nil, fmt.Errorf("%q is not 'ID VERSION LANGUAGE URL NAME'", s)
		}
		t := Term{f[0], f[1], f[2], f[3], strings.Join(f[4:], " ")}
		switch {
		case !termID.MatchString(t.ID) || !termID.MatchString(t.Version):
			return nil, fmt.Errorf("%q: an id and a version have characters of A-Z, a-z, 0-9 and . _ ~ -", s)
		case !termLanguage.MatchString(t.Language) || t.Language == "version":
			return nil, fmt.Errorf("%q: %q is not a language such as en or pt-BR", s, t.Language)
		case !isURL(t.URL):
			return nil, fmt.Errorf("%q: %q is not a URL", s, t.URL)
		}
		out = append(out, t)
	}
	return out, nil
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}
