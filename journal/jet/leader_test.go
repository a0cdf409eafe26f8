package jet

import (
	"fmt"
	"testing"
	"time"

	"bongsu/journal"
)

// When all is quiet the leaders are spread over the sites; a site that stops hands its own over without an election.
func TestClusterLeaders(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 3, func(conf *Config) { conf.Cluster.settle = time.Second })
	for p := range journal.Partition(3) {
		for s, j := range c.nodes {
			c.until(fmt.Sprintf("%s sees partition %d led by its site", s, p), func() bool { return j.Leader(p) == j.sites[p] })
		}
	}
	site := c.sites[0]
	j := c.nodes[site]
	if err := j.Drain(limit(t)); err != nil {
		t.Fatal(err)
	}
	c.until("the drained site leads nothing", func() bool {
		for p := range journal.Partition(3) {
			if j.Leads(p) || j.Leader(p) == "" {
				return false
			}
		}
		return true
	})
	other := c.nodes[c.others(site)[0]]
	if other.peers.complete() {
		c.until("the others know that it takes no leader", func() bool { return !other.peers.complete() })
	}
	c.stop(site)
	for p := range journal.Partition(3) {
		c.fill(c.others(site)[0], p, 1, 3, 100)
	}
}

func TestMisplaced(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 2, func(conf *Config) { conf.Cluster.settle = time.Hour })
	c.lead(c.sites[0], 0) // sorted, busan should lead partition 0
	j := c.nodes[c.sites[0]]
	c.until("it should be led elsewhere", func() bool { return j.misplaced(0) == "busan" })
	// With a site away nothing is moved: who is left has chosen.
	c.stop(c.sites[1])
	c.until("nothing is moved", func() bool { return j.misplaced(0) == "" && len(j.peers.silent()) == 1 })
}

func TestBus(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 1, nil)
	got := make(chan string, 100)
	for _, s := range c.sites {
		stop, err := c.nodes[s].Subscribe("typing.room-1", func(data []byte) { got <- s + " " + string(data) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
	}
	// Interest takes a moment to get around: what is sent before may be missed, as the contract says.
	heard := map[string]bool{}
	for i := 0; len(heard) < 9; i++ {
		for _, s := range c.sites {
			if err := c.nodes[s].Publish("typing.room-1", []byte(s)); err != nil {
				t.Fatal(err)
			}
			if err := c.nodes[s].Publish("typing.room-2", []byte("elsewhere")); err != nil {
				t.Fatal(err)
			}
		}
		timeout := time.After(100 * time.Millisecond)
		for wait := true; wait && len(heard) < 9; {
			select {
			case m := <-got:
				heard[m] = true
			case <-timeout:
				wait = false
			}
		}
		if i > 100 {
			t.Fatalf("heard only %v", heard)
		}
	}
	for m := range heard {
		var at, from string
		if n, _ := fmt.Sscan(m, &at, &from); n != 2 || from == "elsewhere" {
			t.Errorf("heard %q", m)
		}
	}
	j := c.nodes[c.sites[0]]
	for _, topic := range []string{"", "a b", "*", "a..b", ".a", "a.>", string(make([]byte, 65))} {
		if err := j.Publish(topic, nil); err == nil {
			t.Errorf("published to %q", topic)
		}
		if _, err := j.Subscribe(topic, func([]byte) {}); err == nil {
			t.Errorf("subscribed to %q", topic)
		}
	}
	if err := j.Publish("large", make([]byte, journal.MaxRecord+1)); err == nil {
		t.Error("published more than fits")
	}
	c.stop(c.sites[0])
	if err := j.Publish("typing.room-1", nil); err == nil {
		t.Error("published after Close")
	}
	if _, err := j.Subscribe("typing.room-1", func([]byte) {}); err == nil {
		t.Error("subscribed after Close")
	}
}

// On one node the bus works too, and what was subscribed outlives a restart of the engine.
func TestBusAlone(t *testing.T) {
	j := open(t, Config{Dir: t.TempDir(), Partitions: 1})
	got := make(chan string, 10)
	stop, err := j.Subscribe("a", func(data []byte) { got <- string(data) })
	if err != nil {
		t.Fatal(err)
	}
	say := func(what string) {
		t.Helper()
		for err := errNoEngine; err != nil; {
			err = j.Publish("a", []byte(what))
			if t.Context().Err() != nil {
				t.Fatal(err)
			}
		}
		select {
		case m := <-got:
			if m != what {
				t.Errorf("heard %q", m)
			}
		case <-time.After(patience):
			t.Fatalf("%q was not heard", what)
		}
	}
	say("one")
	e := j.present()
	e.srv.Fatalf("planted")
	for j.present() == e || j.present() == nil {
		time.Sleep(time.Millisecond)
	}
	say("two")
	stop()
	if err := j.Publish("a", []byte("three")); err != nil {
		t.Fatal(err)
	}
	if err := j.present().bus.Flush(); err != nil {
		t.Fatal(err)
	}
	if len(got) > 0 {
		t.Errorf("heard %q after the end", <-got)
	}
}
