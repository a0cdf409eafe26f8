package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"bongsu/harness"
)

// contest is clients at all sites who go for the same things at the same moment: the value of the same state events, the
// same one-time keys. It also asks other sites at once for what one site has just acknowledged: what they answer may be old or
// "not now", but never a denial.
type contest struct {
	rec    *recorder
	guests *guests
	urls   []string
	ups    func(site int) bool // whether somebody should be there to answer
	rng    func(who int) *rand.Rand
	room   string
	owner  *harness.Client   // of the one-time keys
	who    []*harness.Client // one at home at each site

	stop    context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	ops      []operation
	findings []string
	uploads  int
}

const (
	registers    = 3                      // state keys that all write
	contendPause = 200 * time.Millisecond // between two goes of a client
	moodType     = "org.bongsu.contest"
)

// newContest makes the accounts and the room.
func newContest(ctx context.Context, g *guests, seed uint64, up func(int) bool) (*contest, error) {
	c := &contest{rec: g.rec, guests: g, urls: g.urls, ups: up}
	c.rng = func(who int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(1000+who))) } //nolint:gosec // repeatable on purpose
	for i, home := range g.urls {
		client, _, err := g.register(ctx, g.contestant(i), home)
		if err != nil {
			return nil, err
		}
		c.who = append(c.who, client)
	}
	c.owner = c.who[0]
	var err error
	c.room, err = c.owner.CreateRoom(ctx, map[string]any{"preset": "public_chat",
		"power_level_content_override": map[string]any{"state_default": 0}})
	if err != nil {
		return nil, fmt.Errorf("drill: the contest's room: %w", err)
	}
	for _, client := range c.who[1:] {
		if err := client.Join(ctx, c.room); err != nil {
			return nil, fmt.Errorf("drill: join the contest: %w", err)
		}
	}
	return c, nil
}

// start lets all begin.
func (c *contest) start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	for i := range c.who {
		c.running.Go(func() { c.contend(ctx, i) })
	}
	c.running.Go(func() { c.fresh(ctx) })
}

// end lets everybody give up what is in flight: its outcome stays open.
func (c *contest) end() {
	if c.stop != nil {
		c.stop()
	}
	c.running.Wait()
}

func (c *contest) close() {
	c.end()
	for _, client := range c.who {
		client.Close()
	}
}

// did writes down an operation whose outcome is known, or open when err is not nil.
func (c *contest) did(op operation, err error) {
	op.Open, op.Ended = err != nil, c.rec.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops = append(c.ops, op)
}

// answerTime bounds one wish of a contestant.
const answerTime = 60 * time.Second

// contend is the life of one contestant.
func (c *contest) contend(ctx context.Context, i int) {
	client, rng := c.who[i], c.rng(i)
	for n := 0; rest(ctx, contendPause/2+rand.N(contendPause)) == nil; n++ {
		one, cancel := context.WithTimeout(ctx, answerTime)
		var err error
		if n%2 == 0 {
			op := operation{Client: i, Kind: writeValue, Thing: fmt.Sprint("k", rng.IntN(registers)), Value: fmt.Sprintf("%d-%d", i, n), Began: c.rec.now()}
			_, err = client.SetState(one, c.room, moodType, op.Thing, map[string]string{"marker": op.Value})
			c.did(op, err)
		} else {
			err = c.claim(one, i)
		}
		cancel()
		if err != nil && ctx.Err() == nil && !c.passing(err) {
			c.find("refused: contestant%d: %v", i, err)
		}
	}
}

