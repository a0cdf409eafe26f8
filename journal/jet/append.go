package jet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"

	"bongsu/disk"
	"bongsu/journal"
)

const (
	attemptTimeout = 500 * time.Millisecond // for one publish; then again with the same message id
	// The first attempt after a change of leaders may go where the old one was: who says that there is a new one does not say
	// yet that it takes appends. The following ones take twice as long each, up to attemptTimeout.
	newLeaderTimeout = 100 * time.Millisecond
	retryPause       = 10 * time.Millisecond // after an answer that says "not now"
)

// ack is the engine's answer to a publish. Whatever error it names is tried again: 10158 is a duplicate whose first copy is
// still being stored, which is no success yet, and no other is final.
type ack struct {
	Seq   uint64 `json:"seq"`
	Error *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// errUnsettled is what a caller gets when an attempt was sent and the journal then became unable to say what came of it.
var errUnsettled = errors.New("jet: no acknowledgement; try again with the same message id")

// Append implements journal.Journal.
func (j *Journal) Append(ctx context.Context, p journal.Partition, msgID string, data []byte) (journal.Position, error) {
	if err := journal.Check(j.cfg.Partitions, p, msgID, data); err != nil {
		return 0, err
	}
	if err := j.enter(ctx, p); err != nil {
		return 0, err
	}
	defer j.calls.Done()
	msg := &nats.Msg{Subject: subject(p), Header: nats.Header{nats.MsgIdHdr: {msgID}}, Data: frame(p, data)}
	patience := attemptTimeout
	for sent := false; ; sent = true {
		e, err := j.await(ctx, true)
		if errors.Is(err, journal.ErrFull) && sent {
			err = fmt.Errorf("%w (%v)", errUnsettled, err)
		}
		if err != nil {
			return 0, err
		}
		if err := j.appendable(e, len(msg.Data)); err != nil {
			if sent {
				err = fmt.Errorf("%w (%v)", errUnsettled, err)
			}
			return 0, err
		}
		attempt, cancel := context.WithTimeout(ctx, patience)
		stop := context.AfterFunc(j.reign(p), cancel)
		pos, err := e.publish(attempt, msg)
		cancel()
		if patience = min(2*patience, attemptTimeout); !stop() {
			patience = newLeaderTimeout
		}
		if err == nil {
			j.acknowledged(p, pos, len(msg.Data))
			return pos, nil
		}
		if errors.Is(err, nats.ErrNoResponders) && !e.srv.JetStreamEnabled() {
			e.fail(errStopped)
		}
		j.log.Debug("append is tried again", "partition", p, "err", err)
		if !errors.Is(err, context.DeadlineExceeded) {
			j.pause(ctx, retryPause)
		}
	}
}

// publish is one attempt.
func (e *engine) publish(ctx context.Context, msg *nats.Msg) (journal.Position, error) {
	reply, err := e.write.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return 0, err
	}
	var a ack
	if err := json.Unmarshal(reply.Data, &a); err != nil {
		return 0, fmt.Errorf("jet: the engine's answer %q: %w", reply.Data, err)
	}
	if a.Error != nil {
		return 0, fmt.Errorf("jet: the engine refused: %s (%d)", a.Error.Description, a.Error.Code)
	}
	if a.Seq == 0 {
		return 0, fmt.Errorf("jet: the engine's answer %q has no position", reply.Data)
	}
	return journal.Position(a.Seq), nil
}

// acknowledged remembers pos before the caller hears of it.
func (j *Journal) acknowledged(p journal.Partition, pos journal.Position, size int) {
	if j.cfg.Cluster != nil {
		return // it is on a quorum, which says nothing of this site's files: watch
	}
	j.used.Add(int64(size))
	if err := j.marks.acked(p, pos); err != nil {
		j.log.Error("the acknowledged position could not be noted", "partition", p, "pos", pos, "err", err)
	}
}

// appendable is why nothing of this size can be appended now, or nil.
func (j *Journal) appendable(e *engine, size int) error {
	switch err := e.ill(); {
	case errors.Is(err, errNoSpace):
		return journal.ErrFull
	case err != nil && !errors.Is(err, errStopped):
		return err
	}
	if j.cfg.Budget > 0 && j.used.Load()+int64(size) > j.cfg.Budget {
		return journal.ErrFull
	}
	if j.cfg.Reserve > 0 && freeSpace(j.cfg.Dir) < j.cfg.Reserve+int64(size) {
		return journal.ErrFull
	}
	return nil
}

// errNoQuorum: the appends of a site wait until a majority of the sites is there.
var errNoQuorum = errors.New("jet: nothing can be written until a majority of the sites is connected")

// Refusing is why an append would be refused now, or would wait: ErrFull, what is wrong with the engine, or that a majority of the
// sites is missing. It is nil when an append would get through.
func (j *Journal) Refusing() error {
	j.mu.Lock()
	e, broken, full := j.eng, j.broken, j.full
	j.mu.Unlock()
	switch {
	case broken != nil:
		return broken
	case full:
		return journal.ErrFull
	case e == nil:
		return errNoEngine
	}
	if err := j.appendable(e, journal.MaxRecord); err != nil {
		return err
	}
	return j.leaderless()
}

// freeSpace is how many bytes a process like ours may still write in dir's file system. What cannot be asked counts as plenty: the
// engine will find out.
func freeSpace(dir string) int64 {
	free, err := disk.Free(dir)
	if err != nil {
		return math.MaxInt64
	}
	return free
}

// pause waits for d, or less when the call must end.
func (j *Journal) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-j.ctx.Done():
	}
}
