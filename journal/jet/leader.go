package jet

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/nats-io/nats-server/v2/server"

	"bongsu/journal"
)

const (
	balanceEvery = 250 * time.Millisecond
	balanceAfter = 10 * time.Second // of quiet before a leader is moved
	moveAgain    = time.Minute      // before the same partition is moved again
	yieldAgain   = time.Second      // before it is given up again to a site that can do better
	drainTimeout = time.Second      // for Close to hand over
	drainPause   = 20 * time.Millisecond
	moveTimeout  = 2 * time.Second
)

// Leads implements journal.Journal.
func (j *Journal) Leads(p journal.Partition) bool {
	return j.cfg.Cluster == nil || j.seen(p).leader == j.cfg.Cluster.Site
}

// Leader is the site that leads p as far as this site knows, or "".
func (j *Journal) Leader(p journal.Partition) string {
	if j.cfg.Cluster == nil {
		return j.cfg.ServerName
	}
	return j.seen(p).leader
}

// reign ends, and nothing else ends it, when this site sees another site lead p than before: what was sent to the old leader may never be answered.
type reign struct {
	leader string
	ctx    context.Context
	end    context.CancelFunc
}

// reign is the context of the leader of p that this site knows, or knew last.
func (j *Journal) reign(p journal.Partition) context.Context {
	if j.cfg.Cluster == nil {
		return context.Background()
	}
	return j.reigns[p].Load().ctx
}

// succeed notes who leads now. Only watch calls it.
func (j *Journal) succeed(seen []sight) {
	for p, s := range seen {
		old := j.reigns[p].Load()
		if s.leader == "" || s.leader == old.leader {
			continue
		}
		next := &reign{leader: s.leader}
		next.ctx, next.end = context.WithCancel(context.Background()) //nolint:fatcontext // each leader has one of its own
		j.reigns[p].Store(next)
		old.end()
	}
}

// Drain hands all leaderships of this site to others, so that stopping it costs no election, and lets it take none for longer than
// balanceEvery until it is closed. It returns when this site leads nothing, or when ctx ends.
func (j *Journal) Drain(ctx context.Context) error {
	if j.cfg.Cluster == nil {
		return nil
	}
	j.draining.Store(true)
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("jet: this site still leads partitions: %w", err)
		}
		e := j.present()
		if e == nil || j.handOver(e) == 0 {
			return nil
		}
		j.pause(ctx, drainPause)
	}
}

// handOver gives up what this site leads and returns how much it found.
func (j *Journal) handOver(e *engine) (led int) {
	for p := range journal.Partition(j.cfg.Partitions) {
		if !e.srv.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, streamName(p)) {
			continue
		}
		led++
		if err := e.stepDown(j.seen(p).group); err != nil {
			j.log.Debug("leadership could not be given up", "partition", p, "err", err)
		}
	}
	return led
}

// balance moves leaders until the journal is closed, so that partition p is led by the site p modulo their number and each site bears
// its part. It moves only when for a while every site has heard every other, and all replicas of the partition were current.
//
// When two sites lose sight of each other, the one that does not lead stands for election again and again and stops the partition each
// time, until by chance a site is elected that both can hear. So a leader that does not hear all yields to a site that does, and one
// whose disk is slow to one whose disk is not.
func (j *Journal) balance() {
	tick := time.NewTicker(balanceEvery)
	defer tick.Stop()
	n := j.cfg.Partitions
	quiet := make([]time.Time, n) // since when the conditions have held
	moved := make([]time.Time, n)
	yields := make([]yielding, n)
	slow := false
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-tick.C:
		}
		if was := slow; was != j.SlowDisk() {
			if slow = !was; slow {
				j.log.Warn("the disk is slow; this site leads nothing while another one would")
			} else {
				j.log.Info("the disk is as fast as it should be again")
			}
		}
		e := j.present()
		if e == nil {
			clear(quiet)
			continue
		}
		if j.draining.Load() {
			j.handOver(e)
			continue
		}
		for p := range journal.Partition(n) {
			now := time.Now()
			to, why := j.misplaced(p), j.unfit(now)
			switch {
			case why != "" && j.Leads(p) && yields[p].begin(now):
				go func() { // which waits for as long as the disk does, and holds up nothing: another partition need not wait
					defer yields[p].underWay.Store(false)
					j.yield(e, p, why)
				}()
			case to == "":
				quiet[p] = time.Time{}
			case quiet[p].IsZero():
				quiet[p] = now
			case now.Sub(quiet[p]) >= j.cfg.Cluster.settle && now.Sub(moved[p]) >= moveAgain:
				quiet[p], moved[p] = time.Time{}, now
				if err := e.moveLeader(j.ctx, p, to); err != nil {
					j.log.Info("a leader could not be moved", "partition", p, "to", to, "err", err)
				}
			}
		}
	}
}

