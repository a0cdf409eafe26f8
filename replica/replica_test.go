package replica_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// ledger is a small machine that uses all that a Tx offers: counters, transfers through the outbox, timers, refusals.
func ledger() replica.Machine {
	row := func(tx *replica.Tx, table byte, name string) []byte {
		return kv.Str(replica.Row(tx.Slot(), 'L', table), name)
	}
	add := func(tx *replica.Tx, name string, n int64) int64 {
		k := row(tx, 'c', name)
		var have int64
		if v := tx.Get(k); v != nil {
			have = int64(binary.BigEndian.Uint64(v))
		}
		tx.Set(k, binary.BigEndian.AppendUint64(nil, uint64(have+n)))
		return have + n
	}
	return replica.Machine{Name: "ledger", Byte: 'L', Kinds: map[string]replica.Kind{
		"ledger.add": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			n := add(tx, string(body), 1)
			tx.Note(string(body))
			return fmt.Appendf(nil, "%d", n), nil
		}},
		// body "from to": takes one from an account that has something, gives it to another slot.
		"ledger.give": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			from, to, _ := strings.Cut(string(body), " ")
			if n := add(tx, from, -1); n < 0 {
				return nil, errs.New("ledger.give", errs.Conflict, "", "%s is empty", from)
			}
			tx.Send(id.SlotOf(to), "ledger.add", []byte(to))
			return nil, nil
		}},
		// body "name": adds one after a second of live time.
		"ledger.later": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			tx.At(replica.Live, tx.Live()+1000, "ledger.add", append([]byte{}, body...))
			return nil, nil
		}},
		"ledger.panic": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			add(tx, string(body), 100)
			return nil, fmt.Errorf("never: %d", body[len(body)])
		}},
		"ledger.trespass": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			tx.Set(replica.Row(tx.Slot()^1, 'L', 'c'), nil)
			return nil, nil
		}},
		"ledger.scan": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			tx.Set(row(tx, 's', "b"), []byte("new"))
			tx.Set(row(tx, 's', "d"), []byte("new"))
			tx.Delete(row(tx, 's', "c"))
			var out []byte
			lo := replica.Row(tx.Slot(), 'L', 's')
			for _, scan := range []func(lo, hi []byte) func(func(k, v []byte) bool){
				func(lo, hi []byte) func(func(k, v []byte) bool) { return tx.Scan(lo, hi) },
				func(lo, hi []byte) func(func(k, v []byte) bool) { return tx.ScanBack(lo, hi) },
			} {
				for k, v := range scan(lo, kv.End(lo)) {
					name, _, _ := kv.CutStr(k[len(lo):])
					out = fmt.Appendf(out, "%s=%s ", name, v)
				}
			}
			return out, nil
		}},
		"ledger.put": {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			for _, name := range strings.Fields(string(body)) {
				tx.Set(row(tx, 's', name), []byte("old"))
			}
			return nil, nil
		}},
	}}
}

func propose(kind, name string) replica.Proposal {
	return replica.Proposal{Kind: kind, Slot: id.SlotOf(strings.Fields(name)[0]), Body: []byte(name), Lane: "test"}
}

func submit(t testing.TB, r *replica.Replica, p replica.Proposal) string {
	t.Helper()
	out, err := r.Submit(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func count(r *replica.Replica, name string) int64 {
	v := r.Rows().Get(kv.Str(replica.Row(id.SlotOf(name), 'L', 'c'), name))
	if v == nil {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}

// eventually waits, commit by commit, until ok.
func eventually(t testing.TB, commits <-chan replica.Commit, what string, ok func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-commits:
		case <-limit:
			t.Fatalf("still not: %s", what)
		}
	}
}

func feed() (chan replica.Commit, func(replica.Commit)) {
	ch := make(chan replica.Commit, 10000)
	return ch, func(c replica.Commit) {
		select {
		case ch <- c:
		default:
		}
	}
}

func TestSubmitAppliesAndAnswers(t *testing.T) {
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}})
	for i := 1; i <= 3; i++ {
		if got := submit(t, r, propose("ledger.add", "amy")); got != fmt.Sprint(i) {
			t.Fatalf("answer %q, want %d", got, i)
		}
	}
	if n := count(r, "amy"); n != 3 {
		t.Errorf("amy has %d", n)
	}
	_, err := r.Submit(t.Context(), propose("ledger.give", "bob amy"))
	if !errs.Is(err, errs.Conflict) {
		t.Errorf("refusal is %v", err)
	}
	if n := count(r, "bob"); n != 0 {
		t.Errorf("a refused proposal left %d", n)
	}
}

