package drill

import (
	"strings"
	"testing"
	"time"
)

// op is an operation from second to second.
func op(kind operationKind, thing, value string, began, ended int) operation {
	return operation{Kind: kind, Thing: thing, Value: value, Began: time.Duration(began) * time.Second, Ended: time.Duration(ended) * time.Second}
}

func openOp(o operation) operation {
	o.Open = true
	return o
}

func TestLinearizable(t *testing.T) {
	for name, c := range map[string]struct {
		ops  []operation
		want string // "" or a part of the finding
	}{
		"nothing":               {nil, ""},
		"one after the other":   {[]operation{op(writeValue, "k", "a", 0, 1), op(writeValue, "k", "b", 2, 3), op(readValue, "k", "b", 4, 5)}, ""},
		"at once, either wins":  {[]operation{op(writeValue, "k", "a", 0, 3), op(writeValue, "k", "b", 1, 2), op(readValue, "k", "a", 4, 5)}, ""},
		"open, and it happened": {[]operation{op(writeValue, "k", "a", 0, 1), openOp(op(writeValue, "k", "b", 2, 3)), op(readValue, "k", "b", 9, 10)}, ""},
		"open, and it did not":  {[]operation{op(writeValue, "k", "a", 0, 1), openOp(op(writeValue, "k", "b", 2, 3)), op(readValue, "k", "a", 9, 10)}, ""},
		"other keys do not matter": {[]operation{op(writeValue, "k", "a", 0, 1), op(writeValue, "l", "b", 2, 3), op(readValue, "k", "a", 4, 5),
			op(readValue, "l", "b", 4, 5)}, ""},
		"lost": {[]operation{op(writeValue, "k", "a", 0, 1), op(readValue, "k", "", 2, 3)}, "not linearizable: k"},
		"an older one came back": {[]operation{op(writeValue, "k", "a", 0, 1), op(writeValue, "k", "b", 2, 3), op(readValue, "k", "a", 4, 5)},
			"not linearizable: k"},
		"two sites hold two values": {[]operation{op(writeValue, "k", "a", 0, 3), op(writeValue, "k", "b", 0, 3), op(readValue, "k", "a", 4, 5),
			op(readValue, "k", "b", 6, 7)}, "not linearizable: k"},
		"from nowhere": {[]operation{op(readValue, "k", "x", 4, 5)}, "not linearizable: k"},
		"a key once":   {[]operation{op(uploadKey, "id", "", 0, 1), op(claimKey, "id", "", 2, 3)}, ""},
		"a key of an upload that nobody heard of": {[]operation{openOp(op(uploadKey, "id", "", 0, 1)), op(claimKey, "id", "", 2, 3)}, ""},
		"a claim that nobody heard of":            {[]operation{op(uploadKey, "id", "", 0, 1), openOp(op(claimKey, "", "", 2, 3))}, ""},
		"a key twice": {[]operation{op(uploadKey, "id", "", 0, 1), op(claimKey, "id", "", 2, 3), op(claimKey, "id", "", 2, 4)},
			"not linearizable: id"},
		"a key before its upload": {[]operation{op(claimKey, "id", "", 0, 1), op(uploadKey, "id", "", 2, 3)}, "not linearizable: id"},
		"a key of nobody":         {[]operation{op(claimKey, "id", "", 0, 1)}, "not linearizable: id"},
		"a key again after its upload was repeated": {[]operation{op(uploadKey, "id", "", 0, 1), op(claimKey, "id", "", 2, 3),
			op(uploadKey, "id", "", 4, 5), op(claimKey, "id", "", 6, 7)}, "not linearizable: id"},
	} {
		got := strings.Join(linearizable(c.ops), "\n")
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
