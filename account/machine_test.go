package account

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the transcripts")

// forgotten is the note of the stand-in for package keys.
type forgotten string

// keysMachine stands in for package keys.
func keysMachine() replica.Machine {
	return replica.Machine{Name: "keys", Byte: 'k', Kinds: map[string]replica.Kind{
		kindForget: {Apply: func(tx *replica.Tx, body []byte) ([]byte, error) {
			users, place, ok := bytes.Cut(body, []byte(`,"at":`)) // which place it is depends on what else the journal has
			if !ok || len(place) == 0 {
				return nil, errs.New("keys.forget", errs.Invalid, "", "no place: %s", body)
			}
			tx.Note(forgotten(users))
			return nil, nil
		}},
	}}
}

// site is a replica for tests, with the notes that it gave out.
type site struct {
	*replica.Replica
	stop  func()
	notes chan any
	now   *atomic.Int64 // Unix milliseconds; the clock stands
}

func newSite(t testing.TB, o replicatest.Options) *site {
	s := &site{notes: make(chan any, 10_000), now: new(atomic.Int64)}
	s.now.Store(1_000_000)
	o.Clock = clock.Func(func() time.Time { return time.UnixMilli(s.now.Load()) })
	o.Machines = []replica.Machine{Machine(), keysMachine()}
	sink := o.Sink
	o.Sink = func(c replica.Commit) {
		if sink != nil {
			sink(c)
		}
		for _, n := range c.Notes {
			s.notes <- n
		}
	}
	s.Replica, s.stop = replicatest.Start(t, o)
	t.Cleanup(s.stop)
	return s
}

// next is the next note, or nil if there is none and none is owed.
func (s *site) next(t testing.TB, owed bool) any {
	t.Helper()
	if owed {
		select {
		case n := <-s.notes:
			return n
		case <-time.After(10 * time.Second):
			t.Fatal("no note")
		}
	}
	select {
	case n := <-s.notes:
		return n
	default:
		return nil
	}
}

// rulesOf is the rules version that a transcript is played under: its first line may say "# rules 3".
func rulesOf(transcript []byte) (v uint16) {
	if _, err := fmt.Sscanf(string(transcript), "# rules %d", &v); err != nil {
		return 0
	}
	return v
}

// TestTranscripts plays the files of testdata: proposals, their verdicts, notes and rows.
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
			store := mem.NewStore(4)
			s := newSite(t, replicatest.Options{Store: store, Rules: rulesOf(in)})
			var out strings.Builder
			for i, block := range strings.Split(strings.TrimSpace(string(in)), "\n\n") {
				if i > 0 {
					out.WriteString("\n")
				}
				cmds, _, _ := strings.Cut(block+"\n", "----\n")
				out.WriteString(cmds + "----\n")
				for _, cmd := range strings.Split(strings.TrimSpace(cmds), "\n") {
					if !strings.HasPrefix(cmd, "#") {
						s.play(t, &out, cmd)
					}
				}
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil { //nolint:gosec // test data
					t.Fatal(err)
				}
			} else if out.String() != string(in) {
				t.Errorf("got:\n%s", out.String())
			}
			rows := allRows(s.Rows())
			s.stop()
			rebuilt := newSite(t, replicatest.Options{Store: store, Boot: 2, EveryRecord: true, Rules: rulesOf(in)})
			if got := allRows(rebuilt.Rows()); !slices.Equal(got, rows) || len(rows) == 0 {
				t.Errorf("%d rows; rebuilt from the journal:\n%q, was:\n%q", len(rows), got, rows)
			}
		})
	}
}

// allRows is every row of the machine, derived ones too.
func allRows(r kv.Reader) (out []string) {
	for k, v := range r.Scan(nil, nil) {
		if (k[0] == 's' || k[0] == 'd') && k[3] == machineByte {
			out = append(out, fmt.Sprintf("%q %q", k, v))
		}
	}
	return out
}

// play runs one line: "rows user", or a kind of proposal and its body.
func (s *site) play(t *testing.T, out *strings.Builder, cmd string) {
	t.Helper()
	kind, body, _ := strings.Cut(cmd, " ")
	if kind == "rows" {
		dump(out, s.Rows(), id.UserID(body))
		return
	}
	var who struct{ User id.UserID }
	if err := json.Unmarshal([]byte(body), &who); err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	s.now.Add(1000)
	res, err := s.Submit(t.Context(), replica.Proposal{Kind: kind, Slot: id.SlotOf(who.User), Body: []byte(body)})
	var e *errs.Error
	switch {
	case errors.As(err, &e):
		fmt.Fprintf(out, "refused: %s (%s): %s\n", e.Kind, e.Code, e.Message)
	case err != nil:
		t.Fatal(err)
	case len(res) > 0:
		out.WriteString("ok, changed\n")
	default:
		out.WriteString("ok\n")
	}
	for n := s.next(t, false); n != nil; {
		_, owed := n.(Ended) // keys.forget follows
		if r, ok := n.(Revoked); ok && s.Status(0).Rules >= rulesAccounts {
			n = short(r)
		}
		fmt.Fprintf(out, "note: %T%v\n", n, n)
		n = s.next(t, owed)
	}
}

// short is a Revoked note, of a token whose hash is a word in tests.
func short(r Revoked) any {
	type revoked string
	return revoked(" " + strings.TrimRight(string(r.Token[:]), "\x00"))
}

