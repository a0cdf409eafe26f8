package harness

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bongsu/freeport"
)

// Config says how to run the program. Bin and Data are required.
type Config struct {
	Bin  string    // path of the program
	Data string    // its data directory
	Args []string  // further flags of "bongsu serve"
	Log  io.Writer // gets the standard error of all runs; default discards

	// Command is the whole command line for a listen address, where Data and Args are not enough: a site of a cluster. It
	// must let the server listen there and register users.
	Command func(listen string) []string
	Host    string   // where it listens; default 127.0.0.1
	Port    int      // default: a free one
	Prefix  []string // a command that runs the program, such as ip netns exec NAME
	Env     []string // further variables, NAME=value
}

// Server is the program, running or not. It has one owner, but Kill may come from anywhere while the owner waits for Ready.
type Server struct {
	cfg  Config
	env  []string // variables that Use has added
	port int

	cmd   *exec.Cmd
	tail  *lastLine  // of the running process
	ready chan error // nil when the ready line has come
	done  chan struct{}
	end   error // of the process; valid after done
}

// readyWithin bounds a start.
const readyWithin = 60 * time.Second

// Start runs the program on a free port and waits until it is ready.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	var err error
	for range 5 { // somebody else may take the port first
		var s *Server
		if s, err = New(cfg); err != nil {
			return nil, err
		}
		if _, err = s.Restart(ctx); err == nil || !strings.Contains(err.Error(), "in use") {
			return s, err
		}
	}
	return nil, err
}

// New is a server that has a port and was not started.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	if cfg.Host == "" {
		cfg.Host = "127.0.0.1"
	}
	if cfg.Command == nil {
		cfg.Command = func(listen string) []string {
			return append([]string{"serve", "--data", cfg.Data, "--listen", listen,
				"--server-name", "localhost", "--open-registration", "--rate-limits=off"}, cfg.Args...)
		}
	}
	s := &Server{cfg: cfg, port: cfg.Port}
	var err error
	if s.port == 0 {
		s.port, err = freeport.Ports(1)
	}
	return s, err
}

// Use has the next start run another program, with further variables beside those of Config. The process that runs goes on.
func (s *Server) Use(bin string, env ...string) { s.cfg.Bin, s.env = bin, env }

// Program is what the next start runs.
func (s *Server) Program() string { return s.cfg.Bin }

// URL is where the server is reached, whether it runs or not.
func (s *Server) URL() string { return "http://" + s.listen() }

func (s *Server) listen() string { return net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.port)) }

// Begin starts the process and does not wait for it.
func (s *Server) Begin() error {
	args := slices.Concat(s.cfg.Prefix, []string{s.cfg.Bin}, s.cfg.Command(s.listen()))
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = slices.Concat(os.Environ(), s.cfg.Env, s.env)
	tail := &lastLine{to: s.cfg.Log}
	cmd.Stderr = tail
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("harness: %w", err)
	}
	ready, done := make(chan error, 1), make(chan struct{})
	s.cmd, s.ready, s.done, s.tail = cmd, ready, done, tail
	go func() {
		defer close(done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "ready on http://") {
				select {
				case ready <- nil:
				default: // a site that had to open its data anew says it again
				}
			}
		}
		s.end = cmd.Wait()
		select {
		case ready <- fmt.Errorf("harness: the server ended before it was ready: %v: %s", s.end, tail.line):
		default:
		}
	}()
	return nil
}

// Ready waits for the ready line of the process that Begin has started.
func (s *Server) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	select {
	case err := <-s.ready:
		return err
	case <-ctx.Done():
		return fmt.Errorf("harness: the server is not ready: %w", ctx.Err())
	}
}

// Restart starts the program on the same directory and port. It returns how long the ready line took.
func (s *Server) Restart(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if err := s.Begin(); err != nil {
		return 0, err
	}
	if err := s.Ready(ctx); err != nil {
		s.Kill()
		return 0, err
	}
	return time.Since(began), nil
}

// Kill is kill -9. It returns when the process is gone; a process that does not run is no error.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Freeze stops the process where it stands, and returns when none of its threads runs any more. A thread that is inside of
// the kernel, in an fsync perhaps, may still finish there, but nobody hears of it: so it is with a machine that loses power.
func (s *Server) Freeze(ctx context.Context) error {
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("harness: freeze: %w", err)
	}
	for {
		still, err := stopped(s.Pid())
		if err != nil || still {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond): // the kernel tells nobody but the parent of the first thread
		}
	}
}

// Thaw lets a frozen process go on.
func (s *Server) Thaw() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// stopped reports whether all threads of a process are stopped, or in the kernel and will be when they leave it.
func stopped(pid int) (bool, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(files) == 0 {
		return false, fmt.Errorf("harness: process %d has no threads: %w", pid, err)
	}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return false, fmt.Errorf("harness: %w", err)
		}
		_, rest, ok := bytes.Cut(stat, []byte(") ")) // after the name comes the state
		if !ok || rest[0] != 'T' && rest[0] != 'D' && rest[0] != 'Z' {
			return false, nil
		}
	}
	return true, nil
}

// Terminate sends SIGTERM and does not wait.
func (s *Server) Terminate() error { return s.cmd.Process.Signal(syscall.SIGTERM) }

// Wait waits for the end of the process; an exit status other than 0 is an error.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-s.done:
		return s.end
	case <-ctx.Done():
		return fmt.Errorf("harness: the server does not end: %w", ctx.Err())
	}
}

// Ended says how the process ended and what it said last, or nil while it runs.
func (s *Server) Ended() error {
	select {
	case <-s.done:
		return fmt.Errorf("harness: the process has ended: %v: %s", s.end, s.tail.line)
	default:
		return nil
	}
}

// Stop ends the process as an operator does, and says if it did not end well.
func (s *Server) Stop(ctx context.Context) error {
	if err := s.Terminate(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return s.Wait(ctx)
}

// Pid is the number of the process.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Build builds the program from the module in dir, into the directory out. The tag rules1 makes it one that knows the first rules
// version only, and stands for an older program.
func Build(ctx context.Context, dir, out string, tags ...string) (string, error) {
	bin := filepath.Join(out, strings.Join(append([]string{"bongsu"}, tags...), "-"))
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-tags", strings.Join(tags, ","), "-o", bin, "./cmd/bongsu")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("harness: build: %w\n%s", err, text)
	}
	return bin, nil
}

// lastLine passes on what it is given and keeps the last line of it.
type lastLine struct {
	to   io.Writer
	line string
}

func (l *lastLine) Write(p []byte) (int, error) {
	if text := bytes.TrimSpace(p); len(text) > 0 {
		l.line = string(text[bytes.LastIndexByte(text, '\n')+1:])
	}
	return l.to.Write(p)
}
