package app

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bongsu/kv"
)

// Rows that have decayed on the disk end the server, and the next one makes them anew from the journal.
func TestDamagedRowsAreMadeAnew(t *testing.T) {
	dir := t.TempDir()
	s := open(t, settings(dir))
	token := register(t, s, "amy")
	room := call(t, s, token, "POST", "/_matrix/client/v3/createRoom", `{"name":"hill"}`)["room_id"].(string)
	const n = 100
	for i := range n {
		call(t, s, token, "PUT", fmt.Sprintf("/_matrix/client/v3/rooms/%s/send/m.room.message/t%d", room, i), `{"msgtype":"m.text","body":"smoke"}`)
	}
	before := digests(s)
	shut(t, s)
	files, err := filepath.Glob(filepath.Join(dir, "rows", "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of rows: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i := 16; i < len(text)*3/4; i += 512 { // its end says where everything is; that being damaged is found at once
			text[i] ^= 0x10
		}
		if err := os.WriteFile(f, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	history := "/_matrix/client/v3/rooms/" + room + "/messages?dir=b&limit=1000"
	damaged, err := Open(t.Context(), settings(dir), slog.New(slog.DiscardHandler))
	if err == nil {
		req := httptest.NewRequest(http.MethodGet, history, nil)
		req.Header.Set("Authorization", "Bearer "+token)
		rec := httptest.NewRecorder()
		damaged.Handler.ServeHTTP(rec, req)
		if body, _ := io.ReadAll(rec.Result().Body); rec.Code != http.StatusServiceUnavailable {
			t.Errorf("damaged rows answer %d %s", rec.Code, body)
		}
		select {
		case err = <-damaged.failed:
		case <-time.After(time.Minute):
			t.Error("the server goes on with damaged rows")
		}
		_ = damaged.Close() // a store that is damaged may not close well
	}
	if !errors.Is(err, kv.ErrDamaged) {
		t.Fatalf("what ended the server: %v", err)
	}

	s = open(t, settings(dir))
	if got := len(call(t, s, token, "GET", history, "")["chunk"].([]any)); got < n {
		t.Errorf("%d events after the rows were made anew", got)
	}
	for i, d := range digests(s) {
		if d != before[i] {
			t.Errorf("partition %d: %s, was %s", i, d, before[i])
		}
	}
}
