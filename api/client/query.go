package client

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"bongsu/errs"
)

func badQuery(name, format string, args ...any) error {
	return errs.New("api.query", errs.Invalid, errs.InvalidParam, "query parameter "+strconv.Quote(name)+" "+format, args...)
}

// values parses the query once.
func (rq *Request) values() (map[string][]string, error) {
	if rq.query != nil {
		return rq.query, nil
	}
	values, err := parseValues("query", rq.http.URL.RawQuery)
	if err == nil {
		rq.query = values
	}
	return values, err
}

// Form is the body as browsers send forms.
func (rq *Request) Form() (url.Values, error) {
	body, err := rq.Body()
	if err != nil {
		return nil, err
	}
	return parseValues("form", string(body))
}

func parseValues(what, text string) (url.Values, error) {
	const op = "api.query"
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "the %s is malformed", what)
	}
	for name, all := range values {
		for _, v := range all {
			if !utf8.ValidString(name) || !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
				return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "the %s is not valid UTF-8, or has a NUL", what)
			}
		}
	}
	return values, nil
}

// QueryAll is every value of a query parameter, in order.
func (rq *Request) QueryAll(name string) ([]string, error) {
	values, err := rq.values()
	return values[name], err
}

// Query is the first value of a query parameter, or "".
func (rq *Request) Query(name string) (string, error) {
	all, err := rq.QueryAll(name)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return all[0], nil
}

// QueryOneOf is a query parameter with a fixed set of values, def if absent.
func (rq *Request) QueryOneOf(name, def string, allowed ...string) (string, error) {
	v, err := rq.Query(name)
	switch {
	case err != nil:
		return "", err
	case v == "":
		return def, nil
	case !slices.Contains(allowed, v):
		return "", badQuery(name, "is one of %s", strings.Join(allowed, ", "))
	}
	return v, nil
}

// QueryBool is a query parameter that is "true" or "false", false if absent.
func (rq *Request) QueryBool(name string) (bool, error) {
	v, err := rq.QueryOneOf(name, "false", "true", "false")
	return v == "true", err
}

// QueryInt is a query parameter that is a whole number of 64 bits, def if absent.
func (rq *Request) QueryInt(name string, def int64) (int64, error) {
	v, err := rq.Query(name)
	if err != nil || v == "" {
		return def, err
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, badQuery(name, "is not a whole number")
	}
	return n, nil
}

// QueryCount is a query parameter that counts things: def if absent, at most max whatever is asked, never negative.
func (rq *Request) QueryCount(name string, def, max int) (int, error) {
	n, err := rq.QueryInt(name, int64(def))
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, badQuery(name, "is negative")
	}
	return int(min(n, int64(max))), nil
}

// QueryMillis is a query parameter that is a time span in milliseconds: def if absent, at most max, never negative.
func (rq *Request) QueryMillis(name string, def, max time.Duration) (time.Duration, error) {
	n, err := rq.QueryInt(name, def.Milliseconds())
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, badQuery(name, "is negative")
	}
	return time.Duration(min(n, max.Milliseconds())) * time.Millisecond, nil
}