// claim takes a one-time key; when there is none, new ones are uploaded.
func (c *contest) claim(ctx context.Context, i int) error {
	op := operation{Client: i, Kind: claimKey, Began: c.rec.now()}
	id, _, err := c.who[i].ClaimKey(ctx, c.owner.User, c.owner.Device)
	if err != nil || id != "" {
		op.Thing = id
		c.did(op, err)
		return err
	}
	c.mu.Lock()
	c.uploads++
	batch := c.uploads
	c.mu.Unlock()
	keys, ops := map[string]any{}, []operation(nil)
	for k := range 6 {
		id := fmt.Sprintf("signed_curve25519:B%dK%d", batch, k)
		keys[id] = map[string]any{"key": fmt.Sprintf("%042dA", batch*10+k), "signatures": map[string]any{}}
		ops = append(ops, operation{Client: i, Kind: uploadKey, Thing: id, Began: c.rec.now()})
	}
	err = c.owner.UploadOneTimeKeys(ctx, keys)
	for _, op := range ops {
		c.did(op, err)
	}
	return err
}

// passing reports whether err only says that nobody could answer.
func (c *contest) passing(err error) bool {
	var e *harness.Error
	return !errors.As(err, &e) || e.Status >= 500
}

func (c *contest) find(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.findings = append(c.findings, fmt.Sprintf(format, args...))
}

// fresh lets one site acknowledge something new and asks all others for it at once.
func (c *contest) fresh(ctx context.Context) {
	rng := c.rng(-1)
	for n := 0; rest(ctx, time.Second) == nil; n++ {
		at := c.anybody(rng)
		if at < 0 {
			continue
		}
		one, cancel := context.WithTimeout(ctx, answerTime)
		c.askElsewhere(one, at, n)
		cancel()
	}
}

// anybody is a random site that is up, or -1.
func (c *contest) anybody(rng *rand.Rand) int {
	for _, i := range rng.Perm(len(c.urls)) {
		if c.ups(i) {
			return i
		}
	}
	return -1
}

// askElsewhere makes a device and a piece of state at one site. What did not work is left alone: others measure that.
func (c *contest) askElsewhere(ctx context.Context, at, n int) {
	here := harness.NewClient(c.urls[at])
	defer here.Close()
	if n%4 == 0 { // a login is work: a hard hash
		if here.Login(ctx, c.guests.contestant(n%len(c.who)), c.guests.password) != nil {
			return
		}
		c.ask(ctx, at, here, "a token that was just given out", harness.Path("v3", "account", "whoami"))
		return
	}
	here.User, here.Device, here.Token = c.owner.User, c.owner.Device, c.owner.Token
	key := fmt.Sprint("fresh", n)
	if here.Do(ctx, http.MethodPut, harness.Path("v3", "rooms", c.room, "state", moodType, key), map[string]string{"marker": key}, nil) != nil {
		return
	}
	c.ask(ctx, at, here, "state that was just set", harness.Path("v3", "rooms", c.room, "state", moodType, key))
}

// ask asks every other site; a denial is a finding.
func (c *contest) ask(ctx context.Context, at int, who *harness.Client, what, path string) {
	for i, url := range c.urls {
		if i == at || !c.ups(i) {
			continue
		}
		there := who.As(url)
		var e *harness.Error
		if err := there.Do(ctx, http.MethodGet, path, nil, nil); errors.As(err, &e) && denies(e.Status) {
			c.find("denied: %s denies %s at %s: %v", url, what, c.urls[at], err)
		}
		there.Close()
	}
}

func denies(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusNotFound
}

// judge reads the last values at each of the sites and checks that all of it can have happened, one after the other.
func (c *contest) judge(ctx context.Context, urls []string) []string {
	for i, url := range urls {
		there := c.owner.As(url)
		for k := range registers {
			op := operation{Client: i, Kind: readValue, Thing: fmt.Sprint("k", k), Began: c.rec.now()}
			var content json.RawMessage
			err := there.Insist(ctx, http.MethodGet, harness.Path("v3", "rooms", c.room, "state", moodType, op.Thing), nil, &content)
			var e *harness.Error
			if err != nil && !(errors.As(err, &e) && e.Status == http.StatusNotFound) {
				c.find("refused: state %s at %s: %v", op.Thing, url, err)
				continue
			}
			op.Value = harness.Event{Content: content}.Marker()
			c.did(op, nil)
		}
		there.Close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(slices.Clone(c.findings), linearizable(c.ops)...)
}
