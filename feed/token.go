package feed

import (
	"encoding/base64"
	"encoding/binary"
	"math"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/replica"
)

// Token is what next_batch and since stand for: how much of everything a client has got. It is valid at every site.
type Token struct {
	Epoch     uint64             // of the journal; a recovery begins a new one
	Positions []journal.Position // one for each partition: all of it and of what comes before it
	Inbox     replica.Place      // up to here the messages to the device have been handed out
	Origin    uint32             // the run of the site that Ephemeral counts in
	Ephemeral uint64             // number of the last change of who types
	Presence  uint64             // and of presence; likewise
	Sent      uint64             // names what members the device has got; likewise. 0: it is not known
}

const (
	tokenSigil  = 's' // tells it from a page token
	tokenFormat = 1   // without Presence and Sent, both 0
	tokenLonger = 2
	maxParts    = 4096
)

// String is the token as clients keep it.
func (t Token) String() string { return string(t.append(nil)) }

func (t Token) append(dst []byte) []byte {
	var raw [128]byte
	b := append(raw[:0], t.format())
	b = binary.AppendUvarint(b, t.Epoch)
	b = binary.AppendUvarint(b, uint64(len(t.Positions)))
	for _, p := range t.Positions {
		b = binary.AppendUvarint(b, uint64(p))
	}
	b = binary.AppendUvarint(b, uint64(t.Inbox.Pos))
	b = binary.AppendUvarint(b, uint64(t.Inbox.Index+1)) // the greatest, which is the usual one, wraps to 0
	b = binary.BigEndian.AppendUint32(b, t.Origin)
	b = binary.AppendUvarint(b, t.Ephemeral)
	if t.format() == tokenLonger {
		b = binary.AppendUvarint(binary.AppendUvarint(b, t.Presence), t.Sent)
	}
	return base64.RawURLEncoding.AppendEncode(append(dst, tokenSigil), b)
}

func (t Token) format() byte {
	if t.Presence == 0 && t.Sent == 0 {
		return tokenFormat
	}
	return tokenLonger
}

// ParseToken reads a token. Errors are of kind Invalid with InvalidParam.
func ParseToken(s string) (Token, error) {
	bad := func() (Token, error) {
		return Token{}, errs.New("feed.ParseToken", errs.Invalid, errs.InvalidParam, "this is not a sync token")
	}
	if len(s) < 2 || s[0] != tokenSigil || len(s) > 64<<10 {
		return bad()
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s[1:])
	if err != nil || len(raw) == 0 || raw[0] != tokenFormat && raw[0] != tokenLonger { // the decoder skips line breaks
		return bad()
	}
	d := tokenReader{data: raw[1:]}
	var t Token
	t.Epoch = d.uvarint()
	n := d.uvarint()
	if n == 0 || n > maxParts || n > uint64(len(d.data)) {
		return bad()
	}
	t.Positions = make([]journal.Position, n)
	for i := range t.Positions {
		t.Positions[i] = journal.Position(d.uvarint())
	}
	t.Inbox.Pos = journal.Position(d.uvarint())
	index := d.uvarint()
	t.Inbox.Index = uint32(index) - 1
	if len(d.data) >= 4 {
		t.Origin = binary.BigEndian.Uint32(d.data)
		d.data = d.data[4:]
	} else {
		d.bad = true
	}
	t.Ephemeral = d.uvarint()
	if raw[0] == tokenLonger {
		t.Presence, t.Sent = d.uvarint(), d.uvarint()
	}
	// A number has several encodings; a token has one.
	if d.bad || len(d.data) != 0 || index > math.MaxUint32 || t.String() != s {
		return bad()
	}
	return t, nil
}

type tokenReader struct {
	data []byte
	bad  bool
}

func (d *tokenReader) uvarint() uint64 {
	n, size := binary.Uvarint(d.data)
	if size <= 0 {
		d.bad = true
		d.data = nil
		return 0
	}
	d.data = d.data[size:]
	return n
}
