package jet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bongsu/journal"
)

const (
	// How often a follower looks whether it missed something: against the last acknowledged position, which this process knows
	// since it alone appends to a single node, and against the engine, which also knows what nobody was told of. Over several sites
	// only the engine's word counts, and it must be asked at the shorter interval.
	compareEvery = 250 * time.Millisecond
	askEvery     = 2 * time.Second

	clusterPause = 50 * time.Millisecond

	pageTimeout = 2 * time.Second // without a message while reading a page: ask again
	// Over several sites the engine asks one of them at random, and that may be one that has just vanished. So the first answer is
	// waited for so long only, and twice as long each time that none comes, up to pageTimeout.
	firstAnswer = 100 * time.Millisecond
	pageBytes   = 1 << 20 // of history asked for at once; the engine may go over by one record
	pageRecords = 4096
	liveQueue   = 32 // records pushed and not yet taken; more are dropped and read as history
)

var (
	// errAgain: the engine did not answer; nothing is wrong with the journal.
	errAgain = errors.New("jet: no answer from the engine")
	// errSilent: whom the engine asked did not answer in time; another one may.
	errSilent = errors.New("jet: no answer from the site that was asked")
)

// Follow implements journal.Journal. It takes what the engine pushes as long as it continues what came before, and reads
// pages of history at the start, after a gap, and when nothing has come for a while.
func (j *Journal) Follow(ctx context.Context, p journal.Partition, after journal.Position, fn func(journal.Entry) error) error {
	if err := j.enter(ctx, p); err != nil {
		return err
	}
	defer j.calls.Done()
	f := &follower{j: j, p: p, pos: after, fn: fn}
	for {
		e, err := j.engine(ctx)
		if err != nil {
			return err
		}
		if err := f.follow(ctx, e); !errors.Is(err, errAgain) {
			return remedy(err, j.cfg.Cluster != nil)
		}
		if ended := j.ended(ctx); ended != nil {
			return ended
		}
		j.pause(ctx, j.againPause())
	}
}

// againPause is before a reader asks again. Over several sites nobody may answer for long.
func (j *Journal) againPause() time.Duration {
	if j.cfg.Cluster != nil {
		return clusterPause
	}
	return retryPause
}

// patience is how long an answer to a reader is waited for at first.
func (c Config) patience() time.Duration {
	if c.Cluster != nil {
		return firstAnswer
	}
	return pageTimeout
}

// follower is one Follow.
type follower struct {
	j   *Journal
	p   journal.Partition
	pos journal.Position // last given to fn
	fn  func(journal.Entry) error
}

