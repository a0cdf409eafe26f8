package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"bongsu/errs"
)

// MaxPassword is the longest password, in bytes.
const MaxPassword = 512

// Config says how passwords are hashed. Zero values are useful.
type Config struct {
	Memory   uint32 // KiB for each hash; default 19456 (19 MiB)
	Passes   uint32 // over the memory; default 2. With Memory and one thread: OWASP's minimum for argon2id
	Parallel int    // hashes at a time; default 2
	// MinPassword is the fewest characters of a new password. Default 8, as NIST SP 800-63B asks; 1 takes any password that is
	// not empty, for test installations.
	MinPassword int
}

const (
	saltLen = 16
	keyLen  = 32
)

// Passwords hashes and verifies passwords. It is safe for concurrent use.
type Passwords struct {
	cfg   Config
	slots chan struct{} // one element for each hash in work
	dummy string        // a PHC string that no password fits
}

// NewPasswords makes one.
func NewPasswords(cfg Config) *Passwords {
	if cfg.Memory == 0 {
		cfg.Memory = 19 << 10
	}
	if cfg.Passes == 0 {
		cfg.Passes = 2
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 2
	}
	if cfg.MinPassword == 0 {
		cfg.MinPassword = 8
	}
	p := &Passwords{cfg: cfg, slots: make(chan struct{}, cfg.Parallel)}
	// Random bytes are the hash of no password that anybody could find.
	p.dummy = phc{memory: cfg.Memory, passes: cfg.Passes, threads: 1, salt: random(saltLen), key: random(keyLen)}.String()
	return p
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}

// Check refuses a new password that is too weak or too long: errs.WeakPassword.
func (p *Passwords) Check(password string) error {
	weak := func(format string, args ...any) error {
		return errs.New("auth.Check", errs.Invalid, errs.WeakPassword, format, args...)
	}
	if n := utf8.RuneCountInString(password); n < p.cfg.MinPassword {
		return weak("a password has at least %d characters", p.cfg.MinPassword)
	}
	if len(password) > MaxPassword {
		return weak("a password has at most %d bytes", MaxPassword)
	}
	return nil
}

// Hash is the PHC string of a password with a new salt. It waits for its turn; errs.Unavailable if ctx ends before that.
func (p *Passwords) Hash(ctx context.Context, password string) (string, error) {
	h := phc{memory: p.cfg.Memory, passes: p.cfg.Passes, threads: 1, salt: random(saltLen)}
	if err := p.enter(ctx); err != nil {
		return "", err
	}
	defer p.leave()
	h.key = h.derive(password, keyLen)
	return h.String(), nil
}

// Verify reports whether password is the one that hash was made of. An empty hash fits no password and takes as long to say so:
// it stands for a user that is not known. It waits for its turn; errs.Unavailable if ctx ends before that.
func (p *Passwords) Verify(ctx context.Context, hash, password string) (bool, error) {
	if hash == "" {
		hash = p.dummy
	}
	h, err := parsePHC(hash)
	if err != nil {
		return false, errs.Wrap("auth.Verify", err)
	}
	if len(password) > MaxPassword {
		return false, nil // no such password was ever taken, whoever asks
	}
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer p.leave()
	return subtle.ConstantTimeCompare(h.derive(password, uint32(len(h.key))), h.key) == 1, nil
}

func (p *Passwords) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &errs.Error{Op: "auth.enter", Kind: errs.Unavailable, Message: "too many logins at once; try again", Err: ctx.Err()}
	}
}

func (p *Passwords) leave() { <-p.slots }

// phc is an argon2id hash with its parameters, written in the format of the Password Hashing Competition:
// $argon2id$v=19$m=19456,t=2,p=1$salt$hash.
type phc struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

func (h phc) derive(password string, n uint32) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, n)
}

func (h phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.threads,
		b64.EncodeToString(h.salt), b64.EncodeToString(h.key))
}

var errPHC = errors.New("auth: not an argon2id hash in PHC format")

// parsePHC reads a hash, with bounds that keep a forged one from taking the machine down.
func parsePHC(s string) (h phc, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, errPHC
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return h, errPHC
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(params[i], name)
		if n[i], err = strconv.ParseUint(digits, 10, 32); !ok || err != nil {
			return h, errPHC
		}
	}
	h.salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return h, errPHC
	}
	h.key, err = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return h, errPHC
	}
	const maxMemory, maxPasses, maxThreads = 1 << 20, 64, 16
	if n[0] < 8*n[2] || n[0] > maxMemory || n[1] == 0 || n[1] > maxPasses || n[2] == 0 || n[2] > maxThreads ||
		len(h.salt) < 8 || len(h.salt) > 64 || len(h.key) < 16 || len(h.key) > 64 {
		return h, errPHC
	}
	h.memory, h.passes, h.threads = uint32(n[0]), uint32(n[1]), uint8(n[2])
	return h, nil
}
