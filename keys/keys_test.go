package keys_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

// accounts are the devices that there are.
type accounts map[id.UserID][]keys.Device

func newKeys(t testing.TB, s *site, a accounts) *keys.Keys {
	k := keys.New(keys.Config{Replica: s.Replica, Server: "s",
		Devices: func(_ kv.Reader, u id.UserID) []keys.Device { return a[u] }})
	t.Cleanup(k.Close)
	return k
}

func deviceKeys(u id.UserID, d id.DeviceID) json.RawMessage {
	return fmt.Appendf(nil, `{"user_id":%q,"device_id":%q,"algorithms":["a"],"keys":{"ed25519:%s":"x"},"signatures":{},"unsigned":{"forged":1}}`,
		u, d, d)
}

func oneTime(n int) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	for i := range n {
		out[fmt.Sprintf("sc:%03d", i)] = fmt.Appendf(nil, `{"key":"k%d","signatures":{}}`, i)
	}
	return out
}

func hasKind(err error, kind errs.Kind, code errs.Code) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Kind == kind && e.Code == code
}

func TestUploadForm(t *testing.T) {
	s := newSite(t, replicatest.Options{})
	k := newKeys(t, s, nil)
	one := func(name, key string) keys.Upload {
		return keys.Upload{OneTimeKeys: map[string]json.RawMessage{name: json.RawMessage(key)}}
	}
	for name, c := range map[string]struct {
		up   keys.Upload
		kind errs.Kind
		code errs.Code
	}{
		"another user":   {keys.Upload{DeviceKeys: deviceKeys("@ben:s", "A")}, errs.Invalid, errs.InvalidParam},
		"another device": {keys.Upload{DeviceKeys: deviceKeys("@amy:s", "B")}, errs.Invalid, errs.InvalidParam},
		"no object":      {keys.Upload{DeviceKeys: json.RawMessage(`[]`)}, errs.Invalid, errs.BadJSON},
		"incomplete":     {keys.Upload{DeviceKeys: json.RawMessage(`{"user_id":"@amy:s"}`)}, errs.Invalid, errs.BadJSON},
		"no algorithm":   {one("1", `"k"`), errs.Invalid, errs.InvalidParam},
		"no id":          {one("sc:", `"k"`), errs.Invalid, errs.InvalidParam},
		"a number":       {one("sc:1", `1`), errs.Invalid, errs.BadJSON},
		"no key":         {one("sc:1", `{}`), errs.Invalid, errs.BadJSON},
		"unsigned":       {one("sc:1", `{"key":"k"}`), errs.Invalid, errs.BadJSON},
		"null signed":    {one("sc:1", `{"key":"k","signatures":{"@amy:s":null}}`), errs.Invalid, errs.BadJSON},
		"null signature": {one("sc:1", `{"key":"k","signatures":{"@amy:s":{"ed25519:A":null}}}`), errs.Invalid, errs.BadJSON},
		"not canonical":  {one("sc:1", `{"key":"k","n":1.5}`), errs.Invalid, errs.BadJSON},
		"two fallbacks":  {keys.Upload{FallbackKeys: oneTime(2)}, errs.Invalid, errs.InvalidParam},
		"large":          {one("sc:1", `"`+string(make([]byte, 70_000))+`"`), errs.TooLarge, ""},
		"too many":       {keys.Upload{OneTimeKeys: oneTime(1001)}, errs.Invalid, errs.InvalidParam},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := k.Upload(t.Context(), "@amy:s", "A", c.up); !hasKind(err, c.kind, c.code) {
				t.Errorf("got %v", err)
			}
		})
	}
	if counts, err := k.Upload(t.Context(), "@amy:s", "A", keys.Upload{}); err != nil || len(counts) != 0 {
		t.Errorf("after all that: %v %v", counts, err)
	}
}

