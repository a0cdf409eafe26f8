package replica

import (
	"errors"
	"fmt"

	"bongsu/errs"
	"bongsu/id"
)

// Machine is one deterministic state machine: the kinds of proposal that it decides, and its rows.
type Machine struct {
	Name  string // for people, "room"
	Byte  byte   // marks its rows; unique, never 0, never changed
	Kinds map[string]Kind
	// Renew, if there is one, renews what the machine keeps in the slot of tx before a new epoch begins: a server that was
	// restored may have said more than it now knows. Like a Handler it is total and pure.
	Renew func(tx *Tx)
	// Forget, if there is one, drops all that the machine remembers of rows outside of them: they may have been wrong, and those
	// that are made anew in their place need not differ in what tells one state from another. It is called when the rows of any
	// partition have been discarded and before others are read, while other partitions go on applying. What a machine remembers
	// otherwise is its own affair; that it remembers at all must never show in a verdict.
	Forget func()
	// Derive makes the machine's derived rows from its state; nil: it has none. Derived is the version of what it makes: whoever changes
	// what handlers and Derive write raises it, and the rows of every data directory are made anew, once.
	Derive  Deriver
	Derived uint16
}

// Kind is a kind of proposal.
type Kind struct {
	Since uint16  // the rules version that introduced it; 0 counts as 1
	Apply Handler // decides it
}

// Handler decides one proposal. It reads and writes through tx alone and is total and pure: no clock, randomness,
// environment, map order, float or other goroutine. Its result becomes the verdict's body. An *errs.Error refuses: nothing that
// the handler wrote stays. Any other error, and a panic, is a bug of ours and becomes the verdict "failed".
//
// body aliases the record: a handler keeps no part of it beyond the call without copying, except by writing it to a row.
type Handler func(tx *Tx, body []byte) ([]byte, error)

// failed is the verdict on a proposal whose handler panicked: the same words everywhere.
func failed() *errs.Error {
	return &errs.Error{Op: "replica.apply", Kind: errs.Internal, Message: "internal error"}
}

// verdict is what becomes of a proposal.
type verdict struct {
	err  *errs.Error // nil: accepted
	body []byte
}

// encode keeps an accepted verdict; refusals are not kept, since they had no effect and a later retry may fare better.
func (v verdict) encode(dst []byte) []byte { return append(dst, v.body...) }

type registered struct {
	Kind
	machine byte
}

// register gathers the kinds of all machines, refusing what collides.
func register(machines []Machine) (map[string]registered, error) {
	kinds := map[string]registered{}
	seen := map[byte]string{machineReplica: "replica"}
	for _, m := range machines {
		if other, ok := seen[m.Byte]; ok {
			return nil, fmt.Errorf("replica: machines %s and %s share the byte %d", other, m.Name, m.Byte)
		}
		seen[m.Byte] = m.Name
		for name, k := range m.Kinds {
			if _, ok := kinds[name]; ok {
				return nil, fmt.Errorf("replica: kind %s is registered twice", name)
			}
			if k.Since == 0 {
				k.Since = 1
			}
			kinds[name] = registered{k, m.Byte}
		}
	}
	return kinds, nil
}

// message is a proposal inside the state: a timer's, or one on its way to another slot.
type message struct {
	slot id.Slot
	kind string
	body []byte
}

func (m message) encode(dst []byte) []byte {
	p := Proposal{Kind: m.kind, Slot: m.slot, Body: m.body}
	return p.encode(dst)
}

func decodeMessage(data []byte) (message, error) {
	d := decoder{data: data}
	m := d.message()
	if d.bad || len(d.data) != 0 {
		return message{}, errors.New("malformed message row")
	}
	return m, nil
}

func (d *decoder) message() message {
	m := message{kind: d.string(), slot: id.Slot(d.uint16())}
	if d.byte() != 0 || m.slot >= id.Slots {
		d.bad = true
	}
	m.body = d.bytes()
	return m
}
