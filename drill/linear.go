package drill

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is something that a contestant did to a thing that others want too.
type operation struct {
	Client int           `json:"client"`
	Kind   operationKind `json:"kind"`
	Thing  string        `json:"thing"`           // state key, or id of a one-time key; empty: a claim whose outcome is open
	Value  string        `json:"value,omitempty"` // written or read; a read of nothing is empty
	Began  time.Duration `json:"began_ns"`
	Ended  time.Duration `json:"ended_ns"`
	Open   bool          `json:"open,omitempty"` // no answer came: it may have happened, now or later, or not at all
}

type operationKind string

const (
	writeValue operationKind = "write"
	readValue  operationKind = "read"
	uploadKey  operationKind = "upload"
	claimKey   operationKind = "claim"
)

// linearizable checks that the operations on each thing can have happened one after the other, each between its beginning and its end.
func linearizable(ops []operation) []string {
	byThing := map[string][]operation{}
	for _, op := range ops {
		if op.Kind == claimKey && op.Open {
			continue // nobody knows which key it took, if any; that key is given to nobody else
		}
		byThing[op.Thing] = append(byThing[op.Thing], op)
	}
	var findings []string
	for _, thing := range slices.Sorted(maps.Keys(byThing)) {
		switch porcupine.CheckOperationsTimeout(model, history(byThing[thing]), checkWithin) {
		case porcupine.Illegal:
			findings = append(findings, fmt.Sprintf("not linearizable: %s: %s", thing, story(byThing[thing])))
		case porcupine.Unknown:
			findings = append(findings, fmt.Sprintf("unchecked: whether %s is linearizable took longer than %v to find out", thing, checkWithin))
		}
	}
	return findings
}

// checkWithin bounds the search for an order. Histories of a drill take milliseconds.
const checkWithin = 20 * time.Second

// model is one thing: a register, or a key that is there once. A key's value is "" before it is uploaded, then "there", then "taken".
var model = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		op := input.(operation) //nolint:errcheck,forcetypeassert // history makes the inputs
		switch op.Kind {
		case writeValue:
			return true, op.Value
		case readValue:
			return state == op.Value, state
		case uploadKey:
			if state == "taken" { // an upload that is repeated does not bring it back
				return true, state
			}
			return true, "there"
		default:
			return state == "there", "taken"
		}
	},
}

// history is ops as porcupine takes them. What is open has no end; an open operation that never happened is one that happens after
// everything else.
func history(ops []operation) []porcupine.Operation {
	all := make([]porcupine.Operation, len(ops))
	for i, op := range ops {
		end := int64(op.Ended)
		if op.Open {
			end = math.MaxInt64
		}
		all[i] = porcupine.Operation{ClientId: op.Client, Input: op, Call: int64(op.Began), Return: end}
	}
	return all
}

// story is the end of a history in words.
func story(ops []operation) string {
	var b strings.Builder
	for _, op := range ops[max(0, len(ops)-6):] {
		fmt.Fprintf(&b, "%s %s %v–%v; ", op.Kind, op.Value, op.Began.Round(time.Millisecond), op.Ended.Round(time.Millisecond))
	}
	return strings.TrimSuffix(b.String(), "; ")
}
