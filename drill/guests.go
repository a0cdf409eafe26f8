package drill

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bongsu/harness"
	"bongsu/roam"
)

// guests are the accounts of a drill and the clients that use them. All have one password.
type guests struct {
	urls     []string
	rec      *recorder
	prefix   string // of their names
	password string

	mu  sync.Mutex
	all []*harness.Client // some are of the same account
}

// signOfLife is the patience of the drill's clients with a site that does not answer. It is shorter than the default of roam, as in an
// app on a screen that somebody looks at.
const signOfLife = 700 * time.Millisecond

// client makes a client that knows all sites and begins at one of them. It has no account yet.
func (g *guests) client(home string) (*harness.Client, *roam.Transport, error) {
	c, rt, err := g.roamer(home, signOfLife)
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.all = append(g.all, c)
	}
	return c, rt, err
}

// roamer is client, with another patience. It is not remembered.
func (g *guests) roamer(home string, patience time.Duration) (*harness.Client, *roam.Transport, error) {
	rt, err := roam.New(roam.Config{Sites: g.urls, SignOfLife: patience, RaceEvery: time.Hour, MaxPause: 300 * time.Millisecond,
		Observe: g.rec.observe})
	if err != nil {
		return nil, nil, err
	}
	return harness.NewClientOver(g.urls[0], rt), rt, rt.Move(home)
}

// register makes a client with an account.
func (g *guests) register(ctx context.Context, name, home string) (*harness.Client, *roam.Transport, error) {
	c, rt, err := g.client(home)
	if err == nil {
		err = c.Register(ctx, name, g.password)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("drill: register %s: %w", name, err)
	}
	return c, rt, nil
}

func (g *guests) contestant(i int) string { return fmt.Sprintf("%scontestant%d", g.prefix, i) }

// leave lets all guests leave and forget their rooms and ends their accounts, also those of a drill that was broken off.
func (g *guests) leave(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	gone := map[string]bool{"": true} // those without an account have nothing to leave
	var all sync.WaitGroup
	failed := make(chan error, len(g.all))
	for _, c := range g.all {
		if gone[c.User] {
			continue
		}
		gone[c.User] = true
		all.Go(func() {
			if err := leave(ctx, c, g.password); err != nil {
				failed <- fmt.Errorf("%s: %w", c.User, err)
			}
			c.Close()
		})
	}
	all.Wait()
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func leave(ctx context.Context, c *harness.Client, password string) error {
	rooms, err := c.JoinedRooms(ctx)
	if err != nil {
		return err
	}
	for _, room := range rooms {
		if err := c.Leave(ctx, room); err != nil {
			return fmt.Errorf("leave %s: %w", room, err)
		}
	}
	return c.Deactivate(ctx, password)
}
