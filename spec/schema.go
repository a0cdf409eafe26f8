package spec

import (
	"encoding/json"
	"maps"
	"slices"
)

// schema is what one place of a body may hold, references followed and parts joined. Of alternatives the first is taken.
type schema struct {
	types      []string
	format     string
	enum       []any
	example    any
	properties map[string]place
	items      *place
	others     *place // of properties that are not named
}

// view reads the schema at p.
func (l *loader) view(p place) (schema, error) {
	s := schema{properties: map[string]place{}}
	err := l.join(&s, p, 0)
	return s, err
}

// join adds what p says to s. Definitions refer to themselves here and there, so depth is bounded.
func (l *loader) join(s *schema, p place, depth int) error {
	m, ok := p.node.(map[string]any)
	if !ok || depth > 10 {
		return nil
	}
	if _, refers := m["$ref"]; refers {
		target, err := l.follow(p)
		if err != nil {
			return err
		}
		if err := l.join(s, target, depth+1); err != nil {
			return err
		}
	}
	s.readScalars(p, m)
	for name := range p.members("properties") {
		child, _, err := l.raw(p, "properties", name)
		if err != nil {
			return err
		}
		s.properties[name] = child
	}
	if child, ok, err := l.raw(p, "items"); err != nil {
		return err
	} else if ok {
		s.items = &child
	}
	if child, ok, err := l.raw(p, "additionalProperties"); err != nil {
		return err
	} else if _, isSchema := child.node.(map[string]any); ok && isSchema {
		s.others = &child
	}
	for name := range p.members("patternProperties") {
		child, _, err := l.raw(p, "patternProperties", name)
		if err != nil {
			return err
		}
		s.others = &child
	}
	for _, word := range []string{"allOf", "oneOf", "anyOf"} {
		list, ok := m[word].([]any)
		if !ok {
			continue
		}
		for i, part := range list {
			if err := l.join(s, place{p.file, "", part}, depth+1); err != nil {
				return err
			}
			if word != "allOf" && i == 0 {
				break
			}
		}
	}
	return nil
}

// readScalars takes what needs no references.
func (s *schema) readScalars(p place, m map[string]any) {
	switch t := m["type"].(type) {
	case string:
		s.types = []string{t}
	case []any:
		for _, one := range t {
			if name, ok := one.(string); ok {
				s.types = append(s.types, name)
			}
		}
	}
	if f := p.text("format"); f != "" {
		s.format = f
	}
	if list, ok := m["enum"].([]any); ok {
		s.enum = list
	}
	if e, ok := m["example"]; ok {
		s.example = e
	}
}

// members are the members of an object within p.
func (p place) members(name string) map[string]any {
	m, ok := p.node.(map[string]any)
	if !ok {
		return nil
	}
	inner, ok := m[name].(map[string]any)
	if !ok {
		return nil
	}
	return inner
}

// raw is a place within p, references not followed. References in it are relative to its file, so the pointer does not matter.
func (l *loader) raw(p place, names ...string) (place, bool, error) {
	for _, name := range names {
		m, ok := p.node.(map[string]any)
		if !ok || m[name] == nil {
			return place{}, false, nil
		}
		p = place{file: p.file, node: m[name]}
	}
	return p, true, nil
}

// sample is a value for the schema at p: its example, or something simple of its type.
func (l *loader) sample(p place, depth int) (any, error) {
	s, err := l.view(p)
	if err != nil || depth > 6 {
		return nil, err
	}
	switch {
	case len(s.enum) > 0:
		return s.enum[0], nil
	case len(s.properties) > 0:
		out := map[string]any{}
		for _, name := range slices.Sorted(maps.Keys(s.properties)) {
			if out[name], err = l.sample(s.properties[name], depth+1); err != nil {
				return nil, err
			}
		}
		return out, nil
	case s.example != nil:
		return s.example, nil
	case slices.Contains(s.types, "array"):
		if s.items == nil {
			return []any{}, nil
		}
		v, err := l.sample(*s.items, depth+1)
		return []any{v}, err
	case slices.Contains(s.types, "object"):
		return map[string]any{}, nil
	case slices.Contains(s.types, "integer"), slices.Contains(s.types, "number"):
		return json.Number("1"), nil
	case slices.Contains(s.types, "boolean"):
		return true, nil
	}
	if text, ok := samples[s.format]; ok {
		return text, nil
	}
	return "x", nil
}

// samples are values of the formats, well-formed and of nothing that is there.
var samples = map[string]string{
	"mx-user-id": "@somebody:localhost", "mx-room-id": "!somewhere", "mx-event-id": "$something", "mx-room-alias": "#some:localhost",
	"mx-server-name": "localhost", "mx-mxc-uri": "mxc://localhost/some", "uri": "https://example.org/", "email": "a@example.org",
}