// Each key is given out once, whoever asks at the same time, and also while acknowledgements of the journal are lost.
func TestClaimIsExactlyOnce(t *testing.T) {
	const seed = 7
	t.Logf("seed %d", seed)
	s := newSite(t, replicatest.Options{Plan: mem.Seeded(seed, mem.Rates{LoseAck: 0.3, Fail: 0.2, Forget: 0.2, LosePush: 0.1})})
	k := newKeys(t, s, accounts{"@amy:s": {{ID: "A"}}})
	const have, claimers = 40, 50
	up := keys.Upload{OneTimeKeys: oneTime(have), FallbackKeys: map[string]json.RawMessage{"sc:fb": json.RawMessage(`{"key":"fb","signatures":{}}`)}}
	if _, err := k.Upload(t.Context(), "@amy:s", "A", up); err != nil {
		t.Fatal(err)
	}
	var (
		mu   sync.Mutex
		got  []string
		wg   sync.WaitGroup
		want = map[id.UserID]map[id.DeviceID]string{"@amy:s": {"A": "sc", "B": "sc"}, "@zoe:s": {"Z": "sc"}, "@x:other": {"X": "sc"}}
	)
	for range claimers {
		wg.Go(func() {
			res, err := k.Claim(t.Context(), "@ben:s", want)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if len(res.OneTimeKeys) != 1 || len(res.OneTimeKeys["@amy:s"]) != 1 {
				t.Errorf("claimed %v", res)
			}
			for name := range res.OneTimeKeys["@amy:s"]["A"] {
				got = append(got, name)
			}
		})
	}
	wg.Wait()
	slices.Sort(got)
	for i, name := range got {
		want := "sc:fb"
		if i < have {
			want = fmt.Sprintf("sc:%03d", i)
		}
		if name != want {
			t.Errorf("key %d is %s, want %s", i, name, want)
		}
	}
	if len(got) != claimers {
		t.Errorf("%d keys for %d claimers", len(got), claimers)
	}
	if counts, unused := keys.KeyCounts(s.Rows(), "@amy:s", "A"); string(counts) != `{"sc":0}` || string(unused) != `[]` {
		t.Errorf("left: %s %s", counts, unused)
	}
}

