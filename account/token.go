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

// An access token is "bgs_" + slot of the user (3 hex digits) + "_" + 256 random bits (43 characters of base64url) + "_" +
// CRC-32 of all before it (8 hex digits). The slot finds the row without knowing whose token it is; the sum lets a scanner of
// leaked secrets, and us, tell a token from anything else without a lookup.
const (
	tokenPrefix = "bgs_"
	tokenBody   = len(tokenPrefix) + 3 + 1 + 43
	tokenLen    = tokenBody + 1 + 8
)

// token is a new access token of user and what is kept of it.
func newToken(user id.UserID) (token string, hash []byte) {
	out := fmt.Appendf(make([]byte, 0, tokenLen), "%s%03x_", tokenPrefix, id.SlotOf(user))
	out = append(out, randomText(32)...)
	out = fmt.Appendf(out, "_%08x", crc32.ChecksumIEEE(out))
	sum := sha256.Sum256(out)
	return string(out), sum[:]
}

// parseToken is the slot and the hash of a well-formed token.
func parseToken(token string) (slot id.Slot, hash [sha256.Size]byte, ok bool) {
	if len(token) != tokenLen || token[:len(tokenPrefix)] != tokenPrefix || token[tokenBody] != '_' {
		return 0, hash, false
	}
	n, err := strconv.ParseUint(token[len(tokenPrefix):len(tokenPrefix)+3], 16, 16)
	if err != nil {
		return 0, hash, false
	}
	sum, err := strconv.ParseUint(token[tokenBody+1:], 16, 32)
	raw := []byte(token)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(raw[:tokenBody]) {
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
