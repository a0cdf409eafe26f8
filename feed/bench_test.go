package feed

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"bongsu/id"
	"bongsu/room"
)

// crowd is a user in many rooms of many members with something said in each.
func crowd(b testing.TB, rooms, members, messages int) (*site, []id.RoomID) {
	st := newSite(b)
	list := make([]id.RoomID, rooms)
	var wg sync.WaitGroup
	gate := make(chan struct{}, 64)
	for i := range list {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			list[i] = st.create("u0", room.Creation{Preset: "public_chat", Name: fmt.Sprintf("room %d", i)})
			for m := 1; m < members; m++ {
				st.join(fmt.Sprintf("u%d", m), list[i])
			}
			for m := range messages {
				st.say(fmt.Sprintf("u%d", m%members), list[i], "It is a long established fact that a reader will be distracted.")
			}
		})
	}
	wg.Wait()
	return st, list
}

// BenchmarkInitial is a first sync of a user in 100 rooms of 20 members with 30 messages in each.
func BenchmarkInitial(b *testing.B) {
	st, _ := crowd(b, 100, 20, 30)
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		out, err := st.Sync(context.Background(), Request{User: user("u1")})
		if err != nil {
			b.Fatal(err)
		}
		size = len(out)
	}
	b.ReportMetric(float64(size), "B/answer")
}

// BenchmarkIncremental is a sync of the same user that finds one new message.
func BenchmarkIncremental(b *testing.B) {
	st, list := crowd(b, 100, 20, 30)
	rq := Request{User: user("u1"), Device: "u1", Since: st.token("u1"), Timeout: time.Second}
	var took []time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		st.say("u2", list[i%len(list)], "hello")
		b.StartTimer()
		began := time.Now()
		out, err := st.Sync(context.Background(), rq)
		took = append(took, time.Since(began))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		rq.Since = st.parse(out).NextBatch
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkEmpty is a sync that finds nothing and does not wait.
func BenchmarkEmpty(b *testing.B) {
	st, _ := crowd(b, 100, 2, 1)
	rq := Request{User: user("u1"), Device: "u1", Since: st.token("u1")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := st.Sync(context.Background(), rq); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommitted is a message's note in a room of 20 members who wait.
func BenchmarkCommitted(b *testing.B) {
	st, list := crowd(b, 1, 20, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 20 {
		name := fmt.Sprintf("u%d", i)
		rq := Request{User: user(name), Since: st.token(name), Timeout: time.Hour}
		wg.Go(func() {
			for ctx.Err() == nil {
				out, err := st.Sync(ctx, rq)
				if err != nil {
					b.Error(err)
					return
				}
				rq.Since = st.parse(out).NextBatch
			}
		})
	}
	st.until("all wait", func() bool { return st.Waiting() == 20 })
	b.ReportAllocs()
	for b.Loop() {
		st.say("u0", list[0], "hello")
	}
	cancel()
	wg.Wait()
}

// parkMany makes n users in two rooms each wait, and returns the bytes for each.
func parkMany(b testing.TB, n int) float64 {
	st := newSite(b)
	const perRoom, rooms = 10, 2
	var list []id.RoomID
	for i := range (n + perRoom - 1) / perRoom {
		list = append(list, st.create(fmt.Sprintf("w%d", i*perRoom), room.Creation{Preset: "public_chat"}))
	}
	var wg sync.WaitGroup
	gate := make(chan struct{}, 128)
	tokens := make([]string, n)
	for i := range n {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			name := fmt.Sprintf("w%d", i)
			for k := range rooms {
				st.join(name, list[(i/perRoom+k)%len(list)])
			}
			tokens[i] = st.token(name)
		})
	}
	wg.Wait()
	for i := range n { // the first answer after the joins of the others
		out, err := st.Sync(context.Background(), Request{User: user(fmt.Sprintf("w%d", i)), Since: tokens[i]})
		if err != nil {
			b.Fatal(err)
		}
		tokens[i] = st.parse(out).NextBatch
	}
	before := inUse()
	ctx, cancel := context.WithCancel(context.Background())
	for i := range n {
		rq := Request{User: user(fmt.Sprintf("w%d", i)), Since: tokens[i], Timeout: time.Hour}
		wg.Go(func() { _, _ = st.Sync(ctx, rq) })
	}
	for st.Waiting() < n {
		time.Sleep(time.Millisecond)
	}
	each := float64(inUse()-before) / float64(n)
	cancel()
	wg.Wait()
	return each
}

// inUse is the bytes of heap and stacks in use.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // the first one shrinks stacks
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestIdle bounds what a waiting request costs, beside what net/http takes.
func TestIdle(t *testing.T) {
	if testing.Short() {
		t.Skip("parks hundreds of requests")
	}
	each := parkMany(t, 300)
	t.Logf("%.0f bytes for each waiting request", each)
	if each > 10_000 {
		t.Errorf("a waiting request costs %.0f bytes", each)
	}
}

func BenchmarkIdle(b *testing.B) {
	var each float64
	for b.Loop() {
		each = parkMany(b, 5000)
	}
	b.ReportMetric(each, "B/waiter")
}

// BenchmarkUnread counts anew in a room with the most unread events that are counted.
func BenchmarkUnread(b *testing.B) {
	st, list := crowd(b, 1, 2, 0)
	for range maxUnread {
		st.say("u0", list[0], "It is a long established fact that a reader will be distracted.")
	}
	rq := Request{User: user("u1"), FullState: true, Since: st.token("u1")}
	for b.Loop() {
		st.hub.mu.Lock()
		for _, s := range st.hub.viewers[user("u1")].seats {
			s.unread = unread{}
		}
		st.hub.mu.Unlock()
		if _, err := st.Sync(context.Background(), rq); err != nil {
			b.Fatal(err)
		}
	}
}
