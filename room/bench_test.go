package room

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

const benchText = `{"body":"a message of the usual length, as people write them to each other all day long","msgtype":"m.text"}`

// BenchmarkSendApply is what a message costs a replica, without the journal: records of 16 messages by 20 members in 40
// rooms are applied as history.
func BenchmarkSendApply(b *testing.B) {
	for _, per := range []int{1, 16} {
		b.Run(fmt.Sprintf("%dInRecord", per), func(b *testing.B) {
			store := mem.NewStore(1)
			st := newSite(b, replicatest.Options{Store: store, Partitions: 1})
			var rooms []id.RoomID
			for i := range 40 {
				by := By{User: user(i), Device: "D"}
				room := st.create(b, by, Creation{Preset: presetPublic})
				for j := range 20 {
					ok(b, st.Join(b.Context(), By{User: user(j)}, room, ""))
				}
				rooms = append(rooms, room)
			}
			j := store.Open(nil)
			n := 0
			for r := 0; n < b.N; r++ {
				rec := replica.Record{Site: "other", Boot: 1, N: uint64(r + 1), Stamp: st.r.Status(0).Wall, Rules: sinceRules}
				for range per {
					room := rooms[n%40]
					txn := fmt.Sprint(n)
					body := sendBody{Room: room, Sender: user(n % 20), Device: "D", Txn: txn, Type: "m.room.message", Content: []byte(benchText)}
					rec.Proposals = append(rec.Proposals, replica.Proposal{Kind: kindSend, Slot: id.SlotOf(room),
						Key: replica.NewKey(user(n%20), "D", "send", txn), Body: replica.Marshal(&body)})
					n++
				}
				if _, err := j.Append(context.Background(), 0, fmt.Sprint("other", r), rec.Encode(nil)); err != nil {
					b.Fatal(err)
				}
			}
			end, err := func() (journal.Position, error) {
				_, last, err := j.Bounds(context.Background(), 0)
				return last, err
			}()
			if err != nil {
				b.Fatal(err)
			}
			db, err := kv.Open(kv.Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			// A fresh replica applies everything; what came before the messages is little.
			r, stop := replicatest.Start(b, replicatest.Options{Machines: []replica.Machine{Machine()}, Store: store, DB: db, Site: "fresh", Rules: sinceRules})
			defer stop()
			if r.Positions()[0] < end {
				b.Fatal("not all was applied")
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpu is the processor time that this process has used, in nanoseconds: of use where the machine is shared.
func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails for oneself
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkSend is a message from the service to its answer, over the in-memory journal, by 64 senders in 40 rooms.
func BenchmarkSend(b *testing.B) {
	st := newSite(b, replicatest.Options{})
	var rooms []id.RoomID
	for i := range 40 {
		room := st.create(b, By{User: user(i)}, Creation{Preset: presetPublic})
		for j := range 64 {
			ok(b, st.Join(b.Context(), By{User: user(j)}, room, ""))
		}
		rooms = append(rooms, room)
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	defer func() { b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op") }()
	var wg sync.WaitGroup
	for s := range 64 {
		wg.Go(func() {
			for i := s; i < b.N; i += 64 {
				_, err := st.Send(context.Background(), By{User: user(s), Device: "D"}, rooms[i%40], "m.room.message", fmt.Sprint(i), []byte(benchText))
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkJoin is a join to one ever larger room.
func BenchmarkJoin(b *testing.B) {
	st := newSite(b, replicatest.Options{})
	room := st.create(b, amy, Creation{Preset: presetPublic})
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		ok(b, st.Join(b.Context(), By{User: user(i)}, room, ""))
		i++
	}
}

func BenchmarkTimeline(b *testing.B) {
	st := newSite(b, replicatest.Options{})
	room := st.create(b, amy, Creation{})
	for i := range 1000 {
		st.say(b, amy, room, fmt.Sprint(i), "some text")
	}
	v := st.open(b, room)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for range v.TimelineBack(Place{}, replica.Forever) {
			if n++; n == 20 {
				break
			}
		}
	}
}

// BenchmarkReceipts is one receipt of many: 20 members of each of 40 rooms have read the last message.
func BenchmarkReceipts(b *testing.B) {
	st := newSite(b, replicatest.Options{})
	var rooms []id.RoomID
	for i := range 40 {
		room := st.create(b, By{User: user(i)}, Creation{Preset: presetPublic})
		for j := range 20 {
			ok(b, st.Join(b.Context(), By{User: user(j)}, room, ""))
		}
		rooms = append(rooms, room)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var total int64
	for n := 0; n < b.N; {
		b.StopTimer()
		var last []id.EventID
		for i, room := range rooms {
			last = append(last, st.say(b, By{User: user(i % 20), Device: "D"}, room, fmt.Sprint(n), "x"))
		}
		before := cpu()
		b.StartTimer()
		var wg sync.WaitGroup
		for i, room := range rooms {
			for j := range 20 {
				wg.Go(func() { fine(b, st.Receipt(context.Background(), user(j), room, Read, "", last[i])) })
				n++
			}
		}
		wg.Wait()
		total += cpu() - before
	}
	b.ReportMetric(float64(total)/float64(b.N), "cpu-ns/op")
}
