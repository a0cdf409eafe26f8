// Package spec reads the Matrix specification's definitions of the Client-Server API and judges answers by them. It serves tests:
// they find the operation of a request, hold what the server answered against the operation's schemas, and make bad requests
// from the schemas of bodies and parameters.
//
// Invariant: what the specification says is read from its own files (v1.19/README.md), never written down again here.
//
// Limits: of a body only JSON is judged. A schema says which fields there must be and of which form, not what they should say, and
// it lets every further field pass.
package spec

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Version is the version of the specification.
const Version = "v1.19"

// home is where the files would be if they were on the web; references between them are resolved against it.
const home = "https://spec.matrix.org/" + Version + "/"

//go:embed v1.19
var files embed.FS

// Spec is the specification. It is safe for concurrent use.
type Spec struct {
	Operations []*Operation // by path and method
}

// Load reads all definitions, in under a second.
func Load() (*Spec, error) {
	l := &loader{docs: map[string]map[string]any{}}
	l.compiler = l.newCompiler()
	names, err := fs.Glob(files, Version+"/api/client-server/*.yaml")
	if err != nil {
		return nil, err
	}
	s := &Spec{}
	for _, name := range names {
		name = strings.TrimPrefix(name, Version+"/")
		ops, err := l.operations(name)
		if err != nil {
			return nil, fmt.Errorf("spec: %s: %w", name, err)
		}
		s.Operations = append(s.Operations, ops...)
	}
	slices.SortFunc(s.Operations, func(a, b *Operation) int {
		return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
	})
	return s, nil
}

// Operation is the operation with that operationId, or nil.
func (s *Spec) Operation(id string) *Operation {
	for _, o := range s.Operations {
		if o.ID == id {
			return o
		}
	}
	return nil
}

// Find is the operation of a request with that method and that escaped path, or nil. It knows r0, the name of v3 in old
// clients. HEAD is GET.
func (s *Spec) Find(method, escaped string) *Operation {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, p := range spellings(escaped) {
		var best *Operation
		segments := strings.Split(p, "/")
		for _, o := range s.Operations {
			if o.Method == method && o.matches(segments) && o.before(best) {
				best = o
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// spellings are the paths that the specification may list for p.
func spellings(p string) []string {
	all := []string{p}
	if rest, ok := strings.CutPrefix(p, "/_matrix/client/r0/"); ok {
		all = append(all, "/_matrix/client/v3/"+rest)
	}
	for _, old := range []string{"/_matrix/media/r0/", "/_matrix/media/v1/"} {
		if rest, ok := strings.CutPrefix(p, old); ok {
			all = append(all, "/_matrix/media/v3/"+rest)
		}
	}
	if strings.Contains(p, "/state/") { // the slash before an empty state key may be missing
		all = append(all, all[len(all)-1]+"/")
	}
	return all
}

// loader reads and keeps the files.
type loader struct {
	compiling sync.Mutex // the compiler serves one at a time
	compiler  *jsonschema.Compiler

	mu   sync.Mutex
	docs map[string]map[string]any // by name below the version
}

// compile is the schema at p.
func (l *loader) compile(p place) (*jsonschema.Schema, error) {
	l.compiling.Lock()
	defer l.compiling.Unlock()
	return l.compiler.Compile(p.url())
}

// doc is the file with that name, as JSON.
func (l *loader) doc(name string) (map[string]any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d, ok := l.docs[name]; ok {
		return d, nil
	}
	text, err := files.ReadFile(Version + "/" + name)
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	// Through JSON, so that numbers and dates are what the schemas' compiler expects.
	text, err = json.Marshal(stringKeys(tree))
	if err != nil {
		return nil, err
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d, ok := parsed.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is no object", name)
	}
	l.docs[name] = d
	return d, nil
}

// Load implements jsonschema.URLLoader.
func (l *loader) Load(url string) (any, error) {
	name, ok := strings.CutPrefix(url, home)
	if !ok {
		return nil, fmt.Errorf("spec: %s is not of the specification", url)
	}
	return l.doc(name)
}

// stringKeys makes an object of YAML, whose keys may be numbers, one of JSON.
func stringKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = stringKeys(v[k])
		}
	case map[any]any:
		out := map[string]any{}
		for k := range v {
			out[fmt.Sprint(k)] = stringKeys(v[k])
		}
		return out
	case []any:
		for i := range v {
			v[i] = stringKeys(v[i])
		}
	}
	return v
}

// place is a node of a file: what is there, and where that is.
type place struct {
	file    string
	pointer string // RFC 6901
	node    any
}

// at is the member of p with that name, references followed; false if there is none.
func (l *loader) at(p place, name string) (place, bool, error) {
	m, ok := p.node.(map[string]any)
	if !ok {
		return place{}, false, nil
	}
	child, ok := m[name]
	if !ok {
		return place{}, false, nil
	}
	escaped := strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	found, err := l.follow(place{p.file, p.pointer + "/" + escaped, child})
	return found, err == nil, err
}

// follow is p, or what p refers to.
func (l *loader) follow(p place) (place, error) {
	for {
		m, ok := p.node.(map[string]any)
		if !ok {
			return p, nil
		}
		ref, ok := m["$ref"].(string)
		if !ok {
			return p, nil
		}
		file, pointer, _ := strings.Cut(ref, "#")
		if file == "" {
			file = p.file
		} else {
			file = path.Join(path.Dir(p.file), file)
		}
		doc, err := l.doc(file)
		if err != nil {
			return place{}, err
		}
		p = place{file, "", doc}
		for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
			if name == "" {
				continue
			}
			name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
			m, ok := p.node.(map[string]any)
			if !ok || m[name] == nil {
				return place{}, fmt.Errorf("%s leads nowhere", ref)
			}
			p = place{file, p.pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name), m[name]}
		}
	}
}

// keys are the names in p, sorted.
func (p place) keys() []string {
	m, ok := p.node.(map[string]any)
	if !ok {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}

// text is the string at name in p, or empty.
func (p place) text(name string) string {
	m, ok := p.node.(map[string]any)
	if !ok {
		return ""
	}
	s, ok := m[name].(string)
	if !ok {
		return ""
	}
	return s
}

// yes reports whether p says true at name.
func (p place) yes(name string) bool {
	m, ok := p.node.(map[string]any)
	if !ok {
		return false
	}
	b, ok := m[name].(bool)
	return ok && b
}

func (p place) url() string { return home + p.file + "#" + p.pointer }
