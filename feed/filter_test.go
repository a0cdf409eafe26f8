package feed

import (
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/event"
)

func TestParseFilter(t *testing.T) {
	for in, kind := range map[string]errs.Code{
		`{}`:                                   "",
		`{"room":{"timeline":{"limit":0}}}`:    "",
		`{"event_fields":["a"],"unknown":[1]}`: "",
		``:                                     errs.NotJSON,
		`[]`:                                   errs.BadJSON,
		`{"room":[]}`:                          errs.BadJSON,
		`{"room":{"rooms":"x"}}`:               errs.BadJSON,
		`{"room":{"timeline":{"limit":1.5}}}`:  errs.BadJSON,
		`{"room":{"state":{"limit":-1}}}`:      errs.InvalidParam,
		`{"a":1,"a":2}`:                        errs.BadJSON,
		`{"a":"` + strings.Repeat("x", maxFilter) + `"}`: errs.InvalidParam,
	} {
		_, err := ParseFilter([]byte(in))
		var code errs.Code
		if e, ok := err.(*errs.Error); ok { //nolint:errorlint // the outermost
			code = e.Code
		}
		if code != kind || (err == nil) != (kind == "") {
			t.Errorf("%.60s: %v", in, err)
		}
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
		f, err := ParseFilter([]byte(`{"room":{"timeline":` + in + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Room.Timeline.passes(ev); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(`{"room":{"timeline":{"types":["*a*b*","**"],"limit":3}}}`, "aab")
	f.Fuzz(func(t *testing.T, in, typ string) {
		filter, err := ParseFilter([]byte(in))
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatal(err)
			}
			return
		}
		ev := &event.Event{}
		ev.Type, ev.Content = typ, event.Object(`{}`)
		filter.Room.Timeline.passes(ev)
		if n := filter.Room.Timeline.limit(); n < 0 || n > maxLimit {
			t.Fatalf("limit %d", n)
		}
	})
}
