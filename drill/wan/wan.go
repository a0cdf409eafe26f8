// Package wan is a network between sites that can be bent and broken: each site lives in a network namespace of its own, and every
// packet between them passes through this process, which delays or drops it.
//
//	wan.go   the network: namespaces, addresses, links
//	link.go  one direction between two places: delay, rate, cut
//	tun.go   the devices at its ends
//
// The emulation of networks that Linux has (tc netem) is a module that many kernels lack; a device whose packets a program reads is
// everywhere, and can be cut in one direction only.
//
// Invariant: packets between two places keep their order. Nothing of the machine's own network is touched, but for one device with
// an address of a private range (10.66.0.0/16), which Close removes.
//
// Limits: Linux, root, IPv4, the command ip. A packet costs two system calls and a wake-up: about 100,000 packets per second and processor.
package wan

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Network connects places: the sites, and the outside, where this process and its clients are.
type Network struct {
	places []*place
	links  map[[2]int]*link

	running sync.WaitGroup
	closed  chan struct{}
}

// place is one end of the network.
type place struct {
	space string // name of the namespace; "" is where this process is
	addr  string
	tun   *os.File
}

// mtu is larger than that of an Ethernet: each packet costs this process the same, however long it is.
const mtu = 16000

// New makes a network of n places and the outside. It needs root.
func New(n int) (*Network, error) {
	w := &Network{links: map[[2]int]*link{}, closed: make(chan struct{})}
	for i := range n + 1 {
		// Two networks at once are kept apart by the process.
		name := fmt.Sprintf("bongsu%d-%d", os.Getpid(), i)
		p := &place{addr: fmt.Sprintf("10.66.%d.%d", os.Getpid()%255, i+1)}
		if i < n {
			p.space = name
		}
		w.places = append(w.places, p)
		if err := p.open(name); err != nil {
			return nil, errors.Join(fmt.Errorf("wan: %w", err), w.Close())
		}
	}
	for from := range w.places {
		for to := range w.places {
			if from != to {
				l := newLink(w.places[to].tun)
				w.links[[2]int{from, to}] = l
				w.running.Go(func() { l.run(w.closed) })
			}
		}
	}
	for i := range w.places {
		w.running.Go(func() { w.read(i) })
	}
	return w, nil
}

// open makes the place, its device and its address.
func (p *place) open(name string) error {
	ip := func(args ...string) error {
		if p.space != "" {
			args = append([]string{"-n", p.space}, args...)
		}
		return command("ip", args...)
	}
	if p.space != "" {
		if err := command("ip", "netns", "add", p.space); err != nil {
			return err
		}
		if err := ip("link", "set", "lo", "up"); err != nil {
			return err
		}
	}
	device := name[max(0, len(name)-15):] // as long as the kernel allows
	var err error
	if p.tun, err = openTun(p.space, device); err != nil {
		return err
	}
	return errors.Join(ip("addr", "add", p.addr+"/24", "dev", device), ip("link", "set", device, "mtu", fmt.Sprint(mtu), "up"))
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}

// read takes what a place sends and puts it on the link to where it goes.
func (w *Network) read(from int) {
	packet := make([]byte, 1<<16)
	for {
		n, err := w.places[from].tun.Read(packet)
		if err != nil {
			return // closed
		}
		const header = 20
		if n < header || packet[0]>>4 != 4 {
			continue
		}
		to := int(packet[19]) - 1 // the last byte of the destination names the place
		if l := w.links[[2]int{from, to}]; l != nil {
			l.send(append([]byte(nil), packet[:n]...))
		}
	}
}

// Close ends the network and removes what it made. Processes in it must have ended.
func (w *Network) Close() error {
	close(w.closed)
	var all []error
	for _, p := range w.places {
		if p.tun != nil {
			all = append(all, p.tun.Close())
		}
	}
	w.running.Wait()
	for _, p := range w.places {
		if p.space != "" {
			all = append(all, command("ip", "netns", "del", p.space))
		}
	}
	return errors.Join(all...)
}

// Outside is the place of this process.
func (w *Network) Outside() int { return len(w.places) - 1 }

// Addr is the address of a place.
func (w *Network) Addr(place int) string { return w.places[place].addr }

// Prefix is a command that runs a program at a place.
func (w *Network) Prefix(place int) []string {
	return []string{"ip", "netns", "exec", w.places[place].space}
}

// Delay makes packets between two places take that long in each direction.
func (w *Network) Delay(a, b int, oneWay time.Duration) {
	w.links[[2]int{a, b}].set(func(l *link) { l.delay = oneWay })
	w.links[[2]int{b, a}].set(func(l *link) { l.delay = oneWay })
}

// Cut drops all packets from one place to another, or no longer does.
func (w *Network) Cut(from, to int, cut bool) {
	w.links[[2]int{from, to}].set(func(l *link) { l.cut = cut })
}

// Isolate cuts a place off from all others, or no longer does.
func (w *Network) Isolate(place int, cut bool) {
	for other := range w.places {
		if other != place {
			w.Cut(place, other, cut)
			w.Cut(other, place, cut)
		}
	}
}

// Throttle lets no more than so many bytes per second pass between two places, in each direction; 0: no limit.
func (w *Network) Throttle(a, b, bytesPerSecond int) {
	w.links[[2]int{a, b}].set(func(l *link) { l.rate = bytesPerSecond })
	w.links[[2]int{b, a}].set(func(l *link) { l.rate = bytesPerSecond })
}
