package spec

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// BadBody is a body that is wrong in one place.
type BadBody struct {
	What string // the place and what is there
	At   string // the place: a pointer with * for indices
	Text []byte // CheckBody says whether it is against the schema; if not, it is only something that nobody sends
}

// Full is a body with every member that the schema names: those of good as they are there, others made up. It is JSON.
func (o *Operation) Full(good []byte) ([]byte, error) {
	if o.body == nil {
		return good, nil
	}
	made, err := o.loader.sample(*o.body, 0)
	if err != nil {
		return nil, err
	}
	given, err := jsonschema.UnmarshalJSON(bytes.NewReader(good))
	if err != nil {
		return nil, err
	}
	return json.Marshal(overlay(made, given))
}

// overlay is base with the members of top put over it, at all depths.
func overlay(base, top any) any {
	b, ok := base.(map[string]any)
	t, also := top.(map[string]any)
	if !ok || !also {
		return top
	}
	out := maps.Clone(b)
	for k, v := range t {
		if old, there := out[k]; there {
			v = overlay(old, v)
		}
		out[k] = v
	}
	return out
}

// BadBodies are all variants of a body that differ from it in one place: each member left out, and in each place values of
// every other type, out of every range, too long, too deep, in broken encodings, and identifiers that are none. The order is
// the same each time.
func (o *Operation) BadBodies(body []byte) ([]BadBody, error) {
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil || o.body == nil {
		return nil, err
	}
	w := &mutations{op: o, root: tree}
	if err := w.walk(tree, *o.body, ""); err != nil {
		return nil, err
	}
	return w.all, nil
}

// mutations walks a body and collects its variants.
type mutations struct {
	op   *Operation
	root any
	all  []BadBody
}

// mark stands where raw text goes: what is put into a body need not be JSON at all.
const mark = "\x01here\x01"

func (w *mutations) walk(value any, p place, at string) error {
	s, err := w.op.loader.view(p)
	if err != nil {
		return err
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			child, ok := s.properties[name]
			if !ok && s.others != nil {
				child = *s.others
			}
			old := value[name]
			delete(value, name)
			w.add(at+"/"+name, "left out", "")
			if err := w.replace(child, at+"/"+name, func(v any) { value[name] = v }, old); err != nil {
				return err
			}
		}
	case []any:
		for i := range value {
			child := place{}
			if s.items != nil {
				child = *s.items
			}
			if err := w.replace(child, at+"/*", func(v any) { value[i] = v }, value[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace puts every hostile value into one place, and then goes into the value that was there.
func (w *mutations) replace(p place, at string, set func(any), old any) error {
	s, err := w.op.loader.view(p)
	if err != nil {
		return err
	}
	set(mark)
	for _, raw := range hostile(s) {
		w.add(at, "is "+short(raw), raw)
	}
	set(old)
	return w.walk(old, p, at)
}

// add takes the body as it is now, raw in the place of the mark.
func (w *mutations) add(at, what, raw string) {
	text, err := json.Marshal(w.root)
	if err != nil {
		panic(err) // it came out of JSON
	}
	quoted, err := json.Marshal(mark)
	if err != nil {
		panic(err) // as above
	}
	text = bytes.Replace(text, quoted, []byte(raw), 1)
	w.all = append(w.all, BadBody{What: at + " " + what, At: at, Text: text})
}

func short(raw string) string {
	if len(raw) > 40 {
		return raw[:40] + "…"
	}
	return raw
}

// hostile are texts for a place of a body.
func hostile(s schema) []string {
	all := []string{
		`null`, `true`, `-1`, `1.5`, `1e99`, `1e400`, `9007199254740993`, `""`, `"\u0000"`, `"\ud800"`, "\"\xff\"", `[]`, `[null]`, `[{}]`, `{}`, `{"":{}}`,
		`{"a":1,"a":2}`, `"` + strings.Repeat("x", 70_000) + `"`, strings.Repeat(`[`, 300) + strings.Repeat(`]`, 300), `"x"`, `1`,
	}
	if len(s.enum) > 0 {
		all = append(all, `"nonsense"`)
	}
	if sigil, ok := sigils[s.format]; ok {
		for _, v := range []string{sigil, sigil + ":", sigil + ":localhost", sigil + "x", sigil + "x:", sigil + "x:far.example", sigil + "x y:localhost",
			sigil + strings.Repeat("x", 300) + ":localhost", "x:localhost", sigil + `\u0000:localhost`, sigil + `../..:localhost`} {
			all = append(all, `"`+v+`"`)
		}
	}
	return all
}

var sigils = map[string]string{"mx-user-id": "@", "mx-room-id": "!", "mx-event-id": "$", "mx-room-alias": "#", "mx-mxc-uri": "mxc://"}
