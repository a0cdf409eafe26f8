package jet

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"bongsu/freeport"
)

// Of five sites two may vanish. With three gone nothing is written, and with one of them back it is again.
func TestClusterOfFive(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	c := newSites(t, 5, 2, nil)
	c.startAll()
	for i, s := range c.sites {
		c.fill(s, 0, i*5+1, i*5+5, 500)
	}
	lone, other := c.sites[0], c.sites[1]
	c.stop(c.sites[4])
	c.stop(c.sites[3])
	c.fill(lone, 0, 26, 30, 500)
	c.fill(other, 1, 1, 5, 500)
	c.stop(c.sites[2])
	c.until("two of five cannot write", func() bool { return errors.Is(c.nodes[lone].Refusing(), errNoQuorum) })
	c.start(c.sites[3])
	c.fill(lone, 0, 31, 35, 500)
	c.start(c.sites[2])
	c.start(c.sites[4])
	for _, s := range c.sites {
		c.want(s, 0, 1, 35, 500)
		c.want(s, 1, 1, 5, 500)
	}
}

// Two of three sites lose sight of each other, and each leads a partition: what is appended at any site to any partition gets
// through all the same.
func TestClusterCut(t *testing.T) {
	unlessShort(t)
	t.Parallel()
	c := newTrio(t, 2, nil)
	a, b, third := c.sites[0], c.sites[1], c.sites[2]
	w := &wire{}
	t.Cleanup(w.mend)
	for _, s := range []string{a, b} {
		for i, addr := range c.conf[s].Cluster.Routes {
			if addr != c.conf[third].Cluster.Listen {
				c.conf[s].Cluster.Routes[i] = w.lay(t, addr)
			}
		}
	}
	c.start(a)
	c.start(b)
	// Before the third tells them of each other: engines that do not know each other then connect past the wire.
	c.until("they see each other", func() bool { return c.nodes[a].Routed(b) && c.nodes[b].Routed(a) })
	c.start(third)
	for _, s := range c.sites {
		c.formed(s)
	}
	c.ready()
	c.lead(a, 0)
	c.lead(b, 1)
	terms := c.terms(third)
	began := time.Now()
	w.cut()
	var sites sync.WaitGroup
	took := map[string]*time.Duration{a: new(time.Duration), b: new(time.Duration), third: new(time.Duration)}
	for s, d := range took {
		sites.Go(func() { c.appendAll(s); *d = time.Since(began) })
	}
	sites.Wait()
	t.Logf("after the cut appends got through at %s in %v, at %s in %v, at %s in %v", a, *took[a], b, *took[b], third, *took[third])
	c.until("the third leads", func() bool { return c.nodes[third].Leads(0) && c.nodes[third].Leads(1) })
	t.Logf("the third leads everything after %v and %d elections", time.Since(began), c.terms(third)-terms)
	c.until("the cut is noticed", func() bool { return !c.nodes[a].Routed(b) && !c.nodes[b].Routed(a) })
	c.appendAll(a)
	c.appendAll(b)
	w.mend()
	c.until("they see each other again", func() bool { return c.nodes[a].Routed(b) && c.nodes[b].Routed(a) })
	for _, s := range c.sites {
		c.until(s+" has everything", func() bool {
			_, l0, err0 := c.nodes[s].Bounds(limit(t), 0)
			_, l1, err1 := c.nodes[s].Bounds(limit(t), 1)
			return err0 == nil && err1 == nil && l0 == 5 && l1 == 5
		})
	}
}

// wire carries TCP connections until it is cut: then nothing passes and nobody is told, until it is mended and they end.
type wire struct {
	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

func (w *wire) cut() { w.set(true) }

func (w *wire) mend() { w.set(false) }

func (w *wire) set(dead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead = dead; !dead {
		for _, c := range w.conns {
			c.Close()
		}
		w.conns = nil
	}
}

func (w *wire) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dead
}

// lay returns an address that leads to another through the wire.
func (w *wire) lay(t *testing.T, to string) string {
	t.Helper()
	addr := freeport.Addr(t)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.conns = append(w.conns, in)
			w.mu.Unlock()
			if w.isCut() {
				continue // nobody will answer
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, out)
			w.mu.Unlock()
			go w.carry(in, out)
			go w.carry(out, in)
		}
	}()
	return addr
}

// carry copies what comes until it ends; what comes while the wire is cut is lost.
func (w *wire) carry(from, to net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if w.isCut() {
			if err != nil {
				return // the other end does not hear of it
			}
			continue
		}
		if err == nil {
			_, err = to.Write(buf[:n])
		}
		if err != nil {
			from.Close()
			to.Close()
			return
		}
	}
}