// dump prints the rows of a user. Places are numbered in the order in which they are met.
func dump(out *strings.Builder, r kv.Reader, user id.UserID) {
	a, ok := Find(r, user)
	if !ok {
		out.WriteString("none\n")
		return
	}
	fmt.Fprintf(out, "account: created %d, admin %t, deactivated %t, password %q, set %d times, nonce %q\n",
		a.Created, a.Admin, a.Deactivated, a.Password, a.Changes, a.nonce)
	if a.Locked || a.Suspended {
		fmt.Fprintf(out, "account: locked %t, suspended %t\n", a.Locked, a.Suspended)
	}
	tokens := 0
	lo := replica.Row(id.SlotOf(user), machineByte, tableToken)
	for range r.Scan(lo, kv.End(lo)) {
		tokens++
	}
	for _, d := range Devices(r, user) {
		row := decodeDevice(r.Get(deviceKey(user, d.ID)))
		back := decoder{v: r.Get(tokenKey(id.SlotOf(user), []byte(row.token)))}
		fmt.Fprintf(out, "device: %s %q, created %d, token %s of %s %s\n", d.ID, d.Name, d.Created,
			base64.StdEncoding.EncodeToString([]byte(row.token)), back.str(), back.str())
	}
	fmt.Fprintf(out, "tokens: %d\n", tokens)
	dumpLeases(out, r, user)
	for field, value := range ProfileFields(r, user) {
		fmt.Fprintf(out, "profile: %s %s\n", field, value)
	}
	for e := range DataSince(r, user, replica.Place{}) {
		fmt.Fprintf(out, "data: %q %s %s\n", e.Room, e.Type, e.Content)
	}
	for _, table := range []byte{tableData, tableByPlace, tableFilter} {
		n := 0
		lo := row(user, table)
		for range r.Scan(lo, kv.End(lo)) {
			n++
		}
		if n > 0 {
			fmt.Fprintf(out, "rows in table %c: %d\n", table, n)
		}
	}
}

// dumpLeases prints which pairs of tokens the devices of a user have.
func dumpLeases(out *strings.Builder, r kv.Reader, user id.UserID) {
	expires := func(access string) int64 {
		return decodeToken(r.Get(tokenKey(id.SlotOf(user), []byte(access)))).expires
	}
	refresh := 0
	lo := replica.Row(id.SlotOf(user), machineByte, tableRefresh)
	for range r.Scan(lo, kv.End(lo)) {
		refresh++
	}
	if refresh > 0 {
		fmt.Fprintf(out, "refresh tokens: %d\n", refresh)
	}
	for _, d := range Devices(r, user) {
		l, ok := readLease(r, user, d.ID)
		if !ok {
			continue
		}
		access := decodeDevice(r.Get(deviceKey(user, d.ID))).token
		fmt.Fprintf(out, "lease: %s uses %s until %d, and %s;", d.ID, access, expires(access), l.refresh)
		for _, p := range l.waiting {
			fmt.Fprintf(out, " [%s until %d, and %s]", p.access, expires(p.access), p.refresh)
		}
		out.WriteString("\n")
	}
}

func TestDataSince(t *testing.T) {
	s := newSite(t, replicatest.Options{})
	const amy = id.UserID("@amy:example.org")
	put := func(kind string, body any) {
		t.Helper()
		if _, err := s.Submit(t.Context(), replica.Proposal{Kind: kind, Slot: id.SlotOf(amy), Body: replica.Marshal(body)}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(after replica.Place) (types []string, last replica.Place) {
		for e := range DataSince(s.Rows(), amy, after) {
			if !last.Before(e.Place) || !after.Before(e.Place) {
				t.Errorf("%v comes after %v", e.Place, last)
			}
			types, last = append(types, string(e.Room)+e.Type+string(e.Content)), e.Place
		}
		return types, last
	}
	put(kindRegister, registerBody{User: amy, Password: "x"})
	var at replica.Place
	for i, step := range []struct {
		room    id.RoomID
		typ     string
		content string
		want    string // since the step before
	}{
		{"", "a", "{}", "[a{}]"},
		{"!r", "a", "{}", "[!ra{}]"},
		{"", "a", `{"x":1}`, `[a{"x":1}]`},
		{"", "a", `{"x":1}`, "[]"}, // no change
		{"", TypePushRules, `{"global":{}}`, `[m.push_rules{"global":{}}]`},
	} {
		put(kindData, dataBody{User: amy, Room: step.room, Type: step.typ, Content: json.RawMessage(step.content)})
		got, last := list(at)
		if fmt.Sprint(got) != step.want {
			t.Errorf("step %d: %v, want %s", i, got, step.want)
		}
		if len(got) > 0 {
			at = last
		}
	}
	if got, _ := list(replica.Place{}); fmt.Sprint(got) != `[!ra{} a{"x":1} m.push_rules{"global":{}}]` {
		t.Errorf("all: %v", got)
	}
	if got, _ := list(replica.Place{Pos: at.Pos, Index: 1<<32 - 1}); got != nil {
		t.Errorf("after the end: %v", got)
	}
	rules, when := PushRules(s.Rows(), amy)
	if string(rules) != `{"global":{}}` || when != at {
		t.Errorf("push rules: %s at %v", rules, when)
	}
}

// TestMalformedRows checks that a row that was not written so stops the reader: a broken disk is not an answer.
func TestMalformedRows(t *testing.T) {
	good := Account{Created: 1, Password: "p"}.encode()
	for i := range good {
		func() {
			defer func() {
				if _, ok := recover().(kv.Fault); !ok {
					t.Errorf("%d bytes of %d were taken for an account", i, len(good))
				}
			}()
			decodeAccount(good[:i])
		}()
	}
	if got := decodeAccount(bytes.Clone(good)); got.Password != "p" {
		t.Error("not read back")
	}
}
