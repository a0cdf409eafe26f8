package event

import (
	"bytes"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/id"
)

// TestParseForeign: what a foreign server adds is kept where its hash covers it and dropped where it does not.
func TestParseForeign(t *testing.T) {
	ev, err := Build(V11, message(V11))
	if err != nil {
		t.Fatal(err)
	}
	foreign := Object(ev.Raw).With("unsigned", []byte(`{"age":5}`)).With("signatures", []byte(`{"example.org":{}}`))
	got, err := Parse(V11, append([]byte(" "), foreign...))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, ev)

	// A member that is not covered by the hash makes the event one to be redacted; its id stays.
	got, err = Parse(V11, Object(ev.Raw).With("extra", []byte(`1`)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, ev.Redact())

	// So does another content.
	got, err = Parse(V11, Object(ev.Raw).With("content", []byte(`{"body":"forged"}`)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, ev.Redact())

	// But what redaction keeps is covered by the id.
	got, err = Parse(V11, Object(ev.Raw).With("depth", []byte(`8`)))
	if err != nil || got.ID == ev.ID {
		t.Fatalf("another depth: %v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	ev, err := Build(V11, message(V11))
	if err != nil {
		t.Fatal(err)
	}
	good := Object(ev.Raw)
	for name, c := range map[string]struct {
		raw  []byte
		kind errs.Kind
	}{
		"not JSON":    {[]byte(`{`), errs.Invalid},
		"array":       {[]byte(`[]`), errs.Invalid},
		"empty":       {[]byte(`{}`), errs.Invalid},
		"no type":     {good.Without("type"), errs.Invalid},
		"no content":  {good.Without("content"), errs.Invalid},
		"no room":     {good.Without("room_id"), errs.Invalid},
		"no depth":    {good.Without("depth"), errs.Invalid},
		"no prev":     {good.Without("prev_events"), errs.Invalid},
		"type":        {good.With("type", []byte(`1`)), errs.Invalid},
		"state key":   {good.With("state_key", []byte(`null`)), errs.Invalid},
		"content":     {good.With("content", []byte(`[]`)), errs.Invalid},
		"sender":      {good.With("sender", []byte(`"amy"`)), errs.Invalid},
		"room":        {good.With("room_id", []byte(`"room"`)), errs.Invalid},
		"depth":       {good.With("depth", []byte(`"1"`)), errs.Invalid},
		"neg. depth":  {good.With("depth", []byte(`-1`)), errs.Invalid},
		"time":        {good.With("origin_server_ts", []byte(`null`)), errs.Invalid},
		"prev":        {good.With("prev_events", []byte(`{}`)), errs.Invalid},
		"prev id":     {good.With("prev_events", []byte(`["x"]`)), errs.Invalid},
		"prev of v1":  {good.With("prev_events", []byte(`[["$x",{}]]`)), errs.Invalid},
		"large":       {good.With("content", []byte(`{"a":"`+strings.Repeat("x", MaxSize)+`"}`)), errs.TooLarge},
		"long type":   {good.With("type", []byte(`"`+strings.Repeat("x", 256)+`"`)), errs.TooLarge},
		"float":       {good.With("content", []byte(`{"a":1.5}`)), errs.Invalid},
		"key twice":   {[]byte(strings.Replace(string(good), "{", `{"depth":7,`, 1)), errs.Invalid},
		"v12 in v11?": {good.With("room_id", []byte(`5`)), errs.Invalid},
	} {
		if _, err := Parse(V11, c.raw); !errs.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Parse("5", good); !errs.Is(err, errs.Invalid) {
		t.Errorf("version 5: %v", err)
	}
}

// TestLoadDamaged: every prefix of a row, and every row with one byte changed, is loaded or refused, and never misread as
// something longer than it is.
func TestLoadDamaged(t *testing.T) {
	for _, d := range drafts(V12) {
		ev, err := Build(V12, d)
		if err != nil {
			t.Fatal(err)
		}
		for i := range ev.Raw {
			if _, err := Load(V12, ev.ID, ev.Raw[:i:i]); !errs.Is(err, errs.Internal) {
				t.Fatalf("loaded %q: %v", ev.Raw[:i], err)
			}
			for _, c := range []byte("\"\\{}[],:0") {
				bent := bytes.Clone(ev.Raw)
				bent[i] = c
				if _, err := Load(V12, ev.ID, bent); err != nil && !errs.Is(err, errs.Internal) {
					t.Fatalf("%q: %v", bent, err)
				}
			}
		}
	}
}

// TestStateKey: an empty state key and none are different things.
func TestStateKey(t *testing.T) {
	d := message(V12)
	without, err := Build(V12, d)
	if err != nil {
		t.Fatal(err)
	}
	d.StateKey = ptr("")
	with, err := Build(V12, d)
	if err != nil {
		t.Fatal(err)
	}
	if without.ID == with.ID || without.IsState() || !with.Is(TypeMessage, "") || without.Is(TypeMessage, "") {
		t.Error("they are the same")
	}
	for _, ev := range []*Event{without, with} {
		got, err := Load(V12, ev.ID, ev.Raw)
		if err != nil || (got.StateKey == nil) != (ev.StateKey == nil) {
			t.Errorf("%s: %v, %v", ev.Raw, got.StateKey, err)
		}
	}
}

// TestRedactsNothing: a malformed target is no target.
func TestRedactsNothing(t *testing.T) {
	d := message(V12)
	d.Type, d.Content = TypeRedaction, Object(`{"redacts":"everything"}`)
	ev, err := Build(V12, d)
	if err != nil || ev.Redacts != "" {
		t.Fatalf("%q, %v", ev.Redacts, err)
	}
	d.Content = Object(`{"redacts":"` + string(prev) + `"}`)
	if ev, err = Build(V12, d); err != nil || ev.Redacts != prev {
		t.Fatalf("%q, %v", ev.Redacts, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range Versions() {
		for _, d := range drafts(v) {
			ev, err := Build(v, d)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(v), []byte(ev.Raw))
		}
	}
	f.Fuzz(func(t *testing.T, v string, raw []byte) {
		ev, err := Parse(RoomVersion(v), raw)
		if err != nil {
			if k := errs.KindOf(err); k != errs.Invalid && k != errs.TooLarge {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if canonical, err := Canonical(nil, ev.Raw); err != nil || !bytes.Equal(canonical, ev.Raw) {
			t.Fatalf("Raw is not canonical: %q", ev.Raw)
		}
		again, err := Parse(ev.Version, ev.Raw)
		if err != nil {
			t.Fatalf("%q parses to %q, which does not: %v", raw, ev.Raw, err)
		}
		same(t, again, ev)
		loaded, err := Load(ev.Version, ev.ID, ev.Raw)
		if err != nil {
			t.Fatal(err)
		}
		same(t, loaded, ev)
		if r := ev.Redact(); id.EventID(r.ID) != ev.ID {
			t.Fatalf("redaction changed %s", ev.ID)
		}
		if _, err := Canonical(nil, ev.AppendClient(nil, ClientFormat{})); err != nil {
			t.Fatalf("client form: %v", err)
		}
		if _, err := Canonical(nil, ev.AppendStripped(nil)); err != nil {
			t.Fatalf("stripped form: %v", err)
		}
	})
}
