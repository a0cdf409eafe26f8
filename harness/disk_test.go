package harness_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bongsu/harness"
)

// TestDiskFull fills the disk by other hands while people talk: writes are refused with 503, reads go on, nothing acknowledged is
// lost, and when there is space again writes work again without a restart. Once we see it coming (a reserve), once the
// engine runs into it.
func TestDiskFull(t *testing.T) {
	for _, c := range []struct{ name, reserve string }{{"reserve", "16MiB"}, {"no reserve", "0"}} {
		t.Run(c.name, func(t *testing.T) {
			d := disk(t, 192<<20)
			// Where the engine runs into it, writes wait for the fate of the one that it was at; a short time-out keeps that short.
			s, log := startLogged(t, filepath.Join(d.Dir, "data"), "--disk-reserve="+c.reserve, "--request-timeout=1s")
			anna, bela := user(t, s, "anna"), user(t, s, "bela")
			ctx := limit(t, 90*time.Second)
			room, err := anna.CreateRoom(ctx, map[string]any{"preset": "public_chat"})
			if err == nil {
				err = bela.Join(ctx, room)
			}
			if err != nil {
				t.Fatal(err)
			}
			f := &fullDisk{t: t, room: room, acked: map[string]string{}}
			file := bytes.Repeat([]byte("봉수"), 10_000)
			uri, err := anna.Upload(ctx, file)
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if err := f.say(ctx, anna); err != nil {
					t.Fatal(err)
				}
			}

			filler, err := d.Fill()
			if err != nil {
				t.Fatal(err)
			}
			f.untilFull(ctx, anna)
			f.untilSeen(ctx, anna)
			t.Logf("full after %d more acknowledged messages: %v", len(f.acked)-20, f.refused)

			// Reads go on: everything acknowledged is there.
			f.check(ctx, bela)
			if r, err := bela.Sync(ctx, "", 0, ""); err != nil || len(r.Rooms.Join) != 1 {
				t.Errorf("initial sync on a full disk: %v", err)
			}
			if data, err := bela.Download(ctx, uri); err != nil || !bytes.Equal(data, file) {
				t.Errorf("download on a full disk: %d bytes, %v", len(data), err)
			}
			// Every sort of write is refused the same way.
			for _, w := range []struct {
				method, path string
				body         any
			}{
				{"POST", harness.Path("v3", "createRoom"), map[string]any{}},
				{"PUT", harness.Path("v3", "rooms", room, "state", "m.room.topic", ""), map[string]any{"topic": "x"}},
				{"POST", "/_matrix/media/v3/upload", make([]byte, 1<<20)},
				{"PUT", harness.Path("v3", "user", anna.User, "account_data", "org.bongsu.x"), map[string]any{"x": 1}},
				{"POST", harness.Path("v3", "keys", "upload"), map[string]any{"one_time_keys": map[string]any{"signed_curve25519:A": map[string]any{"key": "x", "signatures": map[string]any{}}}}},
			} {
				short, cancel := context.WithTimeout(ctx, 15*time.Second)
				var e *harness.Error
				if err := anna.Do(short, w.method, w.path, w.body, nil); !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable {
					t.Errorf("%s %s on a full disk: %v, want 503", w.method, w.path, err)
				} else if e.RetryAfter <= 0 || !strings.HasPrefix(e.Code, "M_") {
					t.Errorf("%s %s on a full disk: %v, retry after %v", w.method, w.path, e, e.RetryAfter)
				}
				cancel()
			}
			if err := anna.Do(ctx, "GET", "/health", nil, nil); err != nil {
				t.Errorf("health on a full disk: %v", err)
			}

			if c.reserve != "0" { // a start needs a few bytes of the reserve; reads go on after it, too
				if err := shrink(filler, 4<<20); err != nil {
					t.Fatal(err)
				}
				s.Kill()
				if _, err := s.Restart(ctx); err != nil {
					t.Fatalf("restart on a full disk: %v", err)
				}
				f.check(ctx, bela)
				f.untilFull(ctx, anna)
			}

			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := f.insist(ctx, anna); err != nil {
				t.Fatalf("no writes although there is space again: %v", err)
			}
			t.Logf("writes again after %v", time.Since(began).Round(time.Millisecond))
			for range 20 { // what waited got through first; the edge looks at the disk once a second
				err := f.say(ctx, bela)
				if err != nil {
					err = f.insist(ctx, bela)
				}
				if err != nil {
					t.Errorf("after the disk had space again: %v", err)
				}
			}
			f.check(ctx, bela)
			if !strings.Contains(log.String(), "writes are refused") {
				t.Error("the log does not say that the disk was full")
			}
			s.Kill()
			if _, err := s.Restart(ctx); err != nil {
				t.Fatal(err)
			}
			f.check(ctx, anna)
		})
	}
}

