package client

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"

	"bongsu/errs"
)

// maxDepth is how deep a body may nest.
const maxDepth = 100

// checkJSON checks that in is one JSON value as Matrix wants it: valid UTF-8, no key twice in an object, no deeper than maxDepth.
func checkJSON(in []byte) error {
	notJSON := errs.New("api.json", errs.Invalid, errs.NotJSON, "the body is not JSON")
	if !utf8.Valid(in) || !json.Valid(in) {
		return notJSON
	}
	type level struct {
		keys map[string]bool // nil in an array
		key  bool            // a key comes next
	}
	var stack []level
	dec := json.NewDecoder(bytes.NewReader(in))
	dec.UseNumber()
	for {
		t, err := dec.Token()
		if err == io.EOF { //nolint:errorlint // Token returns io.EOF itself
			return nil
		}
		if err != nil {
			return notJSON
		}
		if d, ok := t.(json.Delim); ok && (d == '}' || d == ']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if n := len(stack) - 1; n >= 0 && stack[n].keys != nil {
			if key, ok := t.(string); ok && stack[n].key {
				if stack[n].keys[key] {
					return errs.New("api.json", errs.Invalid, errs.BadJSON, "the key %q is there twice", key)
				}
				stack[n].keys[key], stack[n].key = true, false
				continue
			}
			stack[n].key = true
		}
		if d, ok := t.(json.Delim); ok {
			if len(stack) == maxDepth {
				return errs.New("api.json", errs.Invalid, errs.BadJSON, "the body nests deeper than %d", maxDepth)
			}
			l := level{}
			if d == '{' {
				l = level{keys: map[string]bool{}, key: true}
			}
			stack = append(stack, l)
		}
	}
}
