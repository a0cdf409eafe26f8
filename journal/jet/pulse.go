package jet

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A slow disk slows every partition that its site leads, for as long as it is slow: the engine's heartbeats pass between two waits, so that
// nobody stands for election. So each site feels its disk's pulse, and one whose disk is slow gives up what it leads while another
// site's is not.
const (
	pulseFile  = "pulse"
	pulseEvery = 500 * time.Millisecond // on average; evenly, it could fall between stalls that come evenly
	pulseAgain = 50 * time.Millisecond  // after a slow one
	slowSync   = 150 * time.Millisecond // a beat, which is a small write and its sync, is slow when it takes longer
	slowBeats  = 3                      // so many of the last beats make a slow disk,
	lastBeats  = 5                      // of so many
	hangs      = 500 * time.Millisecond // and one that takes longer than this does so at once, for as many beats
)

// pulse is how fast the disk has been lately. Its zero value is a fast disk.
type pulse struct {
	mu    sync.Mutex
	began time.Time // of the beat under way; zero: none
	took  [lastBeats]time.Duration
	beats int
}

func (p *pulse) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = now
}

// end takes in the beat that began last, and reports whether it was slow.
func (p *pulse) end(now time.Time) (slow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	took := now.Sub(p.began)
	p.took[p.beats%lastBeats] = took
	p.beats++
	p.began = time.Time{}
	return took > slowSync
}

// weak reports whether the disk is slow.
func (p *pulse) weak(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.began.IsZero() && now.Sub(p.began) > hangs {
		return true
	}
	n := 0
	for _, took := range p.took {
		switch {
		case took > hangs:
			return true
		case took > slowSync:
			n++
		}
	}
	return n >= slowBeats
}

// SlowDisk reports whether the disk is slow. A journal of one site does not watch it.
func (j *Journal) SlowDisk() bool { return j.pulse.weak(time.Now()) }

// feel takes the pulse until the journal is closed. A beat writes to the same place again and needs no space. One that fails says nothing
// about speed; the engine meets the same disk and says what is wrong with it.
func (j *Journal) feel() {
	f, err := os.OpenFile(filepath.Join(j.cfg.Dir, pulseFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		j.log.Warn("the disk's speed is not watched", "err", err)
		return
	}
	defer f.Close()
	for j.ctx.Err() == nil {
		j.pulse.begin(time.Now())
		err := j.cfg.Cluster.beat(f)
		next := pulseEvery/2 + rand.N(pulseEvery)
		if j.pulse.end(time.Now()) {
			next = pulseAgain
		}
		if err != nil {
			j.log.Debug("the disk's speed is unknown", "err", err)
		}
		j.pause(j.ctx, next)
	}
}

// beat is a write of the smallest size and its sync.
func beat(f *os.File) error {
	_, err := f.WriteAt([]byte{0}, 0)
	return errors.Join(err, f.Sync())
}
