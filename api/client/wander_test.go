package client

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// wanderer is a client that asks another site each time.
type wanderer struct {
	c      *cluster
	rnd    *rand.Rand
	token  string
	since  string
	bodies []string // of the messages that were seen, in order
	direct []string // of the messages to the device
	typing map[string]bool
	refus  int
}

type wanderSync struct {
	NextBatch string `json:"next_batch"`
	Rooms     struct {
		Join map[string]struct {
			Timeline struct {
				Events    []struct{ Content struct{ Body string } }
				Limited   bool
				PrevBatch string `json:"prev_batch"`
			}
			Ephemeral struct {
				Events []struct {
					Type    string
					Content struct {
						Users []string `json:"user_ids"`
					}
				}
			}
		}
	}
	ToDevice struct {
		Events []struct{ Content struct{ Body string } }
	} `json:"to_device"`
}

// sync asks one site once, and takes in what it says.
func (w *wanderer) sync(site int, timeout time.Duration) bool {
	res := w.c.call(site, w.token, "GET", fmt.Sprintf("/sync?timeout=%d&since=%s", timeout.Milliseconds(), url.QueryEscape(w.since)), "")
	if unavailable(res) {
		w.refus++
		return false
	}
	var out wanderSync
	if err := json.Unmarshal(res.Body.Bytes(), &out); err != nil || res.Code != 200 {
		w.c.t.Errorf("site %d: %d %s", site, res.Code, res.Body)
		return false
	}
	w.since = out.NextBatch
	for in, r := range out.Rooms.Join {
		var said []string
		for _, ev := range r.Timeline.Events {
			if ev.Content.Body != "" {
				said = append(said, ev.Content.Body)
			}
		}
		if r.Timeline.Limited && len(w.bodies) > 0 {
			said = append(w.gap(in, r.Timeline.PrevBatch), said...)
		}
		w.bodies = append(w.bodies, said...)
		for _, ev := range r.Ephemeral.Events {
			if ev.Type == "m.typing" {
				clear(w.typing)
				for _, u := range ev.Content.Users {
					w.typing[u] = true
				}
			}
		}
	}
	for _, ev := range out.ToDevice.Events {
		w.direct = append(w.direct, ev.Content.Body)
	}
	return true
}

// gap pages back, at any sites, from a token to the last message that was seen.
func (w *wanderer) gap(in, from string) (out []string) {
	last := w.bodies[len(w.bodies)-1]
	for tries := 0; tries < 200; {
		res := w.c.call(w.rnd.IntN(3), w.token, "GET", "/rooms/"+url.PathEscape(in)+"/messages?dir=b&limit=5&from="+url.QueryEscape(from), "")
		if unavailable(res) {
			tries++
			continue
		}
		var page struct {
			Chunk []struct{ Content struct{ Body string } }
			End   string
		}
		if err := json.Unmarshal(res.Body.Bytes(), &page); err != nil || res.Code != 200 {
			w.c.t.Errorf("messages: %d %s", res.Code, res.Body)
			return out
		}
		for _, ev := range page.Chunk {
			if ev.Content.Body == last {
				return out
			}
			if ev.Content.Body != "" {
				out = slices.Insert(out, 0, ev.Content.Body)
			}
		}
		if page.End == "" {
			w.c.t.Errorf("the history ended before %q", last)
			return out
		}
		from = page.End
	}
	w.c.t.Error("the gap could not be filled")
	return out
}

