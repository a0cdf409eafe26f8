package wan

import (
	"io"
	"sync"
	"time"
)

// queue is how many packets may be on their way; a router drops what is beyond.
const queue = 4096

// link is one direction between two places.
type link struct {
	to      io.Writer
	packets chan delivery

	mu    sync.Mutex
	delay time.Duration
	rate  int // bytes per second; 0: no limit
	cut   bool
	free  time.Time // when the wire has sent what was given to it
}

// delivery is a packet and when it arrives.
type delivery struct {
	due    time.Time
	packet []byte
}

func newLink(to io.Writer) *link { return &link{to: to, packets: make(chan delivery, queue)} }

func (l *link) set(change func(*link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// send gives a packet to the link, which may drop it.
func (l *link) send(packet []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return
	}
	now := time.Now()
	sent := now
	if l.rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(len(packet)) * time.Second / time.Duration(l.rate))
		sent = l.free
	}
	select {
	case l.packets <- delivery{sent.Add(l.delay), packet}:
	default:
	}
}

// run delivers until closed. A link that is cut loses what is on its way, too.
func (l *link) run(closed <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var d delivery
		select {
		case <-closed:
			return
		case d = <-l.packets:
		}
		if wait := time.Until(d.due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-closed:
				return
			case <-timer.C:
			}
		}
		l.mu.Lock()
		cut := l.cut
		l.mu.Unlock()
		if !cut {
			_, _ = l.to.Write(d.packet) // a device that is full or down drops packets, as networks do
		}
	}
}
