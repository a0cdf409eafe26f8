package account

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strconv"

	"bongsu/id"
)

// A secret that we give out is a prefix which says what it is for, the slot of the user (3 hex digits), "_", 256 random bits (43
// characters of base64url), "_", and CRC-32 of all before it (8 hex digits). The slot finds the row without knowing whose it is; the
// sum lets a scanner of leaked secrets, and us, tell one from anything else without a lookup.
const (
	accessPrefix  = "bgs_" // access tokens
	refreshPrefix = "bgr_" // refresh tokens
	loginPrefix   = "bgl_" // tokens for one login
	openIDPrefix  = "bgo_" // tokens that say to other services who somebody is

	prefixLen  = 4
	secretBody = prefixLen + 3 + 1 + 43
	secretLen  = secretBody + 1 + 8
)

// newSecret is a new secret of a user and what is kept of it.
func newSecret(prefix string, user id.UserID) (secret string, hash []byte) {
	out := fmt.Appendf(make([]byte, 0, secretLen), "%s%03x_", prefix, id.SlotOf(user))
	out = append(out, randomText(32)...)
	out = fmt.Appendf(out, "_%08x", crc32.ChecksumIEEE(out))
	sum := sha256.Sum256(out)
	return string(out), sum[:]
}

// parseSecret is the slot and the hash of a well-formed secret.
func parseSecret(prefix, secret string) (slot id.Slot, hash [sha256.Size]byte, ok bool) {
	if len(secret) != secretLen || secret[:prefixLen] != prefix || secret[secretBody] != '_' {
		return 0, hash, false
	}
	n, err := strconv.ParseUint(secret[prefixLen:prefixLen+3], 16, 16)
	if err != nil {
		return 0, hash, false
	}
	sum, err := strconv.ParseUint(secret[secretBody+1:], 16, 32)
	raw := []byte(secret)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(raw[:secretBody]) {
		return 0, hash, false
	}
	return id.Slot(n), sha256.Sum256(raw), true
}

// randomText is n random bytes as base64url.
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// newDeviceID is a device id for a client that brought none: ten capital letters, as people are used to.
func newDeviceID() id.DeviceID {
	var b [10]byte
	_, _ = rand.Read(b[:])
	for i := range b {
		b[i] = 'A' + b[i]%26 // a little uneven, and no secret
	}
	return id.DeviceID(b[:])
}

// newLocalpart is a user name for somebody who chose none.
func newLocalpart() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