func TestKeyHasOneEffect(t *testing.T) {
	store := mem.NewStore(4)
	r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store})
	p := propose("ledger.add", "amy")
	p.Key = replica.NewKey("@amy:x", "D", "add", "t1")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if got := submit(t, r, p); got != "1" {
				t.Errorf("answer %q", got)
			}
		})
	}
	wg.Wait()
	stop()
	// Another run, with its rows lost, gives the same answer.
	r = replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, Boot: 2})
	if got := submit(t, r, p); got != "1" {
		t.Errorf("after a restart: answer %q", got)
	}
	if n := count(r, "amy"); n != 1 {
		t.Errorf("amy has %d", n)
	}
	// A refusal is not kept: nothing happened, and a retry may fare better.
	g := propose("ledger.give", "bob amy")
	g.Key = replica.NewKey("@amy:x", "D", "give", "t1")
	if _, err := r.Submit(t.Context(), g); !errs.Is(err, errs.Conflict) {
		t.Fatalf("got %v", err)
	}
	submit(t, r, propose("ledger.add", "bob"))
	submit(t, r, g)
}

func TestKeyIsRefusedAfterItsLife(t *testing.T) {
	var now = time.UnixMilli(1_700_000_000_000)
	var mu sync.Mutex
	clk := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Partitions: 1,
		Clock: clockFunc(clk)})
	p := propose("ledger.add", "amy")
	p.Key = replica.NewKey("@amy:x", "D", "add", "t1")
	submit(t, r, p)
	// An outage of 40 days uses up five seconds of live time.
	mu.Lock()
	now = now.Add(40 * 24 * time.Hour)
	mu.Unlock()
	submit(t, r, propose("ledger.add", "bob"))
	if got := submit(t, r, p); got != "1" {
		t.Fatalf("after an outage: %q", got)
	}
	if live := r.Status(0).Live; live > 10_000 {
		t.Errorf("an outage used up %d ms of live time", live)
	}
}

type clockFunc func() time.Time

func (f clockFunc) Now() time.Time { return f() }

func TestPanicIsAVerdict(t *testing.T) {
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}, AllowBugs: true})
	for _, kind := range []string{"ledger.panic", "ledger.trespass"} {
		if _, err := r.Submit(t.Context(), propose(kind, "amy")); !errs.Is(err, errs.Internal) {
			t.Errorf("%s: got %v", kind, err)
		}
	}
	if n := count(r, "amy"); n != 0 {
		t.Errorf("a panicking handler left %d", n)
	}
	submit(t, r, propose("ledger.add", "amy"))
	if r.Failures() != 2 {
		t.Errorf("%d failures counted", r.Failures())
	}
}

func TestScanSeesOwnWrites(t *testing.T) {
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}})
	submit(t, r, propose("ledger.put", "a b c e"))
	p := propose("ledger.scan", "a")
	if got, want := submit(t, r, p), "a=old b=new d=new e=old e=old d=new b=new a=old "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOutboxIsExactlyOnceAndInOrder(t *testing.T) {
	commits, sink := feed()
	store := mem.NewStore(4)
	o := replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, Sink: sink,
		Plan: mem.Seeded(7, mem.Rates{LoseAck: 0.2, Fail: 0.1, Forget: 0.2, LosePush: 0.1})}
	r, stop := replicatest.Start(t, o)
	const n = 40
	for range n {
		submit(t, r, propose("ledger.add", "amy"))
	}
	for i := range n {
		submit(t, r, propose("ledger.give", "amy bob"))
		if i == n/2 {
			stop()
			o.Boot = 2
			r, stop = replicatest.Start(t, o)
		}
	}
	eventually(t, commits, "bob has it all", func() bool { return count(r, "bob") >= n })
	if count(r, "amy") != 0 || count(r, "bob") != n {
		t.Errorf("amy %d, bob %d", count(r, "amy"), count(r, "bob"))
	}
	stop()
}

func TestTimerFiresOnce(t *testing.T) {
	commits, sink := feed()
	store := mem.NewStore(1)
	o := replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, Sink: sink}
	r, stop := replicatest.Start(t, o)
	submit(t, r, propose("ledger.later", "amy"))
	stop()
	o.Boot = 2
	r, stop = replicatest.Start(t, o)
	defer stop()
	eventually(t, commits, "the timer fired", func() bool { return count(r, "amy") > 0 })
	submit(t, r, propose("ledger.add", "bob"))
	if n := count(r, "amy"); n != 1 {
		t.Errorf("the timer fired %d times", n)
	}
}

func TestRowsThatTheJournalDeniesAreDiscarded(t *testing.T) {
	store := mem.NewStore(1)
	fs := kv.NewMemFS()
	db := openDB(t, fs)
	o := replicatest.Options{Machines: []replica.Machine{ledger()}, Store: store, DB: db}
	r, stop := replicatest.Start(t, o)
	for range 5 {
		submit(t, r, propose("ledger.add", "amy"))
	}
	_, last := bounds(t, store, 0)
	stop()
	closeDB(t, db)
	store.Cut(0, last-2) // the journal comes back shorter than the rows
	o.DB, o.Boot = openDB(t, fs), 2
	r, stop = replicatest.Start(t, o)
	if n := count(r, "amy"); n != 3 {
		t.Errorf("amy has %d, the journal says 3", n)
	}
	stop()
	closeDB(t, o.DB)
}