// follow follows on one engine. It returns errAgain when that engine no longer answers.
func (f *follower) follow(ctx context.Context, e *engine) error {
	live := make(chan *nats.Msg, liveQueue)
	sub, err := e.read.ChanSubscribe(liveSubject(f.p), live)
	if err != nil {
		return errAgain
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection goes away with the engine
	pages, err := openPages(e, f.p)
	if err != nil {
		return errAgain
	}
	defer pages.close()
	timer := time.NewTimer(compareEvery)
	defer timer.Stop()
	for {
		if err := f.catchUp(ctx, e, pages); err != nil {
			return err
		}
		asked := time.Now()
		gap := false
		for timer.Reset(compareEvery); !gap; {
			if err := f.j.ended(ctx); err != nil {
				return err
			}
			select {
			case msg := <-live:
				if gap, err = f.push(ctx, msg); err != nil {
					return err
				}
				timer.Reset(compareEvery)
			case <-timer.C:
				gap = f.behind(asked)
				timer.Reset(compareEvery)
			case <-ctx.Done():
			case <-f.j.ctx.Done():
			}
		}
	}
}

// behind reports whether there may be more than was given to fn and pushed. Over several sites the replica here knows, unless it
// is behind itself or its disk hangs; then whoever answers is asked.
func (f *follower) behind(asked time.Time) bool {
	if f.j.cfg.Cluster != nil {
		s := f.j.seen(f.p)
		return !s.current || s.last > f.pos || f.j.blind() && time.Since(asked) >= askEvery
	}
	acked, _ := f.j.marks.of(f.p)
	return acked > f.pos || time.Since(asked) >= askEvery
}

// push takes a pushed record if it is the next; a later one is a gap.
func (f *follower) push(ctx context.Context, msg *nats.Msg) (gap bool, err error) {
	pos := position(msg)
	switch {
	case pos <= f.pos:
		return false, nil
	case pos > f.pos+1 || msg.Header.Get(jetstream.LastSequenceHeader) != strconv.FormatUint(uint64(f.pos), 10):
		return true, nil
	}
	return false, f.give(ctx, pos, msg.Data)
}

// catchUp reads history until there is no more.
func (f *follower) catchUp(ctx context.Context, e *engine, pages *pages) error {
	patience := f.j.cfg.patience()
	for {
		more, err := pages.read(ctx, f.j.ctx, f.pos+1, patience, func(msg *nats.Msg) error {
			pos := position(msg)
			if pos != f.pos+1 {
				return f.j.missing(ctx, e, f.p, f.pos+1)
			}
			return f.give(ctx, pos, msg.Data)
		})
		if errors.Is(err, errSilent) {
			patience = min(2*patience, pageTimeout)
			if err = pages.renew(); err == nil {
				continue
			}
		}
		if err != nil {
			if ended := f.j.ended(ctx); ended != nil && errors.Is(err, errAgain) {
				return ended
			}
			return err
		}
		if !more {
			return nil
		}
	}
}

// give checks a record and gives it to the callback.
func (f *follower) give(ctx context.Context, pos journal.Position, stored []byte) error {
	if err := f.j.ended(ctx); err != nil {
		return err
	}
	data, err := unframe(f.p, stored)
	if err != nil {
		return damaged(f.p, pos, "%v", err)
	}
	f.pos = pos
	return f.fn(journal.Entry{Pos: pos, Data: data})
}

// missing says why a page had no record at pos though it had later ones: it was trimmed, or it is gone, or the answer was lost on
// the way and asking again is right.
func (j *Journal) missing(ctx context.Context, e *engine, p journal.Partition, pos journal.Position) error {
	first, last, err := e.bounds(ctx, j.cfg, p)
	if err != nil {
		return errAgain
	}
	if pos < first {
		return journal.ErrTrimmed
	}
	if own := j.seen(p); j.cfg.Cluster != nil && (pos > last || own.missing == 0 || !own.current) {
		return errAgain // another site has answered; what it lacks is its own affair, and this site's replica will have it
	}
	msg, err := e.get(ctx, j.cfg, p, pos)
	if err != nil || msg.Header.Get("Status") != "404" {
		return errAgain
	}
	return damaged(p, pos, "the engine has no record there and has later ones")
}

// get asks for the record at pos; the answer may be a status instead.
func (e *engine) get(ctx context.Context, c Config, p journal.Partition, pos journal.Position) (*nats.Msg, error) {
	for patience := c.patience(); ; patience *= 2 {
		once, cancel := context.WithTimeout(ctx, patience)
		msg, err := e.read.RequestWithContext(once, directGet(p), fmt.Appendf(nil, `{"seq":%d}`, pos))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil || patience >= pageTimeout {
			return msg, err
		}
	}
}

// position is where a message is in its stream; 0 if it does not say.
func position(msg *nats.Msg) journal.Position {
	n, _ := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	return journal.Position(n)
}

// pages reads history in batches by direct get, over a connection of its own: where the engine asks the replica of this site, it does so
// before it reads on from that connection, which is for as long as a disk that hangs.
type pages struct {
	e       *engine
	p       journal.Partition
	nc      *nats.Conn
	inbox   string
	answers chan *nats.Msg
	n       int // of the request; its answers carry it, so that those of an earlier one are told apart
}

func openPages(e *engine, p journal.Partition) (*pages, error) {
	g := &pages{e: e, p: p}
	return g, g.connect()
}

func (g *pages) connect() (err error) {
	if g.nc, err = g.e.dial(); err != nil {
		return errAgain
	}
	g.inbox, g.answers = g.nc.NewInbox(), make(chan *nats.Msg, pageRecords+2)
	if _, err := g.nc.ChanSubscribe(g.inbox+".*", g.answers); err != nil {
		g.nc.Close()
		return errAgain
	}
	return nil
}

// close does not wait: what the connection still has to say is said before it closes, and the engine may not listen.
func (g *pages) close() { go g.nc.Close() }

// maxClients bounds the engine's clients. One that is closed while its request is in the engine's hands counts until that ends.
const maxClients = 2000

// renew makes another connection, so that the next request does not wait behind the last one. Where many of them wait already, it keeps
// this one.
func (g *pages) renew() error {
	if g.e.srv.NumClients() >= maxClients {
		return nil
	}
	g.close()
	return g.connect()
}

// read asks for a page from pos on and gives each message to fn. It reports whether there may be more. It returns errSilent
// when no answer comes within patience, or no other within pageTimeout after it, and errAgain when the engine cannot answer.
func (g *pages) read(ctx, life context.Context, pos journal.Position, patience time.Duration, fn func(*nats.Msg) error) (more bool, err error) {
	g.n++
	reply := fmt.Sprintf("%s.%d", g.inbox, g.n)
	req, err := json.Marshal(map[string]uint64{"seq": uint64(pos), "batch": pageRecords, "max_bytes": pageBytes})
	if err != nil {
		return false, err
	}
	if err := g.nc.PublishRequest(directGet(g.p), reply, req); err != nil {
		return false, errAgain
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case msg := <-g.answers:
			if msg.Subject != reply {
				continue
			}
			switch msg.Header.Get("Status") {
			case "":
				if err := fn(msg); err != nil {
					return false, err
				}
				timer.Reset(pageTimeout)
			case "204": // end of the page
				left := msg.Header.Get("Nats-Num-Pending")
				return left != "0", nil
			case "404": // nothing from pos on
				return false, nil
			default: // no responders while the engine stops, or an engine that is busy
				return false, errAgain
			}
		case <-timer.C:
			return false, errSilent
		case <-ctx.Done():
			return false, ctx.Err()
		case <-life.Done():
			return false, journal.ErrClosed
		}
	}
}

