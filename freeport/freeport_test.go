package freeport

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Nobody is given a port twice, neither in one process nor in two, which two pools stand for.
func TestPorts(t *testing.T) {
	var mu sync.Mutex
	given := map[int]bool{}
	var all sync.WaitGroup
	for i := range 8 {
		p := []*pool{{}, {}}[i%2]
		t.Cleanup(func() {
			for _, ln := range p.held {
				ln.Close()
			}
		})
		all.Go(func() {
			for range 20 {
				first, err := p.ports(3)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for port := first; port < first+3; port++ {
					if given[port] || port < lowest || port >= lowest+blocks*blockSize {
						t.Errorf("port %d is given out a second time, or outside of the range", port)
					}
					given[port] = true
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

// A port that somebody else holds is passed over.
func TestPortsTaken(t *testing.T) {
	first, err := Ports(1)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr(first+2))
	if err != nil {
		t.Skipf("the block ends, or somebody else was faster: %v", err)
	}
	defer ln.Close()
	for range 5 {
		if port, err := Ports(1); err != nil || port == first+2 {
			t.Errorf("port %d, %v", port, err)
		}
	}
}

func TestAddr(t *testing.T) {
	host, port, err := net.SplitHostPort(Addr(t))
	if n, _ := strconv.Atoi(port); err != nil || host != "127.0.0.1" || n < lowest {
		t.Errorf("%s:%s, %v", host, port, err)
	}
	for _, n := range []int{0, -1, blockSize} {
		if _, err := Ports(n); err == nil || !strings.Contains(err.Error(), "ports in a row") {
			t.Errorf("%d ports: %v", n, err)
		}
	}
}
