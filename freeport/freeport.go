// Package freeport finds TCP ports on loopback that nobody uses, for tests and drills that must name an address before anybody listens
// there, and perhaps stop listening for a while.
//
// Invariant: a port is given out once, also among all processes that use this package at the same time.
//
// Limits: another program may take a port that was given out. Ports are given back when the process ends; a process has some thousands
// at most.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The ports lie below those that the system gives to outgoing connections: there, a client that tries to reach a dead server may connect
// to itself and hold the port.
const (
	lowest    = 10_000
	blockSize = 50 // the first port of a block is listened on: so no other process takes the block
	blocks    = 400
)

// pool is what a process has taken.
type pool struct {
	mu        sync.Mutex
	held      []net.Listener // on the first port of each block, until the process ends
	next, end int            // what is left of the newest block
}

var process = &pool{}

// Ports finds n ports in a row, at most blockSize-1, and returns the first. It is an error when there are none.
func Ports(n int) (int, error) { return process.ports(n) }

// Addr is an address on loopback with a free port. It fails the test if there is none.
func Addr(t interface {
	Helper()
	Fatal(args ...any)
}) string {
	t.Helper()
	port, err := Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	return addr(port)
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func (p *pool) ports(n int) (int, error) {
	if n < 1 || n >= blockSize {
		return 0, fmt.Errorf("freeport: 1 to %d ports in a row can be found, not %d", blockSize-1, n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for ; p.next+n <= p.end; p.next++ {
			if first := p.next; free(first, n) {
				p.next += n
				return first, nil
			}
		}
		if err := p.block(); err != nil {
			return 0, err
		}
	}
}

// block takes a new block.
func (p *pool) block() error {
	var err error
	for _, b := range rand.Perm(blocks) {
		first := lowest + b*blockSize
		var ln net.Listener
		if ln, err = listen(first); err == nil {
			p.held = append(p.held, ln)
			p.next, p.end = first+1, first+blockSize
			return nil
		}
	}
	return fmt.Errorf("freeport: no port from %d to %d is free: %w", lowest, lowest+blocks*blockSize-1, err)
}

func listen(port int) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(context.Background(), "tcp", addr(port))
}

// free reports whether the n ports from first on can be listened on.
func free(first, n int) bool {
	for port := first; port < first+n; port++ {
		ln, err := listen(port)
		if err != nil || ln.Close() != nil {
			return false
		}
	}
	return true
}
