package keys_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/keys"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts")

// site is a replica with the machine of keys, and what it has told.
type site struct {
	*replica.Replica
	commits chan replica.Commit
}

func newSite(t testing.TB, o replicatest.Options) *site {
	s := &site{commits: make(chan replica.Commit, 10_000)}
	o.Machines = []replica.Machine{keys.Machine()}
	o.Sink = func(c replica.Commit) { s.commits <- c }
	s.Replica = replicatest.New(t, o)
	return s
}

// until waits, commit by commit, for ok.
func (s *site) until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-s.commits:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (s *site) inbox(user id.UserID, device id.DeviceID) keys.Inbox {
	return keys.Pending(s.Rows(), user, device, replica.Place{}, 1000)
}

// TestTranscripts plays testdata/*.txt. A line "> kind body" proposes; "> inbox user device n" waits for n messages; "> counts
// user device" and "> changed" read; "> epoch n" begins a new epoch. What follows is the answer, and what subscribers were told.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p := &player{site: newSite(t, replicatest.Options{Partitions: 2, Rules: 3})}
			got := p.play(t, string(in))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != string(in) {
				t.Errorf("the transcript is now (rewrite with -rewrite):\n%s", got)
			}
		})
	}
}

type player struct {
	*site
	seen [2]journal.Position // how far "changed" has read
}

func (p *player) play(t *testing.T, script string) string {
	var out strings.Builder
	for line := range strings.Lines(script) {
		switch {
		case strings.HasPrefix(line, "> "):
			out.WriteString(line)
			op, rest, _ := strings.Cut(strings.TrimSpace(line[2:]), " ")
			p.step(t, &out, op, rest)
		case strings.HasPrefix(line, "#"), line == "\n":
			out.WriteString(line)
		}
	}
	return out.String()
}

func (p *player) step(t *testing.T, out *strings.Builder, op, rest string) {
	f := strings.Fields(rest)
	switch op {
	case "inbox":
		var n int
		fmt.Sscan(f[2], &n)
		var in keys.Inbox
		p.until(t, rest, func() bool { in = p.inbox(id.UserID(f[0]), id.DeviceID(f[1])); return len(in.Events) >= n })
		for _, ev := range in.Events {
			fmt.Fprintf(out, "%s\n", ev)
		}
	case "acked":
		in := p.inbox(id.UserID(f[0]), id.DeviceID(f[1]))
		p.propose(t, out, "keys.acked", fmt.Sprintf(`{"user":%q,"device":%q,"up_to":{"Pos":%d,"Index":%d}}`, f[0], f[1],
			in.Last.Pos, in.Last.Index))
	case "counts":
		counts, unused := keys.KeyCounts(p.Rows(), id.UserID(f[0]), id.DeviceID(f[1]))
		fmt.Fprintf(out, "%s %s\n", counts, unused)
	case "epoch":
		n, err := strconv.ParseUint(rest, 10, 64)
		if err == nil {
			err = p.Continue(t.Context(), replica.Continuation{Epoch: n, Sites: []string{"site"}})
		}
		if err != nil {
			t.Fatal(err)
		}
	case "changed":
		now := p.Positions()
		for i := range p.seen {
			for c := range keys.DeviceListChanges(p.Rows(), journal.Partition(i), p.seen[i], now[i]) {
				fmt.Fprintf(out, "%s %s\n", c.User, c.Viewer)
			}
		}
		copy(p.seen[:], now)
	default:
		p.propose(t, out, op, rest)
	}
}

func (p *player) propose(t *testing.T, out *strings.Builder, kind, body string) {
	for len(p.commits) > 0 {
		<-p.commits
	}
	var who struct{ User, Signer, By id.UserID }
	if err := json.Unmarshal([]byte(body), &who); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	slot := id.SlotOf(cmp.Or(who.User, who.Signer, who.By))
	res, err := p.Submit(t.Context(), replica.Proposal{Kind: kind, Slot: slot, Body: []byte(body)})
	var e *errs.Error
	switch {
	case err == nil:
		fmt.Fprintf(out, "%s\n", append([]byte("ok "), res...))
	case errors.As(err, &e):
		fmt.Fprintf(out, "refused: %s %s: %s\n", e.Kind, e.Code, e.Message)
	default:
		t.Fatal(err)
	}
	if kind == "keys.send" {
		return // what follows from it is told at some later moment
	}
	for len(p.commits) > 0 {
		for _, n := range (<-p.commits).Notes {
			fmt.Fprintf(out, "note %T%v\n", n, n)
		}
	}
}
