package replica

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"bongsu/id"
	"bongsu/journal"
)

// recordVersion is the version of the encoding below. A replica that meets another one halts before it.
const recordVersion = 1

// MaxProposals is the most bytes of proposals in one record; a single proposal may have as many.
const MaxProposals = 512 << 10

// Digest is the state's chain hash after a record.
type Digest [sha256.Size]byte

// Record is what the journal holds: who appended it and when, what it had applied by then, and what is proposed. A record
// without proposals is a tick: it moves time.
type Record struct {
	Site      string           // who appended it
	Boot      uint64           // which run of that site
	N         uint64           // the record's number in that run, from 1
	Stamp     int64            // the site's clock, Unix milliseconds
	Rules     uint16           // the newest rules version that the site's build knows
	Applied   journal.Position // what the site had applied in this partition,
	Digest    Digest           // and its digest there
	Proposals []Proposal
}

// Proposal asks a state machine for one change.
type Proposal struct {
	Kind string  // which handler, "room.send"
	Slot id.Slot // whose rows
	Key  Key     // names the write for exactly-once; zero for none
	Body []byte  // for the handler
	Lane string  // whose queue it waits in, for fairness between users; not part of the record
}

// Key names a client's write. The zero Key names nothing.
type Key [16]byte

// NewKey is the key of a client's write: the same user, device, endpoint path and transaction id make the same key, at any
// site.
func NewKey(user id.UserID, device id.DeviceID, path, txn string) Key {
	h := sha256.New()
	var n [4]byte
	for _, s := range []string{string(user), string(device), path, txn} {
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	var k Key
	copy(k[:], h.Sum(nil))
	return k
}

var errRecord = errors.New("malformed record")

// Encode appends the record's bytes to dst.
func (r *Record) Encode(dst []byte) []byte {
	dst = append(dst, 'B', recordVersion)
	dst = putString(dst, r.Site)
	dst = binary.AppendUvarint(dst, r.Boot)
	dst = binary.AppendUvarint(dst, r.N)
	dst = binary.AppendVarint(dst, r.Stamp)
	dst = binary.AppendUvarint(dst, uint64(r.Rules))
	dst = binary.AppendUvarint(dst, uint64(r.Applied))
	dst = append(dst, r.Digest[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(r.Proposals)))
	for i := range r.Proposals {
		dst = r.Proposals[i].encode(dst)
	}
	return dst
}

func (p *Proposal) encode(dst []byte) []byte {
	dst = putString(dst, p.Kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.Slot))
	if p.Key == (Key{}) {
		dst = append(dst, 0)
	} else {
		dst = append(append(dst, 1), p.Key[:]...)
	}
	return putBytes(dst, p.Body)
}

// size is at least the number of bytes that encode adds.
func (p *Proposal) size() int { return len(p.Kind) + len(p.Body) + 32 }

// DecodeRecord reads a record. The proposals' bodies alias data.
func DecodeRecord(data []byte) (*Record, error) {
	if len(data) < 2 || data[0] != 'B' {
		return nil, errRecord
	}
	if data[1] != recordVersion {
		return nil, fmt.Errorf("record version %d is not known to this build (it knows %d)", data[1], recordVersion)
	}
	d := decoder{data: data[2:]}
	r := &Record{Site: d.string(), Boot: d.uvarint(), N: d.uvarint(), Stamp: d.varint(), Rules: uint16(d.uvarint())}
	r.Applied = journal.Position(d.uvarint())
	copy(r.Digest[:], d.take(len(r.Digest)))
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		return nil, errRecord
	}
	r.Proposals = make([]Proposal, 0, n)
	for range n {
		p := Proposal{Kind: d.string(), Slot: id.Slot(d.uint16())}
		if d.byte() == 1 {
			copy(p.Key[:], d.take(len(p.Key)))
		}
		p.Body = d.bytes()
		if p.Slot >= id.Slots {
			d.bad = true
		}
		r.Proposals = append(r.Proposals, p)
	}
	if d.bad || len(d.data) != 0 {
		return nil, errRecord
	}
	return r, nil
}

func putString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func putBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// decoder takes parts off the front of data; after a part that is not there it is bad and yields zeros.
type decoder struct {
	data []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.data) {
		d.bad, d.data = true, nil
		return nil
	}
	out := d.data[:n:n]
	d.data = d.data[n:]
	return out
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	if n <= 0 {
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.bad, d.data = true, nil
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.data)) {
		d.bad, d.data = true, nil
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) byte() byte {
	b := d.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (d *decoder) uint16() uint16 {
	b := d.take(2)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func (d *decoder) uint64() uint64 {
	b := d.take(8)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}
