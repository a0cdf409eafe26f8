package filter

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"bongsu/errs"
	"bongsu/event"
)

func TestParse(t *testing.T) {
	for in, kind := range map[string]errs.Code{
		`{}`:                                   "",
		`{"room":{"timeline":{"limit":0}}}`:    "",
		`{"event_fields":["a"],"unknown":[1]}`: "",
		``:                                     errs.NotJSON,
		`[]`:                                   errs.BadJSON,
		`{"room":[]}`:                          errs.BadJSON,
		`{"room":{"rooms":"x"}}`:               errs.BadJSON,
		`{"room":{"timeline":{"limit":1.5}}}`:  errs.BadJSON,
		`{"room":{"state":{"limit":-1}}}`:      errs.BadJSON,
		`{"a":1,"a":2}`:                        errs.BadJSON,
	} {
		_, err := Parse([]byte(in))
		var code errs.Code
		if e, ok := err.(*errs.Error); ok { //nolint:errorlint // the outermost
			code = e.Code
		}
		if code != kind || (err == nil) != (kind == "") {
			t.Errorf("%.60s: %v", in, err)
		}
	}
}

func TestCheckIDs(t *testing.T) {
	for in, sound := range map[string]bool{
		`{}`: true,
		`{"room":{"rooms":["!a:h"],"timeline":{"senders":["@amy:h"],"not_rooms":["!b"]}},"presence":{"not_senders":["@bob:h"]}}`: true,
		`{"room":{"rooms":["a"]}}`:                                false,
		`{"room":{"not_rooms":["#a:h"]}}`:                         false,
		`{"room":{"state":{"rooms":["a"]}}}`:                      false,
		`{"room":{"timeline":{"senders":["amy"]}}}`:               false,
		`{"account_data":{"not_senders":["!a:h"]}}`:               false,
		`{"room":{"timeline":{"related_by_senders":["nobody"]}}}`: false,
	} {
		f, err := Parse([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.CheckIDs(); (err == nil) != sound || err != nil && !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := Parse([]byte(`{"a":"` + strings.Repeat("x", maxSize) + `"}`)); !errs.Is(err, errs.TooLarge) {
		t.Error(err)
	}
}

func TestFilterChooses(t *testing.T) {
	ev := &event.Event{}
	ev.Type, ev.Sender, ev.Content = "m.room.message", "@amy:h", event.Object(`{"url":"mxc://x"}`)
	for in, want := range map[string]bool{
		`{}`:                                     true,
		`{"types":[]}`:                           false,
		`{"types":["m.room.message"]}`:           true,
		`{"types":["m.*"]}`:                      true,
		`{"types":["*message","x"]}`:             true,
		`{"types":["m.*.topic"]}`:                false,
		`{"types":["m.*"],"not_types":["*.m*"]}`: false,
		`{"not_types":["m.room"]}`:               true,
		`{"senders":["@bob:h"]}`:                 false,
		`{"senders":[]}`:                         false,
		`{"senders":["@amy:h"]}`:                 true,
		`{"not_senders":["@amy:h"]}`:             false,
		`{"contains_url":true}`:                  true,
		`{"contains_url":false}`:                 false,
	} {
		f, err := Parse([]byte(`{"room":{"timeline":` + in + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Room.Timeline.Passes(ev); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(`{"room":{"timeline":{"types":["*a*b*","**"],"limit":3}}}`, "aab")
	f.Fuzz(func(t *testing.T, in, typ string) {
		filter, err := Parse([]byte(in))
		if err != nil {
			if !errs.Is(err, errs.Invalid) && !errs.Is(err, errs.TooLarge) {
				t.Fatal(err)
			}
			return
		}
		ev := &event.Event{}
		ev.Type, ev.Content = typ, event.Object(`{}`)
		filter.Room.Timeline.Passes(ev)
		if n := filter.Room.Timeline.Count(20, 100); n < 0 || n > 100 {
			t.Fatalf("limit %d", n)
		}
	})
}

// FuzzMatch: * is any text, and nothing else is special.
func FuzzMatch(f *testing.F) {
	f.Add("m.*.x", "m.room.x")
	f.Add("**", "")
	f.Fuzz(func(t *testing.T, pattern, typ string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(typ) {
			t.Skip("neither the filter nor the event would be read")
		}
		parts := strings.Split(pattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		want := regexp.MustCompile("(?s)^" + strings.Join(parts, ".*") + "$").MatchString(typ)
		if matchType(pattern, typ) != want {
			t.Errorf("%q %q: %v", pattern, typ, !want)
		}
	})
}