// unfit is why another site should lead what this one leads, or "".
func (j *Journal) unfit(now time.Time) string {
	switch {
	case j.peers.outsighted():
		return "another site hears more"
	case j.pulse.weak(now) && j.peers.willing():
		return "the disk of this site is slow"
	}
	return ""
}

// yielding is when a partition was last given up.
type yielding struct {
	at       time.Time
	underWay atomic.Bool
}

// begin reports whether the partition is to be given up now: it was not lately, and is not still.
func (y *yielding) begin(now time.Time) bool {
	if now.Sub(y.at) < yieldAgain || !y.underWay.CompareAndSwap(false, true) {
		return false
	}
	y.at = now
	return true
}

// yield has this engine give p up to a site that it hears. It does not name one: that would need the engine's own group of streams, whose
// leader is torn between the same two sites.
func (j *Journal) yield(e *engine, p journal.Partition, why string) {
	if err := e.stepDown(j.seen(p).group); err != nil {
		j.log.Debug("a partition could not be given up", "partition", p, "why", why, "err", err) // while the disk hangs, it may long be led elsewhere
		return
	}
	j.log.Info("a partition is given up", "partition", p, "why", why)
}

// lookupRaftNode is the engine's replica of a group, or nil. What the engine offers to others for giving up a stream first waits for the
// stream's store, and so for a disk that hangs, while its replica goes on with heartbeats that keep the others from electing.
//
//go:linkname lookupRaftNode github.com/nats-io/nats-server/v2/server.(*Server).lookupRaftNode
func lookupRaftNode(s *server.Server, group string) server.RaftNode

// stepDown has this engine's replica of group lead no longer, if it does. It writes one more entry, during which it says nothing: should the
// disk hang, the others elect.
func (e *engine) stepDown(group string) error {
	node := lookupRaftNode(e.srv, group)
	if node == nil {
		return fmt.Errorf("jet: there is no group %q here", group)
	}
	return node.StepDown()
}

// misplaced is the site that p should be led by when this one leads it and everything is well, or "".
func (j *Journal) misplaced(p journal.Partition) string {
	s, k := j.seen(p), j.cfg.Cluster
	to := j.sites[int(p)%len(j.sites)]
	if s.leader != k.Site || to == k.Site || len(s.replicas) != len(k.Sites)-1 || !j.peers.complete() {
		return ""
	}
	for _, r := range s.replicas {
		if !r.Current || r.Offline || r.Lag > 0 {
			return ""
		}
	}
	return to
}

// moveLeader has this engine, which leads p, hand it to another site.
func (e *engine) moveLeader(ctx context.Context, p journal.Partition, to string) error {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	req, err := json.Marshal(map[string]any{"placement": map[string]string{"preferred": to}})
	if err != nil {
		return err
	}
	reply, err := e.read.RequestWithContext(ctx, fmt.Sprintf(server.JSApiStreamLeaderStepDownT, streamName(p)), req)
	if err != nil {
		return err
	}
	var answer struct {
		Success bool            `json:"success"`
		Error   json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil || !answer.Success {
		return fmt.Errorf("jet: the engine refused to move a leader: %s", reply.Data)
	}
	return nil
}