func directGet(p journal.Partition) string { return "$JS.API.DIRECT.GET." + streamName(p) }

// Read implements journal.Journal.
func (j *Journal) Read(ctx context.Context, p journal.Partition, pos journal.Position) (journal.Entry, error) {
	if err := j.enter(ctx, p); err != nil {
		return journal.Entry{}, err
	}
	defer j.calls.Done()
	if pos == 0 {
		return journal.Entry{}, journal.ErrTrimmed
	}
	for {
		e, err := j.engine(ctx)
		if err != nil {
			return journal.Entry{}, err
		}
		entry, err := j.read(ctx, e, p, pos)
		if !errors.Is(err, errAgain) {
			return entry, remedy(err, j.cfg.Cluster != nil)
		}
		j.pause(ctx, j.againPause())
	}
}

// read asks one engine for one record.
func (j *Journal) read(ctx context.Context, e *engine, p journal.Partition, pos journal.Position) (journal.Entry, error) {
	msg, err := e.get(ctx, j.cfg, p, pos)
	if err != nil {
		return journal.Entry{}, errAgain
	}
	switch msg.Header.Get("Status") {
	case "":
		data, err := unframe(p, msg.Data)
		if err != nil || position(msg) != pos {
			return journal.Entry{}, damaged(p, pos, "asked for it, the engine gave %d: %v", position(msg), err)
		}
		return journal.Entry{Pos: pos, Data: data}, nil
	case "404":
		_, last, err := e.bounds(ctx, j.cfg, p)
		if err != nil {
			return journal.Entry{}, errAgain
		}
		if pos > last {
			return journal.Entry{}, io.EOF
		}
		return journal.Entry{}, j.missing(ctx, e, p, pos)
	}
	return journal.Entry{}, errAgain
}
