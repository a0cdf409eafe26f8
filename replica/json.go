package replica

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Marshal is the JSON of our own types, for bodies and results. Raw JSON in them stays as it is, to the byte, which json.Marshal
// would not grant. What cannot be encoded is a bug and panics.
func Marshal(v any) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("replica: marshal %T: %v", v, err))
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// JSON makes a Handler of a function of a decoded body. The verdict's body is the function's result as JSON; bytes are taken
// as they are, and nil is empty.
func JSON[B, R any](f func(*Tx, B) (R, error)) Handler {
	return func(tx *Tx, body []byte) ([]byte, error) {
		var b B
		if err := json.Unmarshal(body, &b); err != nil {
			return nil, fmt.Errorf("replica: body of %T: %w", b, err)
		}
		out, err := f(tx, b)
		if err != nil {
			return nil, err
		}
		switch out := any(out).(type) {
		case nil:
			return nil, nil
		case []byte:
			return out, nil
		default:
			return Marshal(out), nil
		}
	}
}
