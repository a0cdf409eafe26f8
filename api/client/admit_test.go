package client

import (
	"context"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/clock"
)

// classRoutes has a route of each class at /typing, /receipts and so on.
func classRoutes(h Handler) (routes []Route) {
	for c := range Class(classes) {
		routes = append(routes, Route{Op: c.String(), Class: c, Method: "GET", Path: "/" + c.String(), Handle: h})
	}
	return routes
}

// TestClassesAreRefusedInOrder makes the processors late for a while, and then not.
func TestClassesAreRefusedInOrder(t *testing.T) {
	now, wait := time.Unix(1000, 0), time.Duration(0)
	ta := newTestAPI(t, func(c *Config) { c.Clock = clock.Func(func() time.Time { return now }) }, classRoutes(echo())...)
	ta.admit.wait = func() time.Duration { return wait }
	refused := func() string {
		var out []string
		for _, c := range []Class{Typing, Receipts, Reading, Ordinary, Text} {
			switch w := ta.call(t, "GET", "/"+c.String(), ""); {
			case w.Code == 200:
			case unavailable(w) && strings.Contains(w.Body.String(), "has too much to do"):
				out = append(out, c.String())
			default:
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
		return strings.Join(out, " ")
	}
	step := func(w time.Duration, want string) {
		t.Helper()
		wait = w
		now = now.Add(lookEvery)
		if got := refused(); got != want {
			t.Errorf("refused: %q, want %q", got, want)
		}
	}
	const late, fine = maxWait + 1, maxWait
	step(late, "") // the first look has nothing to compare with
	step(fine, "")
	step(late, "typing")
	if got := refused(); got != "typing" {
		t.Errorf("between two looks: %q", got)
	}
	step(late, "typing receipts")
	step(late, "typing receipts reading")
	step(late, "typing receipts reading ordinary")
	ta.shows(t, "bongsu_api_overload_level 4", `bongsu_api_refused_total{class="typing"} 5`)
	step(late, "typing receipts reading ordinary") // text is never refused for that
	step(fine, "typing receipts reading")
	step(fine, "typing receipts")
	step(late, "typing receipts reading")
	now = now.Add(time.Minute)
	step(late, "") // after a pause it is judged anew
}

// TestWhoWaitsKeepsNobodyOut fills one class with requests that wait.
func TestWhoWaitsKeepsNobodyOut(t *testing.T) {
	entered, leave := make(chan bool, 100), make(chan bool)
	var waits atomic.Bool
	waits.Store(true)
	ta := newTestAPI(t, func(c *Config) { c.MaxConcurrent = 8 }, classRoutes(func(context.Context, *Request) (any, error) {
		if waits.Load() {
			entered <- true
			<-leave
		}
		return nil, nil
	})...)
	var wg sync.WaitGroup
	for range 8 { // as when the journal has no leader
		wg.Go(func() {
			w := ta.do(httptest.NewRequestWithContext(t.Context(), "GET", "/text?access_token=amys", nil))
			expect(t, w, 200, "")
		})
		<-entered
	}
	waits.Store(false)
	if w := ta.call(t, "GET", "/text", ""); !unavailable(w) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/reading", "/ordinary", "/receipts", "/typing"} {
		expect(t, ta.call(t, "GET", path, ""), 200, "")
	}
	close(leave)
	wg.Wait()
	expect(t, ta.call(t, "GET", "/text", ""), 200, "")
}

// TestABurstSpendsItselfOnReading has everybody read history at once, far more than can be, while messages are sent.
func TestABurstSpendsItselfOnReading(t *testing.T) {
	work := func(context.Context, *Request) (any, error) {
		for end := time.Now().Add(time.Millisecond); time.Now().Before(end); {
			runtime.Gosched() // as a handler that reads rows does
		}
		return nil, nil
	}
	ta := newTestAPI(t, func(c *Config) { c.MaxConcurrent = 200 }, classRoutes(work)...)
	var answered, refused [classes]atomic.Int64
	ask := func(c Class) {
		w := ta.do(httptest.NewRequestWithContext(t.Context(), "GET", "/"+c.String()+"?access_token=amys", nil))
		switch {
		case w.Code == 200:
			answered[c].Add(1)
		case unavailable(w):
			refused[c].Add(1)
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			for range 5 {
				ask(Reading)
			}
		})
	}
	for range 20 {
		wg.Go(func() {
			for range 20 {
				ask(Text)
			}
		})
	}
	wg.Wait()
	t.Logf("reading: %d answered, %d refused", answered[Reading].Load(), refused[Reading].Load())
	if n := refused[Text].Load(); n != 0 || answered[Text].Load() != 400 {
		t.Errorf("%d messages were refused", n)
	}
	if refused[Reading].Load() == 0 {
		t.Error("nobody was refused: this was no burst")
	}
}

// TestProcessorWaits lets many goroutines compete for the processors.
func TestProcessorWaits(t *testing.T) {
	pw := new(processorWaits)
	pw.median()
	var wg sync.WaitGroup
	for range 600 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for range 8 {
				for end := time.Now().Add(100 * time.Microsecond); time.Now().Before(end); {
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	if got := pw.median(); got < maxWait {
		t.Errorf("a median wait of %v behind 600 goroutines that take 100 µs each", got)
	}
	if got := pw.median(); got > maxWait {
		t.Errorf("a median wait of %v with nothing to do", got)
	}
}
