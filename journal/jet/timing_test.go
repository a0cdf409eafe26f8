package jet

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"bongsu/freeport"
	"bongsu/journal"
)

// TestClusterTiming measures what the timers of elections cost and give, for ADR 14. It runs when JET_TIMING is set to the
// shortest and longest election timeout and the heartbeat, as 500ms,1s,150ms: one setting for each process, since a process has
// one. JET_DELAY is a one-way delay between sites, JET_BUSY the number of goroutines that compute all the time. With JET_LOSS=freeze
// the leader is not killed but stopped: its connections stay open and say nothing.
func TestClusterTiming(t *testing.T) {
	setting := os.Getenv("JET_TIMING")
	if setting == "" {
		t.Skip("JET_TIMING is not set")
	}
	var timers Timers
	parts := strings.Split(setting, ",")
	for i, d := range []*time.Duration{&timers.ElectionMin, &timers.ElectionMax, &timers.Heartbeat} {
		*d = duration(t, parts[i])
	}
	delay := duration(t, cmp.Or(os.Getenv("JET_DELAY"), "0s"))
	busy := 0
	_, _ = fmt.Sscan(os.Getenv("JET_BUSY"), &busy)
	stop := make(chan struct{})
	defer close(stop)
	for range busy {
		go func() {
			for x := uint32(1); ; x = x*1664525 + 1013904223 {
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
	}
	freeze := os.Getenv("JET_LOSS") == "freeze"
	const partitions = 4
	c := newTrio(t, partitions, func(conf *Config) {
		conf.Cluster.Timers = timers
		if delay > 0 {
			for i, addr := range conf.Cluster.Routes {
				conf.Cluster.Routes[i] = slow(t, addr, delay)
			}
		}
	})
	victim, a, b := c.sites[0], c.sites[1], c.sites[2]
	k := c.spawn(victim)
	c.start(a)
	c.start(b)
	c.formed(a)
	c.formed(b)
	c.ready()
	time.Sleep(2 * time.Second) // let what forming has stirred up come to rest
	before := c.terms(a)
	rate := c.load(10 * time.Second)
	quiet := c.terms(a) - before

	var recovery, returns []time.Duration
	for range 8 {
		for p := range journal.Partition(partitions) {
			c.lead(victim, p)
		}
		if freeze {
			k.signal(t, syscall.SIGSTOP)
		} else {
			k.kill()
		}
		recovery = append(recovery, c.appendAll(a))
		for range 3 {
			c.appendAll(b)
		}
		if freeze {
			k.signal(t, syscall.SIGCONT)
		} else {
			k = c.spawn(victim)
		}
		longest := time.Duration(0)
		for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
			longest = max(longest, c.appendAll(a))
		}
		returns = append(returns, longest)
	}
	slices.Sort(recovery)
	slices.Sort(returns)
	t.Logf("timers %s delay %v busy %d: %.0f appends/s from 64, %d elections in 10 s of load; leader lost, all partitions write after %v (median %v, max %v); its return stalls them for %v (max %v)",
		setting, delay, busy, rate, quiet, recovery, recovery[len(recovery)/2], recovery[len(recovery)-1], returns[len(returns)/2], returns[len(returns)-1])
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var once atomic.Int64

// appendAll appends once to every partition at the same time and returns how long the slowest took.
func (c *trio) appendAll(site string) time.Duration {
	c.t.Helper()
	begin := time.Now()
	var wg sync.WaitGroup
	for p := range journal.Partition(c.conf[site].Partitions) {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(c.t.Context(), patience)
			defer cancel()
			if _, err := c.nodes[site].Append(ctx, p, fmt.Sprint(once.Add(1)), []byte("x")); err != nil {
				c.t.Error(err)
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

// load appends from 64 senders at two sites and returns how many it were in a second.
func (c *trio) load(d time.Duration) float64 {
	ctx, cancel := context.WithTimeout(c.t.Context(), d)
	defer cancel()
	var n atomic.Int64
	var wg sync.WaitGroup
	sites := slices.Collect(maps.Keys(c.nodes))
	data := noise(1 << 10)
	for i := range 64 {
		wg.Go(func() {
			p := journal.Partition(i % c.conf[sites[0]].Partitions)
			for ctx.Err() == nil {
				if _, err := c.nodes[sites[i/4%len(sites)]].Append(ctx, p, fmt.Sprint(once.Add(1)), data); err == nil {
					n.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / d.Seconds()
}

// terms is the sum of the terms of all partitions: it grows by one with each election.
func (c *trio) terms(site string) (sum uint64) {
	status := c.nodes[site].present().srv.Raftz(&server.RaftzOptions{AccountFilter: server.DEFAULT_GLOBAL_ACCOUNT})
	for _, groups := range *status {
		for _, g := range groups {
			sum += g.Term
		}
	}
	return sum
}

// slow is an address that leads to another, with a delay in both directions.
func slow(t *testing.T, to string, delay time.Duration) string {
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
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			go pass(in, out, delay)
			go pass(out, in, delay)
		}
	}()
	return addr
}

// pass passes on what it reads, each piece after delay.
func pass(from, to net.Conn, delay time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1<<16)
	go func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.data); err != nil {
				break
			}
		}
		for range pieces { // until the reader ends
		}
	}()
	defer close(pieces)
	defer from.Close()
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if n > 0 {
			pieces <- piece{buf[:n], time.Now().Add(delay)}
		}
		if err != nil {
			return
		}
	}
}
