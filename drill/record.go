package drill

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"bongsu/roam"
)

// call is one attempt of a client at one site, by time since the drill began.
type call struct {
	Began  time.Duration `json:"began_ns"`
	Took   time.Duration `json:"took_ns"`
	Site   int           `json:"site"`   // index; -1: none of the cluster
	Kind   string        `json:"kind"`   // write, read or sync
	Status int           `json:"status"` // 0: no answer
}

// ok reports whether the call did what it was to do, or was told that it may not.
func (c call) ok() bool { return c.Status != 0 && c.Status < 500 }

// recorder writes down every attempt of every client.
type recorder struct {
	epoch time.Time
	sites map[string]int // by base URL

	mu    sync.Mutex
	calls []call
}

func newRecorder(urls []string) *recorder {
	r := &recorder{epoch: time.Now(), sites: map[string]int{}}
	for i, u := range urls {
		r.sites[u] = i
	}
	return r
}

// now is the time since the drill began, by the monotonic clock.
func (r *recorder) now() time.Duration { return time.Since(r.epoch) }

// observe takes in an attempt. One that its client called off says nothing about a site.
func (r *recorder) observe(a roam.Attempt) {
	if errors.Is(a.Err, context.Canceled) || errors.Is(a.Err, context.DeadlineExceeded) {
		return
	}
	site, ok := r.sites[a.Site]
	if !ok {
		site = -1
	}
	c := call{Began: a.Began.Sub(r.epoch), Took: a.Ended.Sub(a.Began), Site: site, Kind: kindOf(a.Method, a.Path), Status: a.Status}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, c)
}

func kindOf(method, path string) string {
	switch {
	case strings.HasSuffix(path, "/sync"):
		return "sync"
	case method == http.MethodGet:
		return "read"
	}
	return "write"
}

// all are the calls so far, in the order in which they ended.
func (r *recorder) all() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[:len(r.calls):len(r.calls)]
}

// sample is one go of a probe.
type sample struct {
	Began time.Duration `json:"began_ns"`
	Ended time.Duration `json:"ended_ns"`
}

// back is when a probe worked again after something happened: the end of the first go that began afterwards. It returns false when
// there was none.
func back(samples []sample, at time.Duration) (time.Duration, bool) {
	for _, s := range samples {
		if s.Began >= at {
			return s.Ended - at, true
		}
	}
	return 0, false
}

// gap is the longest time between two successes of a probe that touches the time from at to until.
func gap(samples []sample, at, until time.Duration) time.Duration {
	var longest, last time.Duration
	for i, s := range samples {
		if i > 0 && s.Ended > at && last < until {
			longest = max(longest, s.Ended-last)
		}
		last = s.Ended
	}
	if len(samples) > 0 && last < until { // nothing came any more
		longest = max(longest, until-max(last, at))
	}
	return longest
}
