package feed

import (
	"bytes"
	"context"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"bongsu/errs"
)

// TestLongAnswer: a long answer is made in parts that stay small, and is the same as one made at once; who goes away leaves nothing behind.
func TestLongAnswer(t *testing.T) {
	st, list := crowd(t, 150, 2, 12)
	ask := func() *Answer {
		t.Helper()
		an, err := st.Stream(t.Context(), Request{User: user("u1"), Device: "u1", Filter: `{"room":{"state":{"lazy_load_members":true}}}`})
		st.must(err)
		if _, ok := an.Whole(); ok {
			t.Fatal("the answer is too short for this test")
		}
		return an
	}
	an := ask()
	st.say("u0", list[0], "what comes while it is fetched is not in it")
	var out bytes.Buffer
	largest := 0
	for p := make([]byte, 1<<20); ; {
		n, err := an.Read(p)
		largest = max(largest, n)
		out.Write(p[:n])
		if err == io.EOF {
			break
		}
		st.must(err)
	}
	res := st.parse(out.Bytes())
	if out.Len() < 3*partSize || largest > partSize+partSize/8 || len(res.Rooms.Join) != len(list) {
		t.Errorf("%d rooms in %d bytes, parts of up to %d", len(res.Rooms.Join), out.Len(), largest)
	}
	for r, j := range res.Rooms.Join {
		if n := len(j.Timeline.Events); n != defaultLimit || j.Unread == nil {
			t.Fatalf("%d events in %s", n, r)
		}
	}
	next := st.sync(t.Context(), Request{User: user("u1"), Device: "u1", Since: res.NextBatch})
	if j := next.Rooms.Join[list[0]]; j == nil || len(j.Timeline.Events) != 1 || len(next.Rooms.Join) != 1 {
		t.Errorf("%+v", next.Rooms.Join)
	}
	st.must(an.Close())

	half := ask()
	if _, err := io.CopyN(io.Discard, half, partSize+1); err != nil {
		t.Error(err)
	}
	st.must(half.Close())
	st.must(half.Close())
	for len(st.streams) < maxStreams {
		st.streams <- struct{}{}
	}
	if _, err := st.Stream(t.Context(), Request{User: user("u1")}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("too many at once: %v", err)
	}
	for len(st.streams) > 0 {
		<-st.streams
	}
	ctx, cancel := context.WithCancel(t.Context())
	an, err := st.Stream(ctx, Request{User: user("u1")})
	st.must(err)
	for range looksEach * 64 { // nobody else may look
		select {
		case st.looks <- struct{}{}:
		default:
		}
	}
	cancel()
	if _, err := io.Copy(io.Discard, an); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a client that is gone: %v", err)
	}
	st.must(an.Close())
	if len(st.streams) != 0 {
		t.Errorf("%d are under way", len(st.streams))
	}
}

// BenchmarkInitialMany is the first answer to a user in very many rooms, BONGSU_ROOMS or 3,000. Its memory is that of a part.
func BenchmarkInitialMany(b *testing.B) {
	rooms := 3000
	if s := os.Getenv("BONGSU_ROOMS"); s != "" {
		rooms, _ = strconv.Atoi(s)
	}
	st, _ := crowd(b, rooms, 3, 20)
	var first time.Duration
	var size int64
	for b.Loop() {
		began := time.Now()
		an, err := st.Stream(context.Background(), Request{User: user("u1"), Filter: `{"room":{"state":{"lazy_load_members":true}}}`})
		if err != nil {
			b.Fatal(err)
		}
		first = time.Since(began)
		if size, err = io.Copy(io.Discard, an); err != nil {
			b.Fatal(err)
		}
		if err := an.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)/1e6, "MB/answer")
	b.ReportMetric(float64(first.Microseconds())/1e3, "ms-to-first-byte")
}