func bounds(t *testing.T, s *mem.Store, p journal.Partition) (first, last journal.Position) {
	t.Helper()
	j := s.Open(nil)
	defer j.Close()
	first, last, err := j.Bounds(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return first, last
}

func openDB(t *testing.T, fs *kv.MemFS) *kv.DB {
	t.Helper()
	db, err := kv.Open(kv.Config{FS: fs, MemTable: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func closeDB(t *testing.T, db *kv.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFullQueueRefuses(t *testing.T) {
	block := make(chan struct{})
	var stuck atomic.Bool
	plan := func(a mem.Attempt) mem.Fault {
		if stuck.Load() {
			<-block
		}
		return mem.Fault{}
	}
	r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Plan: plan, Partitions: 1, Queue: 4 << 10})
	defer stop()
	defer close(block)
	stuck.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var refused, waiting int
	results := make(chan error, 400)
	for range 400 {
		go func() {
			_, err := r.Submit(ctx, propose("ledger.add", "amy"))
			results <- err
		}()
	}
	for refused < 300 {
		err := <-results
		var e *errs.Error
		if !errors.As(err, &e) || e.Kind != errs.Unavailable || e.RetryAfter == 0 {
			t.Fatalf("got %v", err)
		}
		refused++
	}
	cancel()
	for range 100 {
		if err := <-results; !errs.Is(err, errs.Unavailable) {
			t.Fatalf("got %v", err)
		}
		waiting++
	}
}

// A view's positions are those of its rows, however fast commits come.
func TestViewKnowsItsPositions(t *testing.T) {
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Partitions: 2})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					submit(t, r, propose("ledger.add", fmt.Sprintf("user%d", i)))
				}
			}
		})
	}
	for range 3000 {
		v := r.View()
		for p, at := range v.Positions() {
			row := v.Get(kv.U16([]byte{'l', 'a'}, uint16(p)))
			if got := binary.BigEndian.Uint64(row); got != uint64(at) {
				t.Errorf("partition %d: rows of %d, said to be of %d", p, got, at)
			}
		}
		v.Close()
	}
	close(stop)
	wg.Wait()
}

// Bodies and results are JSON; raw JSON in them stays as it is.
func TestJSON(t *testing.T) {
	type body struct {
		Text json.RawMessage `json:"text"`
	}
	m := replica.Machine{Name: "json", Byte: 'J', Kinds: map[string]replica.Kind{
		"json.echo": {Apply: replica.JSON(func(_ *replica.Tx, b body) (any, error) {
			if string(b.Text) == `"none"` {
				return nil, nil
			}
			return b, nil
		})},
		"json.raw": {Apply: replica.JSON(func(_ *replica.Tx, b body) ([]byte, error) { return b.Text, nil })},
	}}
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{m}, AllowBugs: true})
	for _, c := range []struct{ kind, in, want string }{
		{"json.echo", `{"text":"<&>"}`, `{"text":"<&>"}`},
		{"json.echo", `{"text":"none"}`, ""},
		{"json.raw", `{"text":"<&>"}`, `"<&>"`},
	} {
		if got := submit(t, r, replica.Proposal{Kind: c.kind, Body: []byte(c.in)}); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.kind, c.in, got, c.want)
		}
	}
	if _, err := r.Submit(t.Context(), replica.Proposal{Kind: "json.echo", Body: []byte("no")}); !errs.Is(err, errs.Internal) {
		t.Errorf("a body that is none: %v", err)
	}
	if got := string(replica.Marshal(body{json.RawMessage(`"<"`)})); got != `{"text":"<"}` {
		t.Error(got)
	}
}

// A record that may have been appended before the disk filled up is waited for; who comes after it is told at once.
func TestFullDiskBehindAnOpenAppend(t *testing.T) {
	var full, open atomic.Bool
	retried := make(chan struct{}, 100)
	plan := func(a mem.Attempt) mem.Fault {
		switch {
		case !full.Load():
			return mem.Fault{}
		case open.CompareAndSwap(false, true):
			return mem.Fault{LoseAck: true, LosePush: true}
		}
		select {
		case retried <- struct{}{}:
		default:
		}
		return mem.Fault{Full: true}
	}
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{ledger()}, Partitions: 1, Plan: plan})
	full.Store(true)
	first := make(chan error, 1)
	go func() {
		_, err := r.Submit(t.Context(), propose("ledger.add", "amy"))
		first <- err
	}()
	<-retried
	var e *errs.Error
	if _, err := r.Submit(t.Context(), propose("ledger.add", "bob")); !errors.As(err, &e) || e.Code != errs.DiskFull {
		t.Errorf("behind an open append: %v", err)
	}
	full.Store(false)
	if err := <-first; err != nil {
		t.Errorf("the open append: %v", err)
	}
	if count(r, "amy") != 1 || count(r, "bob") != 0 {
		t.Errorf("amy %d, bob %d", count(r, "amy"), count(r, "bob"))
	}
}