// shrink gives n bytes of a file back.
func shrink(name string, n int64) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.Truncate(name, info.Size()-n)
}

// fullDisk is a conversation on a disk that fills up.
type fullDisk struct {
	t       *testing.T
	room    string
	n       int
	acked   map[string]string // event id by marker
	refused error
}

// say sends a message once.
func (f *fullDisk) say(ctx context.Context, c *harness.Client) error {
	f.n++
	return f.sayAs(ctx, c, fmt.Sprintf("m%d", f.n))
}

func (f *fullDisk) sayAs(ctx context.Context, c *harness.Client, marker string) error {
	one, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	var out struct {
		ID string `json:"event_id"`
	}
	body := map[string]string{"msgtype": "m.text", "body": strings.Repeat("long ", 8000), "marker": marker}
	err := c.Do(one, "PUT", harness.Path("v3", "rooms", f.room, "send", "m.room.message", marker), body, &out)
	if err == nil {
		f.acked[marker] = out.ID
	}
	return err
}

// untilFull sends until it is refused for good: three times in a row.
func (f *fullDisk) untilFull(ctx context.Context, c *harness.Client) {
	f.t.Helper()
	for row := 0; row < 3; {
		err := f.say(ctx, c)
		var e *harness.Error
		switch {
		case err == nil:
			row = 0
		case errors.As(err, &e) && e.Status == http.StatusServiceUnavailable:
			if row++; e.RetryAfter <= 0 {
				f.t.Errorf("refused without Retry-After: %v", e)
			}
			f.refused = err
		default:
			f.t.Fatalf("on a full disk: %v", err)
		}
	}
}

// untilSeen waits until the server's status says that the disk is full.
func (f *fullDisk) untilSeen(ctx context.Context, c *harness.Client) {
	f.t.Helper()
	for ctx.Err() == nil {
		var status struct{ Disk struct{ Full bool } }
		if err := c.Do(ctx, "GET", "/_bongsu/status", nil, &status); err != nil {
			f.t.Fatal(err)
		}
		if status.Disk.Full {
			return
		}
		wait(ctx, 20*time.Millisecond)
	}
	f.t.Fatal("the status never says that the disk is full")
}

// insist repeats the last refused message until it is acknowledged.
func (f *fullDisk) insist(ctx context.Context, c *harness.Client) error {
	for {
		err := f.sayAs(ctx, c, fmt.Sprintf("m%d", f.n))
		if err == nil || ctx.Err() != nil {
			return err
		}
		wait(ctx, 100*time.Millisecond)
	}
}

// check reads the room: what was acknowledged is there once, what was refused at most once.
func (f *fullDisk) check(ctx context.Context, c *harness.Client) {
	f.t.Helper()
	for _, dir := range []string{"f", "b"} {
		events, err := c.Timeline(ctx, f.room, dir)
		if err != nil {
			f.t.Fatalf("messages: %v", err)
		}
		there := map[string]string{}
		for _, e := range events {
			if m := e.Marker(); m != "" {
				if there[m] != "" {
					f.t.Errorf("%s is there twice", m)
				}
				there[m] = e.ID
			}
		}
		for marker, id := range f.acked {
			if there[marker] != id {
				f.t.Errorf("lost: %s was acknowledged as %s, there is %q", marker, id, there[marker])
			}
		}
	}
}
