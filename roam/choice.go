package roam

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Site is the base URL of the site where the next request goes.
func (t *Transport) Site() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.kept.String()
}

// Sites are the base URLs of all sites, in the order given.
func (t *Transport) Sites() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]string, len(t.sites))
	for i, u := range t.sites {
		all[i] = u.String()
	}
	return all
}

// Move keeps another site from now on, as if it were the fastest. A request in flight stays where it is.
func (t *Transport) Move(site string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.find(site)
	if u == nil {
		return fmt.Errorf("roam: %s is none of the sites", site)
	}
	t.kept, t.raced = u, time.Now()
	return nil
}

// Pin binds the transport to one site, for tests; "" releases it. A pinned request that fails is tried at the same site again.
func (t *Transport) Pin(site string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if site == "" {
		t.pinned = nil
		return nil
	}
	u := t.find(site)
	if u == nil {
		return fmt.Errorf("roam: %s is none of the sites", site)
	}
	t.pinned, t.kept = u, u
	return nil
}

// Avoid keeps away from sites, for tests, unless they are all there is; without arguments it avoids none.
func (t *Transport) Avoid(sites ...string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.avoided = slices.Clone(sites)
	if slices.Contains(t.avoided, t.kept.String()) {
		t.kept = t.candidates()[0]
	}
}

// find is the site with a base URL, or nil. t.mu is held.
func (t *Transport) find(site string) *url.URL {
	for _, u := range t.sites {
		if u.String() == site {
			return u
		}
	}
	return nil
}

// candidates are the sites that a request may go to. There is at least one. t.mu is held.
func (t *Transport) candidates() []*url.URL {
	if t.pinned != nil {
		return []*url.URL{t.pinned}
	}
	var all []*url.URL
	for _, u := range t.sites {
		if !slices.Contains(t.avoided, u.String()) {
			all = append(all, u)
		}
	}
	if len(all) == 0 {
		return slices.Clone(t.sites)
	}
	return all
}

// choose is the kept site, or if that was tried in this round another one; nil when all were.
func (t *Transport) choose(tried []*url.URL) *url.URL {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := slices.DeleteFunc(t.candidates(), func(u *url.URL) bool { return slices.Contains(tried, u) })
	switch {
	case len(left) == 0:
		return nil
	case slices.Contains(left, t.kept):
		return t.kept
	}
	return left[rand.IntN(len(left))] // so that the clients of a lost site spread over the others
}

// failed makes another site the kept one, if it still was the one that failed.
func (t *Transport) failed(site *url.URL) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept != site {
		return
	}
	if others := slices.DeleteFunc(t.candidates(), func(u *url.URL) bool { return u == site }); len(others) > 0 {
		t.kept = others[rand.IntN(len(others))]
	}
}

// answered keeps the site of a request that had to move.
func (t *Transport) answered(site *url.URL) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.Contains(t.candidates(), site) {
		t.kept = site
	}
}

// Race asks all sites at once and keeps the first that answers well. Nobody answering within the time that a sign of life may
// take is an error and changes nothing.
func (t *Transport) Race(ctx context.Context) error {
	t.mu.Lock()
	runners := t.candidates()
	t.raced = time.Now()
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, t.cfg.SignOfLife)
	defer cancel()
	finish := make(chan *url.URL, len(runners))
	for _, u := range runners {
		go func() {
			if status, err := t.ask(ctx, u); err != nil || status != http.StatusOK {
				u = nil
			}
			finish <- u
		}()
	}
	for range runners {
		if u := <-finish; u != nil {
			t.answered(u)
			return nil
		}
	}
	return fmt.Errorf("roam: none of %d sites answers", len(runners))
}

// raceIfDue races when the last one is long ago. One request does it; the others go where they went before.
func (t *Transport) raceIfDue(ctx context.Context) {
	t.mu.Lock()
	due := len(t.candidates()) > 1 && time.Since(t.raced) > t.cfg.RaceEvery
	t.mu.Unlock()
	if due {
		_ = t.Race(ctx) // the request itself finds out who is there
	}
}

// ask makes the smallest request there is and returns its status.
func (t *Transport) ask(ctx context.Context, site *url.URL) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, site.JoinPath("/_matrix/client/versions").String(), nil)
	if err != nil {
		return 0, err
	}
	resp, err := t.cfg.Base.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, err
}
