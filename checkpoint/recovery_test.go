package checkpoint

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/link/linktest"
	"bongsu/replica"
	"bongsu/room"
)

// TestRecovery measures how long an empty site takes to have the state of BONGSU_RECOVERY_EVENTS messages in 40 rooms: from the
// journal, which is in memory here, and by checkpoints from another site, over real links; rows are on disk. It is also
// the test that both ways lead to the same state of the real state machine.
func TestRecovery(t *testing.T) {
	events := 2000
	if n, err := strconv.Atoi(os.Getenv("BONGSU_RECOVERY_EVENTS")); err == nil {
		events = n
	}
	store, links := mem.NewStore(4), linktest.Open(t, "a", "b")
	first := newRecovering(t, store, links["a"], "a")
	fill(t, first.r, events)
	var bytes int64
	began := start(t)
	for p := range journal.Partition(4) {
		s, err := first.r.Snapshot(p)
		if err != nil {
			t.Fatal(err)
		}
		err = first.k.write(s)
		s.Close()
		if err != nil {
			t.Fatal(err)
		}
		bytes += first.k.of(p)[0].Size
	}
	t.Logf("%d events: written as checkpoints of %d MB in %s", events, bytes>>20, began)

	began = start(t)
	newRecovering(t, store, nil, "j").same(t, first)
	t.Logf("an empty site had the state from the journal after %s", began)

	for p := range journal.Partition(4) {
		if err := first.j.Trim(t.Context(), p, first.k.of(p)[0].Pos); err != nil {
			t.Fatal(err)
		}
	}
	began = start(t)
	newRecovering(t, store, links["b"], "b").same(t, first)
	t.Logf("an empty site had the state by checkpoint after %s", began)
}

// stopwatch tells how long something took, by the clock and in time of processors: other load on the machine lengthens the first more.
type stopwatch struct {
	t     *testing.T
	began time.Time
	spent time.Duration
}

func start(t *testing.T) stopwatch { return stopwatch{t, time.Now(), cpu(t)} }

func (s stopwatch) String() string {
	return fmt.Sprintf("%s (%s of processors)", time.Since(s.began).Round(time.Millisecond), (cpu(s.t) - s.spent).Round(time.Millisecond))
}

func cpu(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// recovering is a site with rows on disk. Only the first has a say: the others observe.
type recovering struct {
	r *replica.Replica
	k *Keeper
	j *mem.Journal
}

func newRecovering(t *testing.T, store *mem.Store, link Link, name string) *recovering {
	t.Helper()
	db, err := kv.Open(kv.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := &recovering{j: store.Open(nil)}
	s.k, err = Open(Config{Dir: t.TempDir(), Site: name, Link: link, Journal: s.j, Interval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s.r, err = replica.Open(t.Context(), replica.Config{DB: db, Journal: s.j, Machines: []replica.Machine{room.Machine()}, Site: name, Boot: 1,
		Checkpoint: s.k.Fetch, Observer: name != "a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.r.Close()
		s.k.Close()
		if err := s.j.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.r.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.r.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// same waits for what the other has applied, and compares the states.
func (s *recovering) same(t *testing.T, other *recovering) {
	t.Helper()
	for p := range journal.Partition(4) {
		want := other.r.Status(p)
		if err := s.r.WaitFor(t.Context(), p, want.Applied); err != nil {
			t.Fatal(err)
		}
		if got := s.r.Status(p); got.Applied == want.Applied && got.Digest != want.Digest {
			t.Errorf("partition %d: the state differs", p)
		}
	}
}

// fill makes 40 rooms of 20 members, and messages of the usual length in them.
func fill(t *testing.T, r *replica.Replica, events int) {
	t.Helper()
	rooms := room.New(room.Config{Replica: r, Server: "example.org",
		Profile: func(kv.Reader, id.UserID) (room.Profile, bool) { return room.Profile{}, true }})
	defer rooms.Close()
	by := func(i int) room.By {
		return room.By{User: id.UserID(fmt.Sprintf("@user%d:example.org", i)), Device: "D"}
	}
	var all []id.RoomID
	for i := range 40 {
		rm, err := rooms.Create(t.Context(), by(i%20), room.Creation{Preset: "public_chat"})
		if err != nil {
			t.Fatal(err)
		}
		for j := range 20 {
			if err := rooms.Join(t.Context(), by(j), rm, ""); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, rm)
	}
	const senders = 64
	text := []byte(`{"body":"a message of the usual length, as people write them to each other all day long","msgtype":"m.text"}`)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := s; i < events; i += senders {
				if _, err := rooms.Send(context.Background(), by(s%20), all[i%40], "m.room.message", fmt.Sprint(i), text); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
