package jet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"bongsu/journal"
)

// startTimeout bounds the start of an engine, which reads its index or, after a crash, its files.
const (
	startTimeout = 10 * time.Minute
	readyPoll    = 100 * time.Millisecond
)

// adminTimeout bounds what is asked of the engine at start and by Trim.
const adminTimeout = 30 * time.Second

// The names within the engine. They are in stored data: never change them.
func streamName(p journal.Partition) string  { return "p" + strconv.Itoa(int(p)) }
func subject(p journal.Partition) string     { return "journal." + strconv.Itoa(int(p)) }
func liveSubject(p journal.Partition) string { return "live." + strconv.Itoa(int(p)) }

// storeDir is what the engine is told; it makes engineDir in it.
func storeDir(dir string) string  { return filepath.Join(dir, "store") }
func engineDir(dir string) string { return filepath.Join(storeDir(dir), server.JetStreamStoreDir) }
func systemDir(dir string) string {
	return filepath.Join(engineDir(dir), server.DEFAULT_SYSTEM_ACCOUNT)
}
func blockDir(dir string, p journal.Partition) string {
	return filepath.Join(engineDir(dir), server.DEFAULT_GLOBAL_ACCOUNT, "streams", streamName(p), "msgs")
}

// engine is one run of the embedded server and the connections to it.
type engine struct {
	srv   *server.Server
	user  nats.Option // who its clients are
	write *nats.Conn  // appends
	read  *nats.Conn  // everything else but pages of history, so that it does not hold up acknowledgements
	bus   *nats.Conn  // passing messages, for the same reason
	js    jetstream.JetStream

	once    sync.Once
	sick    chan struct{} // closed when the engine can no longer append
	illness error         // why; read it after sick is closed
}

// What an engine falls ill with.
var (
	errNoSpace = errors.New("the engine ran out of disk space")
	errWrite   = errors.New("the engine could not write; nothing is appended until the process is started again")
	errStopped = errors.New("the engine has stopped")
)

// fail says, once, that the engine can no longer append.
func (e *engine) fail(cause error) {
	e.once.Do(func() {
		e.illness = cause
		close(e.sick)
	})
}

// ill is why the engine can no longer append, or nil.
func (e *engine) ill() error {
	select {
	case <-e.sick:
		return e.illness
	default:
		return nil
	}
}

func engineOptions(c Config) (*server.Options, error) {
	o := &server.Options{
		ServerName: c.ServerName,
		DontListen: true,
		NoSigs:     true,
		MaxPayload: journal.MaxRecord + 64<<10,

		JetStream:          true,
		StoreDir:           storeDir(c.Dir),
		SyncAlways:         true,
		JetStreamMaxMemory: 64 << 20,
		JetStreamMaxStore:  1 << 62, // Reserve and Budget decide, not a share of the disk
		NoSystemAccount:    true,
	}
	if c.Cluster == nil {
		return o, nil
	}
	return o, c.Cluster.apply(o)
}

// checkOptions refuses what would lose data, and what would let strangers in.
func checkOptions(c Config, o *server.Options) error {
	switch {
	case !o.SyncAlways:
		return errors.New("jet: the engine must sync every record before it acknowledges it")
	case o.HTTPPort != 0 || o.HTTPSPort != 0:
		return errors.New("jet: the engine must have no port for monitoring")
	case c.Cluster == nil && (!o.DontListen || o.Cluster.Port != 0 || len(o.Routes) > 0):
		return errors.New("jet: a standalone store must not be opened with routes or ports")
	case !o.DontListen && (o.Host != "127.0.0.1" || len(o.Password) < 20):
		return errors.New("jet: the engine must not be open to clients")
	}
	return nil
}

