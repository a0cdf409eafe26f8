package keys

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
)

const ed25519Prefix = "ed25519:"

// CrossSigning is the body of keys/device_signing/upload, without "auth".
type CrossSigning struct {
	Master      json.RawMessage `json:"master_key"`
	SelfSigning json.RawMessage `json:"self_signing_key"`
	UserSigning json.RawMessage `json:"user_signing_key"`
}

// UploadCrossSigning stores a user's cross-signing keys. If they would replace others and confirmed is false, nothing is
// done and confirm is true: the user must confirm with a password. Errors: Invalid with InvalidSignature for a key that the master
// key did not sign, MissingParam where there is no master key, Forbidden for a key that has the name of a device.
func (k *Keys) UploadCrossSigning(ctx context.Context, user id.UserID, up CrossSigning, confirmed bool) (confirm bool, err error) {
	const op = "keys.UploadCrossSigning"
	b := crossBody{User: user, Keys: map[Purpose]json.RawMessage{}, Confirmed: confirmed}
	for p, raw := range map[Purpose]json.RawMessage{Master: up.Master, SelfSigning: up.SelfSigning, UserSigning: up.UserSigning} {
		if len(raw) == 0 || string(raw) == "null" {
			continue
		}
		key, err := parseCross(user, p, raw)
		if err != nil {
			return false, err
		}
		b.Keys[p] = json.RawMessage(key)
	}
	rows := k.cfg.Replica.Rows()
	master := event.Object(b.Keys[Master])
	if master == nil {
		master = rows.Get(crossKey(user, Master))
	}
	if master == nil {
		return false, errs.New(op, errs.Invalid, errs.MissingParam, "there is no master key")
	}
	b.Signer = publicKey(master)
	for p, raw := range b.Keys {
		key := event.Object(raw)
		if _, taken := readDevice(rows, user, id.DeviceID(publicKey(key))); taken {
			return false, errs.New(op, errs.Forbidden, "", "the %s key has the name of a device", p)
		}
		if p != Master && !verify(key, user, ed25519Prefix+b.Signer, b.Signer) {
			return false, errs.New(op, errs.Invalid, errs.InvalidSignature, "the %s key is not signed by the master key", p)
		}
	}
	var res crossResult
	err = k.propose(ctx, op, user, kindCross, b, &res)
	return res.Confirm, err
}

// parseCross checks a cross-signing key. Specification: CrossSigningKey.
func parseCross(user id.UserID, p Purpose, raw json.RawMessage) (event.Object, error) {
	const op = "keys.UploadCrossSigning"
	key, err := parseObject(string(p)+" key", raw)
	if err != nil {
		return nil, err
	}
	var form struct {
		User       string                       `json:"user_id"`
		Usage      []string                     `json:"usage"`
		Keys       map[string]string            `json:"keys"`
		Signatures map[string]map[string]string `json:"signatures"`
	}
	if json.Unmarshal(key, &form) != nil {
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "the %s key does not have the right shape", p)
	}
	name, public := soleKey(key)
	switch {
	case form.User != string(user):
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "the %s key is of another user", p)
	case !slices.Contains(form.Usage, string(p)):
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "the %s key is not for that use", p)
	case name != ed25519Prefix+public || decodePublic(public) == nil:
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "the %s key is not one ed25519 key", p)
	}
	return key.Without("unsigned"), nil
}

func decodePublic(s string) ed25519.PublicKey {
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil
	}
	return b
}

// unsignedForm is what signatures of obj are made over. Specification: appendices, "Signing JSON".
func unsignedForm(obj event.Object) []byte { return obj.Without("signatures", "unsigned") }

// verify reports whether obj has signer's signature under the key id, made with the public key.
func verify(obj event.Object, signer id.UserID, keyID, public string) bool {
	text, _ := obj.Object("signatures").Object(string(signer)).String(keyID)
	sig, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	key := decodePublic(public)
	return err == nil && key != nil && ed25519.Verify(key, unsignedForm(obj), sig)
}

// Sign adds signatures that signer's keys made on keys: user, key id (a device id or a public cross-signing key), signed
// object. What is wrong with single ones is in failures; the others are stored.
func (k *Keys) Sign(ctx context.Context, signer id.UserID, signed map[id.UserID]map[string]json.RawMessage) (
	failures map[id.UserID]map[string]*errs.Error, err error) {
	failures = map[id.UserID]map[string]*errs.Error{}
	b := signBody{Signer: signer}
	view := k.cfg.Replica.View()
	defer view.Close()
	for user, objects := range signed {
		for name, raw := range objects {
			sigs, bad := newSignatures(view, signer, user, name, raw)
			if bad != nil {
				if failures[user] == nil {
					failures[user] = map[string]*errs.Error{}
				}
				failures[user][name] = bad
				continue
			}
			b.Signed = append(b.Signed, signature{user, name, json.RawMessage(sigs)})
		}
	}
	if len(b.Signed) == 0 {
		return failures, nil
	}
	slices.SortFunc(b.Signed, func(x, y signature) int {
		return strings.Compare(string(x.User)+" "+x.Key, string(y.User)+" "+y.Key)
	})
	return failures, k.propose(ctx, "keys.Sign", signer, kindSign, b, nil)
}

// newSignatures are signer's signatures on a signed object that verify, if the object is the stored key called name.
func newSignatures(r kv.Reader, signer, user id.UserID, name string, raw json.RawMessage) (event.Object, *errs.Error) {
	const op = "keys.Sign"
	obj, err := parseObject("a signed key", raw)
	if err != nil {
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "the signed key is not an object")
	}
	stored, isDevice := storedKey(r, user, name)
	if stored == nil {
		return nil, errs.New(op, errs.NotFound, "", "there is no such key")
	}
	if !bytes.Equal(unsignedForm(stored), unsignedForm(obj)) {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "this is not the key that was uploaded")
	}
	out := event.Object("{}")
	for keyID, sig := range obj.Object("signatures").Object(string(signer)).All() {
		public := signingKey(r, signer, user, isDevice, keyID)
		if public != "" && verify(obj, signer, keyID, public) {
			out = out.With(keyID, sig)
		}
	}
	if len(out) == 2 {
		return nil, errs.New(op, errs.Invalid, errs.InvalidSignature, "there is no valid signature of a key that may sign this")
	}
	return out, nil
}

// storedKey is the device or cross-signing key of a user that is called name.
func storedKey(r kv.Reader, user id.UserID, name string) (obj event.Object, isDevice bool) {
	if d, ok := readDevice(r, user, id.DeviceID(name)); ok {
		return d.keys, true
	}
	if master := event.Object(r.Get(crossKey(user, Master))); master != nil && publicKey(master) == name {
		return master, false
	}
	return nil, false
}

// signingKey is the public key behind signer's key id, if that key may sign: a self-signing key the signer's devices, a device
// the signer's master key, a user-signing key the master keys of others.
func signingKey(r kv.Reader, signer, user id.UserID, isDevice bool, keyID string) string {
	purpose := UserSigning
	if signer == user {
		if !isDevice {
			d, ok := readDevice(r, signer, id.DeviceID(strings.TrimPrefix(keyID, ed25519Prefix)))
			if !ok {
				return ""
			}
			public, _ := d.keys.Object("keys").String(keyID)
			return public
		}
		purpose = SelfSigning
	} else if isDevice {
		return ""
	}
	name, public := soleKey(r.Get(crossKey(signer, purpose)))
	if name != keyID {
		return ""
	}
	return public
}
