package wan_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"bongsu/drill/wan"
)

// TestMain lets this program be what runs at a place: an echo of lines.
func TestMain(m *testing.M) {
	if addr := os.Getenv("WAN_TEST_ECHO"); addr != "" {
		echo(addr)
		return
	}
	os.Exit(m.Run())
}

func echo(addr string) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				fmt.Fprintln(conn, lines.Text())
			}
		}()
	}
}

// network makes a network of two places, with an echo at the first.
func network(t *testing.T) (*wan.Network, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make networks of its own")
	}
	w, err := wan.New(2)
	if err != nil {
		t.Skipf("needs namespaces and /dev/net/tun: %v", err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort(w.Addr(0), "7000")
	args := append(w.Prefix(0), self)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "WAN_TEST_ECHO="+addr)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	return w, addr
}

// pal is a connection to the echo.
type pal struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, addr string) pal {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return pal{t, conn, bufio.NewReader(conn)}
}

// say sends a line and waits for its echo, at most for a while.
func (p pal) say(text string, within time.Duration) (time.Duration, error) {
	began := time.Now()
	p.SetDeadline(began.Add(within))
	fmt.Fprintln(p, text)
	back, err := p.in.ReadString('\n')
	if err == nil && back != text+"\n" {
		p.t.Errorf("%q came back as %q", text, back)
	}
	return time.Since(began), err
}

func TestDelayAndCut(t *testing.T) {
	w, addr := network(t)
	p := dial(t, addr)
	if _, err := p.say("hello", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	const delay = 40 * time.Millisecond
	w.Delay(0, w.Outside(), delay)
	if took, err := p.say("from far", 10*time.Second); err != nil || took < 2*delay {
		t.Errorf("took %v, %v; want at least %v", took, err, 2*delay)
	}
	w.Delay(0, w.Outside(), 0)
	for _, cut := range []func(bool){
		func(c bool) { w.Isolate(0, c) },
		func(c bool) { w.Cut(0, w.Outside(), c) },
		func(c bool) { w.Cut(w.Outside(), 0, c) },
	} {
		p := dial(t, addr)
		cut(true)
		if _, err := p.say("anybody?", 200*time.Millisecond); err == nil {
			t.Error("a line came through a link that is cut")
		}
		if conn, err := net.DialTimeout("tcp", addr, 200*time.Millisecond); err == nil {
			conn.Close()
			t.Error("a connection came about over a link that is cut")
		}
		cut(false)
		// What was cut off is sent again by TCP: nothing was closed.
		p.SetDeadline(time.Now().Add(30 * time.Second))
		if line, err := p.in.ReadString('\n'); err != nil || line != "anybody?\n" {
			t.Errorf("after the cut: %q, %v", line, err)
		}
	}
}

func TestThrottle(t *testing.T) {
	w, addr := network(t)
	p := dial(t, addr)
	const rate, size = 100_000, 50_000
	text := make([]byte, size)
	for i := range text {
		text[i] = 'x'
	}
	w.Throttle(0, w.Outside(), rate)
	if took, err := p.say(string(text), 30*time.Second); err != nil || took < time.Second*size/rate/2 {
		t.Errorf("%d bytes there and back took %v, %v", size, took, err)
	}
}
