package keys

import (
	"bytes"
	"encoding/json"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Purpose is what a cross-signing key is for. The values are the specification's "usage".
type Purpose string

// The purposes.
const (
	Master      Purpose = "master"
	SelfSigning Purpose = "self_signing"
	UserSigning Purpose = "user_signing"
)

// purposes in a fixed order.
func purposes() []Purpose { return []Purpose{Master, SelfSigning, UserSigning} }

// crossBody uploads cross-signing keys, whose signatures the submitter has checked. Signer is the public master key that signed
// the other two. Confirmed: the user has confirmed with a password that keys may be replaced.
type crossBody struct {
	User      id.UserID                   `json:"user"`
	Keys      map[Purpose]json.RawMessage `json:"keys"`
	Signer    string                      `json:"signer"`
	Confirmed bool                        `json:"confirmed"`
}

// crossResult says whether the user must confirm first; then nothing was done.
type crossResult struct {
	Confirm bool `json:"confirm"`
}

// cross stores cross-signing keys. The first ones are free, and so is the repetition of the stored ones.
func cross(tx *replica.Tx, b crossBody) (any, error) {
	const op = "keys.cross"
	hasMaster := tx.Get(crossKey(b.User, Master)) != nil
	var fresh []Purpose
	for _, p := range purposes() {
		if k, ok := b.Keys[p]; ok {
			old := event.Object(tx.Get(crossKey(b.User, p)))
			if !bytes.Equal(old.Field("keys"), event.Object(k).Field("keys")) {
				fresh = append(fresh, p)
			}
		}
	}
	switch {
	case len(fresh) == 0:
		return crossResult{}, nil
	case hasMaster && !b.Confirmed:
		return crossResult{Confirm: true}, nil
	case b.Keys[Master] == nil && !hasMaster:
		return nil, errs.New(op, errs.Invalid, errs.MissingParam, "there is no master key")
	case b.Keys[Master] == nil && publicKey(tx.Get(crossKey(b.User, Master))) != b.Signer:
		return nil, errs.New(op, errs.Conflict, "", "the master key was replaced meanwhile")
	}
	if fresh[0] == Master { // what the old one signed is worth nothing now
		clearRows(tx, row(b.User, tableCross))
		clearRows(tx, row(b.User, tableSigned))
	}
	for _, p := range purposes() {
		if k, ok := b.Keys[p]; ok {
			tx.Set(crossKey(b.User, p), k)
		}
	}
	changed(tx, b.User, b.User, "")
	return crossResult{}, nil
}

// publicKey is the public key of a cross-signing key object, "" if it has none.
func publicKey(k event.Object) string {
	_, key := soleKey(k)
	return key
}

// soleKey is the one key id ("ed25519:…") and public key of a cross-signing key object.
func soleKey(k event.Object) (keyID, public string) {
	n := 0
	for name, v := range k.Object("keys").All() {
		n++
		keyID = name
		public, _ = event.Text(v)
	}
	if n != 1 {
		return "", ""
	}
	return keyID, public
}

// signBody adds signatures that the signer made, which the submitter has checked.
type signBody struct {
	Signer id.UserID   `json:"signer"`
	Signed []signature `json:"signed"`
}

type signature struct {
	User       id.UserID       `json:"user"`       // whose key was signed
	Key        string          `json:"key"`        // device id, or public cross-signing key
	Signatures json.RawMessage `json:"signatures"` // key id of the signer's key -> signature
}

// sign keeps signatures with the signer. What a user signs of their own, everybody sees; what they sign of others, they alone.
func sign(tx *replica.Tx, b signBody) (any, error) {
	told := map[id.UserID]bool{}
	for _, s := range b.Signed {
		key := signedKey(b.Signer, s.User, s.Key)
		old := event.Object(tx.Get(key))
		if old == nil {
			old = event.Object("{}")
		}
		all := old
		for keyID, sig := range event.Object(s.Signatures).All() {
			all = all.With(keyID, sig)
		}
		if bytes.Equal(all, old) {
			continue
		}
		tx.Set(key, all)
		if told[s.User] {
			continue
		}
		told[s.User] = true
		viewer := b.Signer
		if s.User == b.Signer {
			viewer = ""
		}
		changed(tx, b.Signer, s.User, viewer)
	}
	return nil, nil
}

// signaturesBy are the signatures that signer made on a key of user, nil if none.
func signaturesBy(r kv.Reader, signer, user id.UserID, key string) event.Object {
	return r.Get(signedKey(signer, user, key))
}
