package room

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
	"bongsu/roomstate"
)

// What is remembered of rows that were wrong goes with them. A site starts on damaged rows, by which bob is banned and those without
// power may say nothing, uses them, and so remembers. Then they are made anew from a checkpoint, where the state of the room has the
// same name.
func TestRemadeRowsAreReadAnew(t *testing.T) {
	db, err := kv.Open(kv.Config{MemTable: 4 << 20})
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	store, dir := mem.NewStore(1), t.TempDir()
	var room id.RoomID
	var file *replica.CheckpointFile
	t.Run("sound", func(t *testing.T) { // ends the site, too
		st := newSite(t, replicatest.Options{DB: db, Store: store})
		room = st.create(t, amy, Creation{Preset: presetPublic})
		ok(t, st.Join(t.Context(), bob, room, ""))
		ok(t, st.Join(t.Context(), cat, room, ""))
		file, err = st.r.SaveCheckpoint(0, dir)
		ok(t, err)
		damage(t, db, st.open(t, room))
	})
	j := store.Open(nil)
	ok(t, j.Trim(t.Context(), 0, file.Info.Pos))
	ok(t, j.Close())

	remade := make(chan struct{}, 1)
	st := newSite(t, replicatest.Options{DB: db, Store: store, Boot: 2, AllowBugs: true,
		Checkpoint: func(context.Context, journal.Partition, journal.Position) (*replica.CheckpointFile, error) {
			return file, nil
		},
		Sink: func(c replica.Commit) {
			if c.Remade && c.Pos > 0 {
				remade <- struct{}{}
			}
		}})
	send := func(by By, txn string) error {
		_, err := st.Send(t.Context(), by, room, event.TypeMessage, txn, []byte(`{}`))
		return err
	}
	for _, by := range []By{bob, cat} {
		if err := send(by, "damaged"); !errs.Is(err, errs.Forbidden) {
			t.Fatalf("%s sends, over damaged rows: %v", by.User, err)
		}
	}
	st.r.Remake(0, errors.New("rows are damaged"))
	select {
	case <-remade:
	case <-time.After(time.Minute):
		t.Fatal("the rows are not made anew")
	}
	ok(t, st.r.Ready(t.Context()))
	for _, by := range []By{bob, cat} {
		if err := send(by, "mended"); err != nil {
			t.Errorf("%s sends, over rows that were made anew: %v", by.User, err)
		}
	}
}

// damage bans bob and takes the word from those without power, in the rows alone.
func damage(t *testing.T, db *kv.DB, v View) {
	b := db.Batch()
	banned := v.Member(bob.User)
	banned.Membership = roomstate.Ban
	b.Set(kv.Str(kv.Str(v.key(tableState), event.TypeMember), bob.User), banned.encode())
	levels := v.PowerLevels.Place.Append(v.key(tableTimeline))
	was := db.Get(levels)
	is := bytes.Replace(was, []byte(`"events_default":0`), []byte(`"events_default":9`), 1)
	if bytes.Equal(was, is) {
		t.Fatal("the power levels are not as they were thought to be")
	}
	b.Set(levels, is)
	ok(t, b.Commit())
}