// startEngine starts the server on the files in c.Dir; with fresh it makes the streams.
func startEngine(c Config, log *slog.Logger, fresh bool) (*engine, error) {
	opts, err := engineOptions(c)
	if err == nil {
		err = checkOptions(c, opts)
	}
	if err == nil && c.Cluster != nil {
		err = setTimers(c.Cluster.Timers)
	}
	if err != nil {
		return nil, err
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("jet: making the engine: %w", err)
	}
	e := &engine{srv: srv, user: nats.UserInfo(opts.Username, opts.Password), sick: make(chan struct{})}
	srv.SetLoggerV2(&engineLog{log: log, fail: e.fail}, false, false, false)
	if c.Cluster == nil {
		srv.Start() // returns when all is recovered, since it does not listen
	} else {
		go srv.Start() // returns when it is stopped
	}
	if err := e.connect(c, fresh); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

func (e *engine) connect(c Config, fresh bool) error {
	ready := false
	for deadline := time.Now().Add(startTimeout); !ready && time.Now().Before(deadline); {
		ready = e.srv.ReadyForConnections(readyPoll)
		if err := e.ill(); err != nil {
			return fmt.Errorf("jet: starting the engine: %w", err)
		}
	}
	if !ready {
		return errors.New("jet: the engine did not start in time")
	}
	if js := e.srv.JetStreamConfig(); js == nil || !js.SyncAlways {
		return errors.New("jet: the engine runs without a store that syncs always")
	}
	var err error
	for _, nc := range []**nats.Conn{&e.write, &e.read, &e.bus} {
		if *nc, err = e.dial(nats.ClosedHandler(func(*nats.Conn) { e.fail(errStopped) })); err != nil {
			return fmt.Errorf("jet: connecting to the engine: %w", err)
		}
	}
	if e.js, err = jetstream.New(e.read, jetstream.WithDefaultTimeout(adminTimeout)); err != nil {
		return fmt.Errorf("jet: %w", err)
	}
	if !fresh || c.Cluster != nil { // the streams of a cluster wait for its sites: form
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	for p := range journal.Partition(c.Partitions) {
		if _, err := e.js.CreateStream(ctx, streamConfig(c, p)); err != nil {
			return fmt.Errorf("jet: making partition %d: %w", p, err)
		}
	}
	return nil
}

// dial makes a connection to the engine.
func (e *engine) dial(more ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append(more, nats.InProcessServer(e.srv), nats.NoReconnect(), e.user,
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...) // slow followers see the gap themselves
}

// streamConfig is a partition: append-only, without any limit that would discard. Purging stays allowed for Trim; nothing
// else in this package purges.
func streamConfig(c Config, p journal.Partition) jetstream.StreamConfig {
	s := jetstream.StreamConfig{
		Name:              streamName(p),
		Subjects:          []string{subject(p)},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		Replicas:          1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		Duplicates:        journal.DedupWindowSeconds * time.Second,
		DenyDelete:        true,
		AllowDirect:       true,
		RePublish:         &jetstream.RePublish{Source: subject(p), Destination: liveSubject(p)},
	}
	if first := c.first(p); first > 1 {
		s.FirstSeq = uint64(first)
	}
	if c.Cluster != nil { // one replica in each site, by JetStreamUniqueTag
		s.Replicas = len(c.Cluster.Sites)
	}
	return s
}

// checkStream refuses a stream that could lose records by itself.
func checkStream(cfg Config, p journal.Partition, c jetstream.StreamConfig) error {
	w := streamConfig(cfg, p)
	if c.Replicas != w.Replicas || c.Storage != w.Storage || c.Retention != w.Retention || c.Discard != w.Discard || c.MaxMsgs > 0 || c.MaxBytes > 0 ||
		c.MaxAge != 0 || c.MaxMsgsPerSubject > 0 || c.Duplicates != w.Duplicates || !c.DenyDelete || !c.AllowDirect || c.AllowRollup ||
		c.AllowMsgTTL || c.RePublish == nil || *c.RePublish != *w.RePublish {
		return fmt.Errorf("jet: the stream of partition %d is not configured as this build needs it: %+v", p, c)
	}
	return nil
}

// compare holds the engine's view against the extents found in the files, nil for a fresh journal. It finishes a Trim that
// was interrupted. It returns the bytes of all records, as the engine counts them.
func (e *engine) compare(c Config, found []extent, m *marks) (used int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	for i, x := range found {
		p := journal.Partition(i)
		info, err := e.info(ctx, p)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return 0, damaged(p, x.first, "the engine does not know the partition; its meta.inf or meta.sum is damaged or missing")
		}
		if err != nil {
			return 0, fmt.Errorf("jet: asking for partition %d: %w", p, err)
		}
		if err := checkStream(c, p, info.Config); err != nil {
			return 0, err
		}
		if _, first := m.of(p); uint64(first) > info.State.FirstSeq && info.State.FirstSeq < info.State.LastSeq {
			if info, err = e.purge(ctx, p, first); err != nil {
				return 0, fmt.Errorf("jet: finishing the trim of partition %d: %w", p, err)
			}
		}
		if err := agree(p, x, info.State); err != nil {
			return 0, err
		}
		used += int64(info.State.Bytes)
	}
	return used, nil
}

// agree is the hole check.
func agree(p journal.Partition, x extent, s jetstream.StreamState) error {
	if s.Msgs == 0 {
		if x.last >= x.first || journal.Position(s.LastSeq) != x.last {
			return damaged(p, x.first, "the engine shows nothing, the files hold up to %d, its last was %d", x.last, s.LastSeq)
		}
		return nil
	}
	switch {
	case s.Msgs != s.LastSeq-s.FirstSeq+1 || s.NumDeleted != 0:
		return damaged(p, journal.Position(s.FirstSeq), "the engine shows %d records from there to %d, %d deleted", s.Msgs, s.LastSeq, s.NumDeleted)
	case journal.Position(s.LastSeq) != x.last:
		return damaged(p, x.last, "the files end there, the engine's view at %d", s.LastSeq)
	case journal.Position(s.FirstSeq) < x.first:
		return damaged(p, x.first, "the files begin there, the engine's view at %d", s.FirstSeq)
	}
	return nil
}

func (e *engine) info(ctx context.Context, p journal.Partition) (*jetstream.StreamInfo, error) {
	s, err := e.js.Stream(ctx, streamName(p))
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}

// purge removes what lies below pos, but never the last record.
func (e *engine) purge(ctx context.Context, p journal.Partition, pos journal.Position) (*jetstream.StreamInfo, error) {
	s, err := e.js.Stream(ctx, streamName(p))
	if err != nil {
		return nil, err
	}
	state := s.CachedInfo().State
	seq := min(uint64(pos), state.LastSeq)
	if seq <= state.FirstSeq || state.Msgs == 0 { // sequence 0 would mean everything
		return s.CachedInfo(), nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(seq)); err != nil {
		return nil, err
	}
	return s.Info(ctx)
}

// stop ends the engine; it waits until all is written and closed.
func (e *engine) stop() { e.stopWithin(stopFor) }

// stopFor is how long an engine may take to stop. Ten seconds of it the engine waits for its own parts.
const stopFor = 15 * time.Second

// stopWithin is stop, and reports whether the engine has stopped: one that could not write its books may wait for itself for ever.
func (e *engine) stopWithin(d time.Duration) bool {
	e.fail(errStopped)
	for _, nc := range []*nats.Conn{e.write, e.read, e.bus} {
		if nc != nil {
			nc.Close()
		}
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		e.srv.Shutdown()
		e.srv.WaitForShutdown()
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-stopped:
		return true
	case <-t.C:
		return false
	}
}
