package ephemeral

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/id"
)

const (
	amy id.UserID = "@amy:x"
	bob id.UserID = "@bob:x"
)

func TestTyping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Uint64
		ty := New(Config{Changed: func(id.RoomID) { changes.Add(1) }})
		defer ty.Close()
		check := func(room id.RoomID, seq uint64, want ...id.UserID) {
			t.Helper()
			synctest.Wait()
			users, n := ty.In(room)
			if !slices.Equal(users, want) || n != seq {
				t.Errorf("%s: %v at %d, want %v at %d", room, users, n, want, seq)
			}
			if all, _ := ty.Seq(); all != changes.Load() {
				t.Errorf("%d changes were told, the last is number %d", changes.Load(), all)
			}
		}
		check("!a", 0)
		ty.Start("!a", bob, 10*time.Second)
		check("!a", 1, bob)
		ty.Start("!a", amy, 30*time.Second)
		check("!a", 2, amy, bob)
		ty.Start("!a", amy, 30*time.Second) // nothing new for anybody
		check("!a", 2, amy, bob)
		ty.Start("!b", amy, time.Hour)
		check("!b", 3, amy)
		time.Sleep(10 * time.Second)
		check("!a", 4, amy)
		ty.Start("!a", amy, 40*time.Second)
		time.Sleep(30 * time.Second)
		check("!a", 4, amy)
		ty.Stop("!a", amy)
		check("!a", 5)
		ty.Stop("!a", amy)
		check("!a", 5)
		time.Sleep(MaxTyping)
		check("!b", 6)
		ty.Start("!a", amy, 0)
		check("!a", 5)
		ty.Start("!a", bob, time.Second)
		check("!a", 7, bob)
		ty.Start("!a", bob, -1)
		check("!a", 8)
	})
}

// TestShorter sets an end before the one that the timer waits for.
func TestShorter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ty := New(Config{})
		defer ty.Close()
		ty.Start("!a", amy, time.Minute)
		ty.Start("!a", bob, time.Second)
		time.Sleep(time.Second)
		synctest.Wait()
		if users, _ := ty.In("!a"); !slices.Equal(users, []id.UserID{amy}) {
			t.Errorf("%v", users)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if users, _ := ty.In("!a"); len(users) != 0 {
			t.Errorf("%v", users)
		}
	})
}

func TestForgetsQuietRooms(t *testing.T) {
	ty := New(Config{})
	defer ty.Close()
	ty.Start("!busy", amy, time.Minute)
	for i := range keepQuiet + 1 {
		room := id.RoomID(fmt.Sprintf("!%d", i))
		ty.Start(room, bob, time.Minute)
		ty.Stop(room, bob)
	}
	if seq, floor := ty.Seq(); floor != seq {
		t.Errorf("seq %d, floor %d", seq, floor)
	}
	if len(ty.rooms) != 1 {
		t.Errorf("%d rooms are kept", len(ty.rooms))
	}
	if users, _ := ty.In("!busy"); len(users) != 1 {
		t.Errorf("the busy room was forgotten")
	}
	ty.Start("!0", bob, time.Minute)
	if _, seq := ty.In("!0"); seq <= 2*keepQuiet {
		t.Errorf("the number went back to %d", seq)
	}
}