// TestClientsWander has people write at all sites, who repeat at another one what was not confirmed, while others read at sites that lag,
// are cut off and come back: everybody sees everything once, in one order.
func TestClientsWander(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any number does
	if s := os.Getenv("BONGSU_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("BONGSU_SEED=%d", seed)
	rounds := 20
	if s := os.Getenv("BONGSU_WANDER_ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	c := newCluster(t)
	writers := []string{c.user(0, "amy", "AMY"), c.user(1, "ben", "BEN")}
	reader := c.user(2, "cho", "CHO")
	var made struct {
		RoomID string `json:"room_id"`
	}
	c.must(0, writers[0], "POST", "/createRoom", `{"preset":"public_chat"}`, &made)
	in := "/rooms/" + url.PathEscape(made.RoomID)
	c.settled()
	c.must(1, writers[1], "POST", in+"/join", `{}`, nil)
	c.must(2, reader, "POST", in+"/join", `{}`, nil)

	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { // the weather
		rnd := rand.New(rand.NewPCG(seed, 1))
		for {
			site := c.sites[rnd.IntN(3)]
			what := rnd.IntN(3)
			switch what {
			case 0:
				site.journal.Cut(true)
			case 1:
				site.journal.Lag(time.Duration(rnd.IntN(400)) * time.Millisecond)
			}
			select {
			case <-stop:
			case <-time.After(time.Duration(rnd.IntN(150)) * time.Millisecond):
			}
			site.journal.Cut(false)
			select {
			case <-stop:
				for _, s := range c.sites {
					s.journal.Lag(0)
				}
				return
			default:
			}
		}
	})
	var writing sync.WaitGroup
	for n, token := range writers {
		writing.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(10+n))) //nolint:gosec // small
			for i := range rounds {
				body := fmt.Sprintf("%d-%d", n, i)
				c.untilDone(rnd, token, "PUT", fmt.Sprintf("%s/send/m.room.message/%s", in, body), `{"msgtype":"m.text","body":"`+body+`"}`)
				if i%3 == 0 {
					c.untilDone(rnd, token, "PUT", "/sendToDevice/m.test/"+body, `{"messages":{"@cho:h":{"CHO":{"body":"`+body+`"}}}}`)
				}
			}
		})
	}
	w := &wanderer{c: c, rnd: rand.New(rand.NewPCG(seed, 2)), token: reader, typing: map[string]bool{}}
	done := make(chan struct{})
	go func() { writing.Wait(); close(done) }()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		w.sync(w.rnd.IntN(3), time.Duration(w.rnd.IntN(50))*time.Millisecond)
	}
	close(stop)
	wg.Wait()
	c.settled()
	eventually(t, "the reader catches up", func() bool {
		return w.sync(w.rnd.IntN(3), 0) && len(w.bodies) >= len(writers)*rounds && len(w.direct) >= len(writers)*((rounds+2)/3)
	})
	w.check(t, in, rounds, len(writers))
	t.Logf("%d messages, %d messages to the device; %d answers of 503", len(w.bodies), len(w.direct), w.refus)
}

// untilDone repeats a request at any sites until one confirms it.
func (c *cluster) untilDone(rnd *rand.Rand, token, method, path, body string) {
	limit := time.Now().Add(time.Minute)
	for time.Now().Before(limit) {
		w := c.call(rnd.IntN(3), token, method, path, body)
		if w.Code == 200 {
			return
		}
		if !unavailable(w) {
			c.t.Errorf("%s: %d %s", path, w.Code, w.Body)
			return
		}
	}
	c.t.Errorf("%s: not confirmed in a minute", path)
}

// check compares what was seen with the one order that all sites have.
func (w *wanderer) check(t *testing.T, in string, rounds, writers int) {
	t.Helper()
	want := ""
	for site := range w.c.sites {
		var bodies []string
		var page struct {
			Chunk []struct{ Content struct{ Body string } }
		}
		w.c.must(site, w.token, "GET", in+"/messages?dir=f&limit=1000", "", &page)
		for _, ev := range page.Chunk {
			if ev.Content.Body != "" {
				bodies = append(bodies, ev.Content.Body)
			}
		}
		all := fmt.Sprint(bodies)
		if want == "" {
			want = all
		}
		if all != want {
			t.Errorf("site %d has another history:\n%s\n%s", site, all, want)
		}
		if len(bodies) != rounds*writers {
			t.Errorf("site %d has %d messages, %d were confirmed", site, len(bodies), rounds*writers)
		}
	}
	if got := fmt.Sprint(w.bodies); got != want {
		t.Errorf("seen on the way:\n%s\nthe order:\n%s", got, want)
	}
	seen := map[string]int{}
	for _, b := range w.direct {
		if seen[b]++; seen[b] > 1 {
			t.Errorf("message %s to the device came twice", b)
		}
	}
}
