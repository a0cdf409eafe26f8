package app

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/replica"
)

// abandoned makes a data directory of a server that was killed: a copy of one that runs, without the rows, which may not have been
// written to disk yet.
func abandoned(t *testing.T, work func(s *Server)) string {
	t.Helper()
	root := t.TempDir()
	s := open(t, settings(filepath.Join(root, "running")))
	work(s)
	data := filepath.Join(root, "data")
	leave(t, filepath.Join(root, "running"), data)
	shut(t, s)
	return data
}

// TestRecover takes the state of a server that was killed from its files, and goes on from it.
func TestRecover(t *testing.T) {
	var token, room, uri, since string
	var sent []told
	data := abandoned(t, func(s *Server) {
		token = register(t, s, "amy")
		room = call(t, s, token, "POST", "/_matrix/client/v3/createRoom", `{"name":"hill"}`)["room_id"].(string)
		uri = upload(t, s, token, "a picture")
		for i := range 30 {
			sent = append(sent, say(t, s, token, room, fmt.Sprint("t", i)))
		}
		since = call(t, s, token, "GET", "/_matrix/client/v3/sync", "")["next_batch"].(string)
	})
	root := t.TempDir()
	wrong := settings(data)
	wrong.Site = "busan"
	if _, err := OpenRecovery(t.Context(), wrong, filepath.Join(root, "scratch")); err == nil || !strings.Contains(err.Error(), "give the settings") {
		t.Errorf("another site: %v", err)
	}
	before := tree(t, data)
	r, err := OpenRecovery(t.Context(), settings(data), filepath.Join(root, "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	for p, part := range r.Parts {
		if part.Used != part.Last || part.LeftOut() != 0 || part.Promised() != 0 || part.Damage != nil || part.Used == 0 {
			t.Errorf("partition %d: %+v", p, part)
		}
	}
	m, err := r.Write(t.Context(), filepath.Join(root, "seed"), time.Unix(1, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.Files.Count != 1 || m.Sealed {
		t.Errorf("%+v", m)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if after := tree(t, data); after != before {
		t.Errorf("the directory was changed: from\n%s\nto\n%s", before, after)
	}
	if _, err := os.Stat(filepath.Join(root, "scratch")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the scratch directory: %v", err)
	}

	next := filepath.Join(root, "next")
	epoch := restore(t, filepath.Join(root, "seed"), next)
	s := open(t, settings(next))
	for _, m := range sent {
		if again := say(t, s, token, room, m.txn); again != m {
			t.Errorf("a retry of %s got %s", m, again)
		}
	}
	if code, body := download(t, s, token, uri); code != http.StatusOK || body != "a picture" {
		t.Errorf("the file: %d %q", code, body)
	}
	if s.replica.Epoch() != epoch {
		t.Errorf("epoch %d, want %d", s.replica.Epoch(), epoch)
	}
	call(t, s, token, "GET", "/_matrix/client/v3/sync?since="+since, "")
}

// tree is what files there are, and their sizes.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestRecoverFits lets the end of one partition be missing, as at a site that was slow: the others are cut back to where they fit. What
// is recovered always fits, and goes on.
func TestRecoverFits(t *testing.T) {
	users := map[journal.Partition]string{} // of two partitions
	data := abandoned(t, func(s *Server) {
		var names, tokens []string
		for i := 0; len(names) < 2; i++ {
			name := fmt.Sprint("user", i)
			p := replica.PartitionOf(id.SlotOf("@"+name+":localhost"), s.replica.Partitions())
			if users[p] != "" {
				continue
			}
			users[p] = name
			names, tokens = append(names, name), append(tokens, register(t, s, name))
		}
		for i := range 20 { // each message goes from the sender's partition to the receiver's
			from, to := i%2, 1-i%2
			call(t, s, tokens[from], "PUT", fmt.Sprintf("/_matrix/client/v3/sendToDevice/m.test/t%d", i),
				fmt.Sprintf(`{"messages":{"@%s:localhost":{"*":{"n":%d}}}}`, names[to], i))
		}
		for range s.replica.Partitions() { // until all have arrived
			if err := s.replica.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	root := t.TempDir()
	leftOut, whole := 0, 0
	for slow := range users {
		for i := range 8 {
			scratch := filepath.Join(root, fmt.Sprint(slow, "-", i))
			r, err := openStopped(settings(data), scratch)
			if err != nil {
				t.Fatal(err)
			}
			last := r.stopped.Holds(slow).Last
			end := last - last*journal.Position(i)/8
			r.stopped.End(slow, end)
			if err := r.fit(t.Context()); err != nil {
				t.Fatalf("partition %d up to %d of %d: %v", slow, end, last, err)
			}
			for p, part := range r.Parts {
				if journal.Partition(p) != slow {
					leftOut += part.LeftOut()
				} else if part.Used == end {
					whole++
				}
			}
			if _, err := r.Write(t.Context(), scratch+"-seed", time.Unix(1, 0), nil); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if i%4 == 1 { // it goes on: what is on its way in it arrives
				restore(t, scratch+"-seed", scratch+"-next")
				shut(t, open(t, settings(scratch+"-next")))
			}
		}
	}
	if leftOut == 0 || whole == 0 {
		t.Errorf("%d records were left out elsewhere; %d times the slow partition was used whole", leftOut, whole)
	}
}

// TestRecoverFromRows: what a site had applied stands, also where its own journal has not come as far, or holds another record that was
// never kept.
func TestRecoverFromRows(t *testing.T) {
	root := t.TempDir()
	s := open(t, settings(filepath.Join(root, "running")))
	token := register(t, s, "amy")
	room := call(t, s, token, "POST", "/_matrix/client/v3/createRoom", `{"name":"hill"}`)["room_id"].(string)
	say(t, s, token, room, "early")
	if err := os.CopyFS(filepath.Join(root, "journal"), os.DirFS(filepath.Join(root, "running", "journal"))); err != nil {
		t.Fatal(err)
	}
	late := say(t, s, token, room, "late")
	shut(t, s)
	data := filepath.Join(root, "running")
	if err := os.Rename(filepath.Join(data, "journal"), filepath.Join(root, "whole")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, "journal"), filepath.Join(data, "journal")); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRecovery(t.Context(), settings(data), filepath.Join(root, "scratch"))
	if err != nil {
		t.Fatal(err)
	}
	further := 0
	for p, part := range r.Parts {
		if part.Used != part.Rows || part.Promised() != 0 || part.LeftOut() != 0 {
			t.Errorf("partition %d: %+v", p, part)
		}
		if part.Used > part.Last {
			further++
		}
	}
	if further == 0 {
		t.Error("no rows went further than the journal: the test is worth nothing")
	}
	_, err = r.Write(t.Context(), filepath.Join(root, "seed"), time.Unix(1, 0), nil)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	restore(t, filepath.Join(root, "seed"), filepath.Join(root, "next"))
	s = open(t, settings(filepath.Join(root, "next")))
	if again := say(t, s, token, room, "late"); again != late {
		t.Errorf("a retry of %s got %s", late, again)
	}
}
