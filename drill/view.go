package drill

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// view tells how the drill goes: lines that stay, and on a terminal a line beneath them that is renewed.
type view struct {
	out  io.Writer
	live bool // a terminal

	mu    sync.Mutex
	began time.Time

	stop    context.CancelFunc
	running sync.WaitGroup
}

func newView(out io.Writer) *view {
	f, ok := out.(*os.File)
	return &view{out: out, live: ok && term.IsTerminal(int(f.Fd())), began: time.Now()} //nolint:gosec // a file descriptor fits
}

const eraseLine = "\r\x1b[K"

// line writes a line that stays.
func (v *view) line(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.live {
		fmt.Fprint(v.out, eraseLine)
	}
	fmt.Fprintf(v.out, "%7.1fs  %s\n", time.Since(v.began).Seconds(), fmt.Sprintf(format, args...))
}

// begin renews the live line until end.
func (v *view) begin(rec *recorder) {
	if !v.live {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.stop = cancel
	v.running.Go(func() {
		for rest(ctx, 250*time.Millisecond) == nil {
			v.mu.Lock()
			fmt.Fprintf(v.out, "%s%7.1fs  %s", eraseLine, time.Since(v.began).Seconds(), lastSecond(rec.all(), rec.now()))
			v.mu.Unlock()
		}
		fmt.Fprint(v.out, eraseLine)
	})
}

func (v *view) end() {
	if v.stop != nil {
		v.stop()
	}
	v.running.Wait()
}

// lastSecond is what the newest calls say, in words.
func lastSecond(calls []call, now time.Duration) string {
	var writes, reads, failed int
	var slowest time.Duration
	for i := len(calls) - 1; i >= 0 && calls[i].Began+calls[i].Took > now-time.Second; i-- {
		c := calls[i]
		switch {
		case !c.ok():
			failed++
		case c.Kind == "write":
			writes++
			slowest = max(slowest, c.Took)
		default:
			reads++
		}
	}
	return fmt.Sprintf("%d writes/s, slowest %v, %d reads/s, %d attempts failed", writes, short(slowest), reads, failed)
}

// table writes what was measured and the verdicts.
func (v *view) table(r *Report) {
	w := tabwriter.NewWriter(v.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "\nFAULT\tWRITES BACK\tOTHERS PAUSED\tCLIENTS BACK\tHEALED IN\tPAUSE AT RETURN\n")
	for _, in := range r.Incidents {
		if !in.minority {
			fmt.Fprintf(w, "%s\t-\t-\t-\t%s\t-\n", in.Name, in.HealedIn())
			continue
		}
		back, others := in.worst()
		fmt.Fprintf(w, "%s\t%v\t%v\t%v\t%s\t%v\n", in.Name, short(back), short(others), short(longest(in.Clients)),
			in.HealedIn(), short(in.stall()))
	}
	if s := r.Recovery; s != nil && s.N > 1 {
		fmt.Fprintf(w, "\nwrites back after a loss, partitions that the lost led:\tmin %v\tmedian %v\tmax %v\t(%d)\n", short(s.Min), short(s.Median), short(s.Max), s.N)
	}
	for _, in := range r.Incidents {
		if words := in.Surge(); words != "" {
			fmt.Fprintf(w, "\n%s: %s\n", in.Name, words)
		}
	}
	fmt.Fprintf(w, "\nPROMISE\tVERDICT\n")
	for _, p := range r.Promises {
		fmt.Fprintf(w, "%d %s\t%s\n", p.Number, p.Title, p.Verdict)
	}
	_ = w.Flush() // nobody is there to be told
	fmt.Fprintf(v.out, "\nload: %s\nprobes: %s\ncontest: %d operations\n", r.Load, r.Probes, r.Operations)
	for i, f := range r.Findings {
		if i == 20 {
			fmt.Fprintf(v.out, "… and %d more\n", len(r.Findings)-i)
			break
		}
		fmt.Fprintf(v.out, "BROKEN %s\n", f)
	}
	if len(r.Findings) == 0 {
		fmt.Fprintf(v.out, "every promise was kept (seed %d)\n", r.Seed)
	} else {
		fmt.Fprintf(v.out, "%d findings; repeat the schedule with --seed %d\n", len(r.Findings), r.Seed)
	}
}
