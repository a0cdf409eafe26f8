package roomstate

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

// checkThirdParty is rule 4.4.1: somebody who was invited by e-mail address or telephone number has turned out to be
// target, and an identity server has signed this.
func checkThirdParty(d *event.Draft, target id.UserID, invite event.Object, state Lookup) *errs.Error {
	if membership(state, target) == Ban {
		return forbid("%s is banned from the room", target) // 4.4.1.1
	}
	signed := invite.Object("signed")
	mxid, isUser := signed.String("mxid")
	token, isToken := signed.String("token")
	if !isUser || !isToken {
		return forbid("the third-party invite is not signed") // 4.4.1.2, 4.4.1.3
	}
	if mxid != string(target) {
		return forbid("the third-party invite is for somebody else") // 4.4.1.4
	}
	origin := state(event.TypeThirdPartyInvite, token)
	if origin == nil {
		return forbid("the room has no such third-party invite") // 4.4.1.5
	}
	if origin.Sender != d.Sender {
		return forbid("the third-party invite was made by somebody else") // 4.4.1.6
	}
	for _, key := range publicKeys(origin.Content) {
		if signedBy(key, signed) {
			return nil // 4.4.1.7
		}
	}
	return forbid("no key of the third-party invite fits its signature") // 4.4.1.8
}

// publicKeys are the ed25519 keys in a third-party invite; what is malformed is left out.
func publicKeys(content event.Object) []ed25519.PublicKey {
	var keys []ed25519.PublicKey
	add := func(o event.Object) {
		s, _ := o.String("public_key")
		if b, ok := decode64(s); ok && len(b) == ed25519.PublicKeySize {
			keys = append(keys, b)
		}
	}
	add(content)
	for v := range event.Elements(content.Field("public_keys")) {
		add(event.Object(v))
	}
	return keys
}

// signedBy reports whether any signature on the object is key's. Source: appendices, "Checking for a Signature".
func signedBy(key ed25519.PublicKey, signed event.Object) bool {
	message := signed.Without("signatures", "unsigned")
	for _, of := range signed.Object("signatures").All() {
		for name, v := range event.Object(of).All() {
			s, _ := event.Text(v)
			sig, ok := decode64(s)
			if ok && strings.HasPrefix(name, "ed25519:") && ed25519.Verify(key, message, sig) {
				return true
			}
		}
	}
	return false
}

// decode64 reads Base64 with or without padding, in the usual or the URL-safe alphabet: identity servers use both.
func decode64(s string) ([]byte, bool) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	return b, err == nil
}
