package bench

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// status is a line that says how far the run is, on terminals only.
type status struct {
	mu   sync.Mutex
	out  io.Writer // nil: nobody looks
	last time.Time
}

func newStatus(out io.Writer) *status {
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &status{out: out}
	}
	return &status{}
}

const eraseLine = "\r\x1b[K"

// say replaces the line, a few times a second at most.
func (s *status) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil || time.Since(s.last) < 200*time.Millisecond {
		return
	}
	s.last = time.Now()
	fmt.Fprintf(s.out, eraseLine+format, args...)
}

func (s *status) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil {
		fmt.Fprint(s.out, eraseLine)
	}
}
