package blob

import (
	"context"
	"sync"
	"time"

	"bongsu/errs"
)

const (
	// trustFor is how long a copy that was read and found right is given out without being read first.
	trustFor = time.Hour
	// maxTrusted bounds what is remembered of it, about 100 bytes each.
	maxTrusted = 1 << 16
)

// trust remembers which copies were read and found right lately: what a client gets has been checked within trustFor, and a picture
// that everybody looks at is not hashed for each of them.
type trust struct {
	mu    sync.Mutex
	right map[Hash]time.Time // when it was found so
}

func (t *trust) has(h Hash, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.right[h]
	return ok && now.Sub(at) < trustFor && !now.Before(at)
}

func (t *trust) add(h Hash, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.right == nil || len(t.right) >= maxTrusted {
		t.right = map[Hash]time.Time{}
	}
	t.right[h] = now
}

// sound checks the copy here before it is given out, unless that was done lately. Errors: errs.NotFound; errs.Unavailable for a copy
// that is wrong, which is then being replaced.
func (m *Mirror) sound(ctx context.Context, h Hash) error {
	now := m.cfg.Clock.Now()
	if m.trust.has(h, now) {
		return nil
	}
	err := m.store.Verify(ctx, h)
	if wrong(ctx, err) {
		m.replace(h, err)
		return damagedHere(err)
	}
	if err == nil {
		m.trust.add(h, now)
	}
	return err
}

func damagedHere(err error) error {
	return &errs.Error{Op: "blob.Open", Kind: errs.Unavailable, Message: "this site's copy of the content is damaged", Err: err}
}
