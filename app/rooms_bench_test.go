package app

import (
	"fmt"
	"sync"
	"testing"

	"bongsu/id"
	"bongsu/room"
)

// BenchmarkProfile is a new name of a user who is in 500 rooms, until the last of them shows it.
func BenchmarkProfile(b *testing.B) {
	const rooms = 500
	s := open(b, settings(b.TempDir()))
	amy := id.UserID("@amy:localhost")
	if _, err := s.accounts.AddUser(b.Context(), "amy", "a long password", false); err != nil {
		b.Fatal(err)
	}
	var last id.RoomID
	for range rooms {
		in, err := s.rooms.Create(b.Context(), room.By{User: amy}, room.Creation{})
		if err != nil {
			b.Fatal(err)
		}
		last = in
	}
	for i := 0; b.Loop(); i++ {
		if err := s.accounts.SetProfile(b.Context(), amy, "displayname", fmt.Appendf(nil, `"Amy %d"`, i)); err != nil {
			b.Fatal(err)
		}
		if err := s.rooms.ShowProfile(b.Context(), amy); err != nil {
			b.Fatal(err)
		}
	}
	view := s.rooms.View()
	defer view.Close()
	if v, ok := room.Open(view, last); !ok || v.Member(amy).Ref.ID == "" {
		b.Error("the room is gone")
	}
	b.ReportMetric(rooms*float64(b.N)/b.Elapsed().Seconds(), "rooms/s")
}

// BenchmarkJoinAll is 1,000 users who join one room, 64 at a time.
func BenchmarkJoinAll(b *testing.B) {
	const users = 1000
	s := open(b, settings(b.TempDir()))
	for b.Loop() {
		in, err := s.rooms.Create(b.Context(), room.By{User: "@amy:localhost"}, room.Creation{Preset: "public_chat"})
		if err != nil {
			b.Fatal(err)
		}
		next := make(chan int)
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for i := range next {
					if err := s.rooms.Join(b.Context(), room.By{User: id.UserID(fmt.Sprintf("@user%d:localhost", i))}, in, ""); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for i := range users {
			next <- i
		}
		close(next)
		all.Wait()
	}
	b.ReportMetric(users*float64(b.N)/b.Elapsed().Seconds(), "joins/s")
}
