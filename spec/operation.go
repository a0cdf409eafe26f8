package spec

import (
	"fmt"
	"strings"
)

// Token says whether an operation wants an access token.
type Token uint8

// What operations want of access tokens.
const (
	NoToken Token = iota
	MayToken
	MustToken
)

// Parameter is a parameter of a path or a query.
type Parameter struct {
	Name     string
	In       string // path, query or header
	Required bool
	Schema   map[string]any // references not followed
}

// Operation is one operation of the API. It is safe for concurrent use.
type Operation struct {
	ID           string // the operationId
	Method       string
	Path         string // with its root: /_matrix/client/v3/rooms/{roomId}/leave
	Summary      string
	Deprecated   bool
	Token        Token
	Parameters   []Parameter
	BodyRequired bool
	BodyTypes    []string // media types of the request's body; none if it has none

	loader   *loader
	second   bool   // listed with a space behind its path, which lets two operations have the same
	body     *place // of the schema of a JSON body
	answers  map[string]place
	segments []string
}

// operations reads the operations of one file.
func (l *loader) operations(name string) ([]*Operation, error) {
	doc, err := l.doc(name)
	if err != nil {
		return nil, err
	}
	root := basePath(doc)
	top := place{file: name, node: doc}
	paths, ok, err := l.at(top, "paths")
	if err != nil || !ok || root == "" {
		return nil, fmt.Errorf("no paths or no base path (%v)", err)
	}
	var all []*Operation
	for _, p := range paths.keys() {
		item, _, err := l.at(paths, p)
		if err != nil {
			return nil, err
		}
		for _, method := range item.keys() {
			node, _, err := l.at(item, method)
			if err != nil {
				return nil, err
			}
			o := &Operation{ID: node.text("operationId"), Method: strings.ToUpper(method), Path: root + strings.TrimSpace(p), Summary: node.text("summary"),
				Deprecated: node.yes("deprecated"), loader: l, second: strings.HasSuffix(p, " "), answers: map[string]place{}}
			if o.ID == "" {
				return nil, fmt.Errorf("%s %s has no operationId", method, p)
			}
			o.segments = strings.Split(o.Path, "/")
			if err := o.read(node); err != nil {
				return nil, fmt.Errorf("%s: %w", o.ID, err)
			}
			all = append(all, o)
		}
	}
	return all, nil
}

// basePath is the root of a file's paths.
func basePath(doc map[string]any) string {
	list, ok := doc["servers"].([]any)
	if !ok || len(list) != 1 {
		return ""
	}
	server := place{node: list[0]}
	for _, name := range []string{"variables", "basePath"} {
		m, ok := server.node.(map[string]any)
		if !ok {
			return ""
		}
		server = place{node: m[name]}
	}
	return server.text("default")
}

// read takes what an operation says of tokens, parameters, body and answers.
func (o *Operation) read(node place) error {
	l := o.loader
	m, ok := node.node.(map[string]any)
	if !ok {
		return fmt.Errorf("no object")
	}
	if ways, ok := m["security"].([]any); ok && len(ways) > 0 {
		o.Token = MustToken
		for _, way := range ways {
			if names, ok := way.(map[string]any); ok && len(names) == 0 {
				o.Token = MayToken
			}
		}
	}
	if err := o.readParameters(node, m); err != nil {
		return err
	}
	body, ok, err := l.at(node, "requestBody")
	if err != nil {
		return err
	}
	if ok {
		o.BodyRequired = body.yes("required")
		content, _, err := l.at(body, "content")
		if err != nil {
			return err
		}
		o.BodyTypes = content.keys()
		if media, ok, err := l.at(content, "application/json"); err != nil {
			return err
		} else if ok {
			schema, _, err := l.at(media, "schema")
			if err != nil {
				return err
			}
			o.body = &schema
		}
	}
	answers, _, err := l.at(node, "responses")
	if err != nil {
		return err
	}
	for _, status := range answers.keys() {
		if o.answers[status], _, err = l.at(answers, status); err != nil {
			return err
		}
	}
	return nil
}

func (o *Operation) readParameters(node place, m map[string]any) error {
	list, ok := m["parameters"].([]any)
	if !ok {
		return nil
	}
	for i, v := range list {
		p, err := o.loader.follow(place{node.file, fmt.Sprintf("%s/parameters/%d", node.pointer, i), v})
		if err != nil {
			return err
		}
		schema, _, err := o.loader.at(p, "schema")
		if err != nil {
			return err
		}
		tree, ok := schema.node.(map[string]any)
		if !ok {
			return fmt.Errorf("parameter %s has no schema", p.text("name"))
		}
		o.Parameters = append(o.Parameters, Parameter{Name: p.text("name"), In: p.text("in"), Required: p.yes("required"), Schema: tree})
	}
	return nil
}

// matches reports whether a path, split at its slashes, is one of the operation. Only the last segment may be empty.
func (o *Operation) matches(segments []string) bool {
	if len(segments) != len(o.segments) {
		return false
	}
	for i, want := range o.segments {
		switch {
		case !strings.HasPrefix(want, "{"):
			if segments[i] != want {
				return false
			}
		case segments[i] == "" && i != len(segments)-1:
			return false
		}
	}
	return true
}

// before reports whether a request that matches both is o's rather than b's: o's path says more of it, or o is the second of two
// operations at one path. Of those the first is the deprecated one, or the one with identity servers.
func (o *Operation) before(b *Operation) bool {
	if b == nil || o.literals() != b.literals() {
		return b == nil || o.literals() > b.literals()
	}
	return o.second
}

// literals is the number of segments that are no parameters.
func (o *Operation) literals() (n int) {
	for _, s := range o.segments {
		if !strings.HasPrefix(s, "{") {
			n++
		}
	}
	return n
}