// A transaction reaches every inbox once, however often it is sent, while the journal loses acknowledgements; also one that is cut
// into parts, after a crash, and from the journal alone.
func TestSendIsExactlyOnce(t *testing.T) {
	const seed = 11
	t.Logf("seed %d", seed)
	store, plan := mem.NewStore(4), mem.Seeded(seed, mem.Rates{LoseAck: 0.3, Fail: 0.2, Forget: 0.2, LosePush: 0.1})
	known := accounts{"@amy:s": {{ID: "A"}, {ID: "B"}}, "@ben:s": {{ID: "B"}}, "@cat:s": {{ID: "C"}}}
	big := fmt.Appendf(nil, `{"pad":%q}`, string(slices.Repeat([]byte("x"), 100_000)))
	out := func() keys.Outgoing {
		return keys.Outgoing{
			"@amy:s":     {"*": big, "A": json.RawMessage(`{"only": "A"}`), "GONE": json.RawMessage(`{}`)},
			"@ben:s":     {"B": big},
			"@cat:s":     {"*": json.RawMessage(`{}`)},
			"@zoe:s":     {"Z": json.RawMessage(`{}`)},
			"@far:other": {"*": json.RawMessage(`{}`)},
		}
	}
	round := func(boot uint64, fs *kv.MemFS) {
		db, err := kv.Open(kv.Config{FS: fs, MemTable: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Abandon()
		s := &site{commits: make(chan replica.Commit, 10_000)}
		r, stop := replicatest.Start(t, replicatest.Options{Machines: []replica.Machine{keys.Machine()}, Store: store, Plan: plan,
			Boot: boot, DB: db, Sink: func(c replica.Commit) { s.commits <- c }})
		defer stop()
		s.Replica = r
		k := keys.New(keys.Config{Replica: r, Server: "s",
			Devices: func(_ kv.Reader, u id.UserID) []keys.Device { return known[u] }})
		defer k.Close()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := k.Send(t.Context(), "@ben:s", "B", "m.x", "txn", out()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := k.Send(t.Context(), "@ben:s", "B", "m.end", fmt.Sprint(boot), keys.Outgoing{
			"@amy:s": {"*": json.RawMessage(`{}`)}, "@ben:s": {"*": json.RawMessage(`{}`)}, "@cat:s": {"*": json.RawMessage(`{}`)}}); err != nil {
			t.Error(err)
		}
		// The outbox keeps the order: when the last has arrived, all have.
		for _, want := range []struct {
			user   id.UserID
			device id.DeviceID
			n      int
		}{{"@amy:s", "A", 2}, {"@amy:s", "B", 1}, {"@ben:s", "B", 1}, {"@cat:s", "C", 1}} {
			n := want.n + int(boot)
			s.until(t, fmt.Sprint(want), func() bool { return len(s.inbox(want.user, want.device).Events) >= n })
			if got := len(s.inbox(want.user, want.device).Events); got != n {
				t.Errorf("boot %d: %s %s has %d messages, want %d", boot, want.user, want.device, got, n)
			}
		}
		for _, d := range []id.DeviceID{"GONE", "*"} {
			if in := s.inbox("@amy:s", d); len(in.Events) != 0 {
				t.Errorf("device %s got %d messages", d, len(in.Events))
			}
		}
	}
	disk := kv.NewMemFS()
	round(1, disk)
	round(2, disk.Crash())  // what a power loss leaves of the rows
	round(3, kv.NewMemFS()) // nothing but the journal
}

func TestSendRefuses(t *testing.T) {
	k := newKeys(t, newSite(t, replicatest.Options{}), accounts{"@amy:s": {{ID: "A"}}})
	for content, want := range map[string]struct {
		kind errs.Kind
		code errs.Code
	}{`[]`: {errs.Invalid, errs.BadJSON}, `{"n":1.5}`: {errs.Invalid, errs.BadJSON},
		`{"pad":"` + string(slices.Repeat([]byte("x"), 600<<10)) + `"}`: {errs.TooLarge, ""}} {
		err := k.Send(t.Context(), "@amy:s", "A", "m.x", "t", keys.Outgoing{"@amy:s": {"A": json.RawMessage(content)}})
		if !hasKind(err, want.kind, want.code) {
			t.Errorf("%.20s: %v", content, err)
		}
	}
}

func TestAckedDeletes(t *testing.T) {
	s := newSite(t, replicatest.Options{})
	k := newKeys(t, s, accounts{"@amy:s": {{ID: "A"}}})
	for i := range 25 {
		if err := k.Send(t.Context(), "@amy:s", "A", "m.x", fmt.Sprint(i), keys.Outgoing{"@amy:s": {"A": fmt.Appendf(nil, `{"n":%d}`, i)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.until(t, "25 messages", func() bool { return len(s.inbox("@amy:s", "A").Events) == 25 })
	var after replica.Place
	for n := range 3 {
		in := keys.Pending(s.Rows(), "@amy:s", "A", after, 10)
		if want := min(10, 25-10*n); len(in.Events) != want || in.More != (n < 2) {
			t.Fatalf("batch %d: %d events, more %v", n, len(in.Events), in.More)
		}
		if string(in.Events[0]) != fmt.Sprintf(`{"content":{"n":%d},"sender":"@amy:s","type":"m.x"}`, 10*n) {
			t.Errorf("batch %d begins with %s", n, in.Events[0])
		}
		again := keys.Pending(s.Rows(), "@amy:s", "A", after, 10)
		if len(again.Events) != len(in.Events) {
			t.Error("a batch that was not acknowledged is not there again")
		}
		after = in.Last
		if !keys.Pending(s.Rows(), "@amy:s", "A", after, 10).Stale {
			t.Error("acknowledged messages are not seen as such")
		}
		k.Acked("@amy:s", "A", after)
		s.until(t, "deletion", func() bool { return !keys.Pending(s.Rows(), "@amy:s", "A", after, 10).Stale })
	}
	if in := s.inbox("@amy:s", "A"); len(in.Events) != 0 || in.More || in.Last != (replica.Place{}) {
		t.Errorf("left: %+v", in)
	}
}

func TestQuery(t *testing.T) {
	s := newSite(t, replicatest.Options{})
	known := accounts{"@amy:s": {{ID: "A", Name: `Amy's "phone" <3`}, {ID: "NOKEYS"}}}
	caughtUp := 0
	k := keys.New(keys.Config{Replica: s.Replica, Server: "s",
		Devices: func(_ kv.Reader, u id.UserID) []keys.Device { return known[u] },
		CatchUp: func(context.Context) error {
			caughtUp++
			known["@ben:s"] = []keys.Device{{ID: "B"}}
			return nil
		}})
	defer k.Close()
	for u, d := range map[id.UserID]id.DeviceID{"@amy:s": "A", "@ben:s": "B"} {
		if _, err := k.Upload(t.Context(), u, d, keys.Upload{DeviceKeys: deviceKeys(u, d)}); err != nil {
			t.Fatal(err)
		}
	}
	query := func(want map[id.UserID][]id.DeviceID) string {
		q, err := k.Query(t.Context(), "@ben:s", want)
		if err != nil {
			t.Fatal(err)
		}
		out, err := event.Canonical(nil, mustJSON(t, q.DeviceKeys))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	const amys = `{"@amy:s":{"A":{"algorithms":["a"],"device_id":"A","keys":{"ed25519:A":"x"},"signatures":{},` +
		`"unsigned":{"device_display_name":"Amy's \"phone\" <3"},"user_id":"@amy:s"}}}`
	if got := query(map[id.UserID][]id.DeviceID{"@amy:s": {}}); got != amys || caughtUp != 1 {
		t.Errorf("got %s after %d catch-ups", got, caughtUp)
	}
	const bens = `{"@ben:s":{"B":{"algorithms":["a"],"device_id":"B","keys":{"ed25519:B":"x"},"signatures":{},` +
		`"unsigned":{},"user_id":"@ben:s"}}}`
	if got := query(map[id.UserID][]id.DeviceID{"@ben:s": {"B"}}); got != bens || caughtUp != 2 {
		t.Errorf("an account that this site had not heard of: %s after %d catch-ups", got, caughtUp)
	}
	if got := query(map[id.UserID][]id.DeviceID{"@amy:s": {"NOKEYS"}, "@no:s": {}, "@far:other": {"X"}}); got != `{"@amy:s":{}}` {
		t.Errorf("unknown ones: %s", got)
	}
}

func mustJSON(t testing.TB, v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// signer is a key pair that signs objects.
type signer struct {
	private ed25519.PrivateKey
	public  string
}

func newSigner(n byte) signer {
	p := ed25519.NewKeyFromSeed(slices.Repeat([]byte{n}, ed25519.SeedSize))
	return signer{p, base64.RawStdEncoding.EncodeToString(p.Public().(ed25519.PublicKey))}
}

// sign adds a signature under the key id.
func (s signer) sign(t testing.TB, obj string, user id.UserID, keyID string) json.RawMessage {
	t.Helper()
	o, err := event.Canonical(nil, []byte(obj))
	if err != nil {
		t.Fatal(err)
	}
	sig := base64.RawStdEncoding.EncodeToString(ed25519.Sign(s.private, event.Object(o).Without("signatures", "unsigned")))
	return json.RawMessage(event.Object(o).With("signatures", fmt.Appendf(nil, `{%q:{%q:%q}}`, user, keyID, sig)))
}

func crossObject(user id.UserID, p keys.Purpose, s signer) string {
	return fmt.Sprintf(`{"user_id":%q,"usage":[%q],"keys":{"ed25519:%s":%q}}`, user, p, s.public, s.public)
}

func TestCrossSigning(t *testing.T) {
	s := newSite(t, replicatest.Options{})
	k := newKeys(t, s, accounts{"@amy:s": {{ID: "A"}}, "@ben:s": {{ID: "B"}}})
	device, master, self, users := newSigner(1), newSigner(2), newSigner(3), newSigner(4)
	amyDevice := fmt.Sprintf(`{"user_id":"@amy:s","device_id":"A","algorithms":[],"keys":{"ed25519:A":%q},"signatures":{}}`, device.public)
	if _, err := k.Upload(t.Context(), "@amy:s", "A", keys.Upload{DeviceKeys: json.RawMessage(amyDevice)}); err != nil {
		t.Fatal(err)
	}
	mid := "ed25519:" + master.public
	good := keys.CrossSigning{
		Master:      json.RawMessage(crossObject("@amy:s", keys.Master, master)),
		SelfSigning: master.sign(t, crossObject("@amy:s", keys.SelfSigning, self), "@amy:s", mid),
		UserSigning: master.sign(t, crossObject("@amy:s", keys.UserSigning, users), "@amy:s", mid),
	}
	bad := good
	bad.SelfSigning = users.sign(t, crossObject("@amy:s", keys.SelfSigning, self), "@amy:s", mid)
	if _, err := k.UploadCrossSigning(t.Context(), "@amy:s", bad, false); !hasKind(err, errs.Invalid, errs.InvalidSignature) {
		t.Errorf("a forged signature: %v", err)
	}
	if _, err := k.UploadCrossSigning(t.Context(), "@amy:s", keys.CrossSigning{SelfSigning: good.SelfSigning}, false); !hasKind(err, errs.Invalid, errs.MissingParam) {
		t.Errorf("no master key: %v", err)
	}
	for range 2 {
		if confirm, err := k.UploadCrossSigning(t.Context(), "@amy:s", good, false); confirm || err != nil {
			t.Fatalf("first keys: %v %v", confirm, err)
		}
	}
	other := keys.CrossSigning{Master: json.RawMessage(crossObject("@amy:s", keys.Master, users))}
	if confirm, err := k.UploadCrossSigning(t.Context(), "@amy:s", other, false); !confirm || err != nil {
		t.Errorf("replacing keys: %v %v", confirm, err)
	}

	bens := newSigner(5)
	if _, err := k.UploadCrossSigning(t.Context(), "@ben:s", keys.CrossSigning{Master: json.RawMessage(crossObject("@ben:s", keys.Master, bens))}, false); err != nil {
		t.Fatal(err)
	}
	failures, err := k.Sign(t.Context(), "@amy:s", map[id.UserID]map[string]json.RawMessage{
		"@amy:s": {
			"A":           self.sign(t, amyDevice, "@amy:s", "ed25519:"+self.public),
			master.public: device.sign(t, string(good.Master), "@amy:s", "ed25519:A"),
			"NONE":        json.RawMessage(`{}`),
		},
		"@ben:s": {bens.public: users.sign(t, crossObject("@ben:s", keys.Master, bens), "@amy:s", "ed25519:"+users.public)},
	})
	if err != nil || len(failures) != 1 || len(failures["@amy:s"]) != 1 || failures["@amy:s"]["NONE"].Kind != errs.NotFound {
		t.Fatalf("signing: %v %v", failures, err)
	}
	forged, err := k.Sign(t.Context(), "@ben:s", map[id.UserID]map[string]json.RawMessage{
		"@amy:s": {"A": bens.sign(t, amyDevice, "@ben:s", "ed25519:"+bens.public)}})
	if err != nil || forged["@amy:s"]["A"] == nil || forged["@amy:s"]["A"].Code != errs.InvalidSignature {
		t.Errorf("a signature on another's device: %v %v", forged, err)
	}

	signers := func(viewer id.UserID) (device, ownMaster, bensMaster int) {
		q, err := k.Query(t.Context(), viewer, map[id.UserID][]id.DeviceID{"@amy:s": {}, "@ben:s": {}})
		if err != nil {
			t.Fatal(err)
		}
		count := func(raw json.RawMessage) int {
			var o struct{ Signatures map[string]map[string]string }
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatal(err)
			}
			return len(o.Signatures["@amy:s"])
		}
		if _, ok := q.UserSigning["@amy:s"]; ok != (viewer == "@amy:s") {
			t.Errorf("%s sees the user-signing key: %v", viewer, ok)
		}
		return count(q.DeviceKeys["@amy:s"]["A"]), count(q.MasterKeys["@amy:s"]), count(q.MasterKeys["@ben:s"])
	}
	if a, b, c := signers("@amy:s"); a != 1 || b != 1 || c != 1 {
		t.Errorf("amy sees %d %d %d signatures", a, b, c)
	}
	if a, b, c := signers("@ben:s"); a != 1 || b != 1 || c != 0 {
		t.Errorf("ben sees %d %d %d signatures", a, b, c)
	}
}

// Whoever looks from an earlier place finds a user once, however often the devices have changed since.
func TestDeviceListChanges(t *testing.T) {
	s := newSite(t, replicatest.Options{Partitions: 1})
	k := newKeys(t, s, nil)
	up := func(u id.UserID, d id.DeviceID) journal.Position {
		if _, err := k.Upload(t.Context(), u, d, keys.Upload{DeviceKeys: deviceKeys(u, d)}); err != nil {
			t.Fatal(err)
		}
		return s.Status(0).Applied
	}
	first := up("@amy:s", "A")
	second := up("@ben:s", "B")
	up("@amy:s", "A2")
	last := up("@amy:s", "A3")
	list := func(from, to journal.Position) (out []id.UserID) {
		for c := range keys.DeviceListChanges(s.Rows(), 0, from, to) {
			out = append(out, c.User)
		}
		return out
	}
	for _, c := range []struct {
		from, to journal.Position
		want     []id.UserID
	}{
		{0, last, []id.UserID{"@ben:s", "@amy:s"}}, {first, last, []id.UserID{"@ben:s", "@amy:s"}},
		{second, last, []id.UserID{"@amy:s"}}, {last, last, nil}, {0, second, []id.UserID{"@ben:s"}},
	} {
		if got := list(c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("from %d to %d: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func BenchmarkKeyCounts(b *testing.B) {
	s := newSite(b, replicatest.Options{})
	k := newKeys(b, s, nil)
	if _, err := k.Upload(b.Context(), "@amy:s", "A", keys.Upload{OneTimeKeys: oneTime(50)}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		keys.KeyCounts(s.Rows(), "@amy:s", "A")
		keys.Pending(s.Rows(), "@amy:s", "A", replica.Place{}, 100)
	}
}
