package account

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/auth"
	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/replica/replicatest"
)

const pw = "correct horse"

type service struct {
	*Service
	site     *site
	profiles []id.UserID // whose profile changed
}

func newService(t testing.TB, o replicatest.Options) *service {
	if o.Rules == 0 {
		o.Rules = rulesAccounts
	}
	s := &service{site: newSite(t, o)}
	s.Service = New(Config{
		Replica: s.site.Replica, Server: "example.org", Passwords: auth.NewPasswords(auth.Config{Memory: 8, Passes: 1}),
		ProfileChanged: func(_ context.Context, user id.UserID) { s.profiles = append(s.profiles, user) },
	})
	return s
}

func (s *service) register(t testing.TB, name string) Login {
	t.Helper()
	l, err := s.Register(t.Context(), Registration{Localpart: name, Password: pw})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (s *service) proof(t testing.TB, name string) Proof {
	t.Helper()
	p, err := s.CheckPassword(t.Context(), name, pw)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// refused checks kind and code of an error.
func refused(t testing.TB, err error, kind errs.Kind, code errs.Code) {
	t.Helper()
	e, ok := err.(*errs.Error) //nolint:errorlint // the outermost says what the edge will say
	if !ok || e.Kind != kind || e.Code != code {
		t.Errorf("got %v, want %v (%s)", err, kind, code)
	}
}

func (s *service) known(t testing.TB, l Login) bool {
	t.Helper()
	ses, err := s.Authenticate(t.Context(), l.Token)
	if err != nil {
		refused(t, err, errs.Unauthenticated, errs.UnknownToken)
		return false
	}
	if ses != (Session{User: l.User, Device: l.Device}) {
		t.Errorf("the token of %v is taken for that of %v", l, ses)
	}
	return true
}

func TestRegister(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy, err := s.Register(t.Context(), Registration{Localpart: "Amy", Password: pw, Device: "PHONE", DeviceName: "Phone"})
	if err != nil || amy.User != "@amy:example.org" || amy.Device != "PHONE" || !s.known(t, amy) {
		t.Fatal(amy, err)
	}
	made, err := s.Register(t.Context(), Registration{Password: pw})
	if err != nil || len(made.User.Localpart()) < 8 || len(made.Device) != 10 || !s.known(t, made) {
		t.Error(made, err)
	}
	bot, err := s.Register(t.Context(), Registration{Localpart: "bot", Password: pw, InhibitLogin: true})
	if err != nil || bot != (Login{User: "@bot:example.org"}) || len(Devices(s.Rows(), bot.User)) != 0 {
		t.Error(bot, err)
	}
	for _, c := range []struct {
		r    Registration
		kind errs.Kind
		code errs.Code
	}{
		{Registration{Localpart: "AMY", Password: pw}, errs.Conflict, errs.UserInUse},
		{Registration{Localpart: "a my", Password: pw}, errs.Invalid, errs.InvalidUsername},
		{Registration{Localpart: "에이미", Password: pw}, errs.Invalid, errs.InvalidUsername},
		{Registration{Localpart: strings.Repeat("a", 250), Password: pw}, errs.Invalid, errs.InvalidUsername},
		{Registration{Localpart: "b", Password: "short"}, errs.Invalid, errs.WeakPassword},
		{Registration{Localpart: "b", Password: pw, Device: "a\x00b"}, errs.Invalid, errs.InvalidParam},
	} {
		_, err := s.Register(t.Context(), c.r)
		refused(t, err, c.kind, c.code)
	}
	refused(t, s.Available("Amy", ""), errs.Conflict, errs.UserInUse)
	refused(t, s.Available("", ""), errs.Invalid, errs.InvalidUsername)
	if err := s.Available("carl", ""); err != nil {
		t.Error(err)
	}
}

// TestRegisterOnce has 100 people want one name at the same time.
func TestRegisterOnce(t *testing.T) {
	s := newService(t, replicatest.Options{})
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			l, err := s.Register(t.Context(), Registration{Localpart: "amy", Password: pw})
			if err != nil {
				refused(t, err, errs.Conflict, errs.UserInUse)
				return
			}
			won.Add(1)
			s.known(t, l)
		})
	}
	wg.Wait()
	if won.Load() != 1 || len(Devices(s.Rows(), "@amy:example.org")) != 1 {
		t.Errorf("%d won", won.Load())
	}
}

// TestLostAnswers lets every acknowledgement of the journal be lost once: what was asked for happens once all the same.
func TestLostAnswers(t *testing.T) {
	s := newService(t, replicatest.Options{Plan: func(a mem.Attempt) mem.Fault {
		first := a.N == 1
		return mem.Fault{LoseAck: first, Forget: first} // and the repeats land a second time
	}})
	amy := s.register(t, "amy")
	l, err := s.Login(t.Context(), s.proof(t, "amy"), NewSession{})
	if err != nil || !s.known(t, l) || !s.known(t, amy) || len(Devices(s.Rows(), amy.User)) != 2 {
		t.Error(l, err)
	}
}

// TestRegisterAgain sends a registration again whose answer the client did not get.
func TestRegisterAgain(t *testing.T) {
	s := newService(t, replicatest.Options{})
	r := Registration{Localpart: "amy", Password: pw, Nonce: "session"}
	first, err := s.Register(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Register(t.Context(), r)
	if err != nil || again.User != first.User || again.Device != first.Device || again.Token == first.Token ||
		!s.known(t, again) || s.known(t, first) {
		t.Errorf("%v after %v: %v", again, first, err)
	}
	r.InhibitLogin = true
	if again, err := s.Register(t.Context(), r); err != nil || again != (Login{User: first.User}) {
		t.Error(again, err)
	}
	for _, other := range []Registration{
		{Localpart: "amy", Password: pw},
		{Localpart: "amy", Password: pw, Nonce: "another"},
		{Localpart: "amy", Password: "wrong password", Nonce: "session"},
	} {
		_, err := s.Register(t.Context(), other)
		refused(t, err, errs.Conflict, errs.UserInUse)
	}
	if err := s.SetPassword(t.Context(), first.User, pw, false); err != nil {
		t.Fatal(err)
	}
	_, err = s.Register(t.Context(), r)
	refused(t, err, errs.Conflict, errs.UserInUse)
}

func TestLoginAndLogout(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy")
	for _, name := range []string{"amy", "Amy", "@amy:example.org", "@AMY:example.org"} {
		if p := s.proof(t, name); p.User != amy.User {
			t.Errorf("%s: %v", name, p)
		}
	}
	for _, c := range []struct{ name, password string }{
		{"amy", "wrong password"}, {"amy", ""}, {"bob", pw}, {"@amy:other.org", pw}, {"", pw}, {"@", pw}, {"a\x00", pw},
		{"amy", strings.Repeat("x", 10_000)},
	} {
		_, err := s.CheckPassword(t.Context(), c.name, c.password)
		refused(t, err, errs.Forbidden, "")
	}

	second, err := s.Login(t.Context(), s.proof(t, "amy"), NewSession{Name: strings.Repeat("이", 200)})
	if err != nil || !s.known(t, second) || !s.known(t, amy) {
		t.Fatal(second, err)
	}
	if d, ok := FindDevice(s.Rows(), amy.User, second.Device); !ok || d.Name != strings.Repeat("이", 85) {
		t.Error(d, ok)
	}
	again, err := s.Login(t.Context(), s.proof(t, "amy"), NewSession{Device: second.Device})
	if err != nil || !s.known(t, again) || s.known(t, second) {
		t.Error("a known device has two tokens", err)
	}
	for range 2 {
		if err := s.Logout(t.Context(), Session{User: amy.User, Device: second.Device}, second.Token); err != nil || !s.known(t, again) {
			t.Error("the logout of an old token ended the device", err)
		}
	}
	for range 2 {
		if err := s.Logout(t.Context(), Session{User: amy.User, Device: again.Device}, again.Token); err != nil || s.known(t, again) || !s.known(t, amy) {
			t.Error(err)
		}
	}
	if err := s.LogoutAll(t.Context(), amy.User); err != nil || s.known(t, amy) || len(Devices(s.Rows(), amy.User)) != 0 {
		t.Error(err)
	}
}

func TestPasswords(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy")
	other, err := s.Login(t.Context(), s.proof(t, "amy"), NewSession{})
	if err != nil {
		t.Fatal(err)
	}
	old := s.proof(t, "amy")
	refused(t, s.ChangePassword(t.Context(), old, "short", true, ""), errs.Invalid, errs.WeakPassword)
	if err := s.ChangePassword(t.Context(), old, pw+"2", true, amy.Device); err != nil || !s.known(t, amy) || s.known(t, other) {
		t.Error(err)
	}
	// What the old password allowed is allowed no more.
	_, err = s.Login(t.Context(), old, NewSession{})
	refused(t, err, errs.Forbidden, "")
	refused(t, s.ChangePassword(t.Context(), old, pw+"3", true, ""), errs.Forbidden, "")
	refused(t, s.DeleteDevices(t.Context(), old, []id.DeviceID{amy.Device}), errs.Forbidden, "")
	refused(t, s.Deactivate(t.Context(), old, false), errs.Forbidden, "")
	_, err = s.CheckPassword(t.Context(), "amy", pw)
	refused(t, err, errs.Forbidden, "")

	if err := s.SetPassword(t.Context(), amy.User, pw, true); err != nil || s.known(t, amy) {
		t.Error(err)
	}
	if err := s.Deactivate(t.Context(), s.proof(t, "amy"), false); err != nil {
		t.Error(err)
	}
	_, err = s.CheckPassword(t.Context(), "amy", pw)
	refused(t, err, errs.Forbidden, errs.UserDeactivated)
	refused(t, s.SetPassword(t.Context(), amy.User, pw, true), errs.Forbidden, errs.UserDeactivated)
	refused(t, s.SetPassword(t.Context(), "@bob:example.org", pw, true), errs.NotFound, "")
	refused(t, s.Available("amy", "session"), errs.Conflict, errs.UserInUse)
}

func TestDevices(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy")
	if err := s.RenameDevice(t.Context(), amy.User, amy.Device, "Phone"); err != nil {
		t.Error(err)
	}
	if d, ok := FindDevice(s.Rows(), amy.User, amy.Device); !ok || d.Name != "Phone" || d.Created != s.site.now.Load() {
		t.Error(d, ok)
	}
	refused(t, s.RenameDevice(t.Context(), amy.User, "NONE", "x"), errs.NotFound, "")
	refused(t, s.RenameDevice(t.Context(), amy.User, amy.Device, strings.Repeat("x", 256)), errs.Invalid, errs.InvalidParam)
	for range 2 {
		if err := s.DeleteDevices(t.Context(), s.proof(t, "amy"), []id.DeviceID{amy.Device, "NONE"}); err != nil || s.known(t, amy) {
			t.Error(err)
		}
	}
}

func TestProfile(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy").User
	set := func(field, value string) error {
		if value == "" {
			return s.SetProfile(t.Context(), amy, field, nil)
		}
		return s.SetProfile(t.Context(), amy, field, json.RawMessage(value))
	}
	for _, step := range [][2]string{
		{"displayname", ` "Amy <3" `}, {"displayname", `"Amy <3"`}, {"avatar_url", `"mxc://example.org/a"`}, {"avatar_url", `""`},
		{"avatar_url", ""}, {"m.tz", `"Asia/Seoul"`}, {"org.example.x", `{ "a" : [1, null] }`}, {"org.example.n", "null"},
	} {
		if err := set(step[0], step[1]); err != nil {
			t.Errorf("%v: %v", step, err)
		}
	}
	var got []string
	for field, value := range ProfileFields(s.Rows(), amy) {
		got = append(got, field+string(value))
	}
	const want = `[displayname"Amy <3" m.tz"Asia/Seoul" org.example.nnull org.example.x{"a":[1,null]}]`
	if fmt.Sprint(got) != want || ProfileOf(s.Rows(), amy) != (Profile{Displayname: "Amy <3"}) {
		t.Errorf("%v", got)
	}
	if fmt.Sprint(s.profiles) != fmt.Sprint([]id.UserID{amy, amy, amy}) { // name, avatar, avatar gone
		t.Errorf("told of %v", s.profiles)
	}
	big := `"` + strings.Repeat("x", 40<<10) + `"`
	if err := set("org.example.big", big); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		field, value string
		kind         errs.Kind
		code         errs.Code
	}{
		{"displayname", `1`, errs.Invalid, errs.BadJSON},
		{"displayname", `{`, errs.Invalid, errs.NotJSON},
		{"displayname", `"` + strings.Repeat("이", 257) + `"`, errs.Invalid, errs.InvalidParam},
		{"avatar_url", `"https://example.org/a.png"`, errs.Invalid, errs.InvalidParam},
		{"avatar_url", `"mxc://` + strings.Repeat("x", 1000) + `"`, errs.Invalid, errs.InvalidParam},
		{"m.tz", `[]`, errs.Invalid, errs.BadJSON},
		{"Name", `1`, errs.Invalid, errs.InvalidParam},
		{"name", `1`, errs.Invalid, errs.InvalidParam},
		{"a." + strings.Repeat("b", 254), `1`, errs.Invalid, errs.KeyTooLarge},
		{"org.example.bigger", big, errs.Invalid, errs.ProfileTooLarge},
		{"org.example.biggest", `"` + strings.Repeat("x", 70<<10) + `"`, errs.Invalid, errs.ProfileTooLarge},
	} {
		err := set(c.field, c.value)
		refused(t, err, c.kind, c.code)
	}
}

func TestAccountData(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy").User
	if err := s.SetData(t.Context(), amy, "!r", "m.tag", json.RawMessage(`{ "tags": {} }`)); err != nil {
		t.Error(err)
	}
	if e, ok := Data(s.Rows(), amy, "!r", "m.tag"); !ok || string(e.Content) != `{"tags":{}}` {
		t.Error(e, ok)
	}
	if _, ok := Data(s.Rows(), amy, "", "m.tag"); ok {
		t.Error("a room's data is found in the account's")
	}
	for _, c := range []struct {
		typ, content string
		kind         errs.Kind
		code         errs.Code
	}{
		{"", `{}`, errs.Invalid, errs.InvalidParam},
		{strings.Repeat("x", 256), `{}`, errs.Invalid, errs.InvalidParam},
		{"x", `[]`, errs.Invalid, errs.BadJSON},
		{"x", ``, errs.Invalid, errs.NotJSON},
		{"x", `{"x":"` + strings.Repeat("x", MaxContent) + `"}`, errs.TooLarge, ""},
	} {
		refused(t, s.SetData(t.Context(), amy, "", c.typ, json.RawMessage(c.content)), c.kind, c.code)
	}
}

// TestEditPushRules has several devices edit the rules at the same time: each edit builds on all before it.
func TestEditPushRules(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy").User
	const devices, edits = 4, 10
	var wg sync.WaitGroup
	var kept atomic.Int32
	for range devices {
		wg.Go(func() {
			for range edits {
				err := s.EditPushRules(t.Context(), amy, func(old json.RawMessage) (json.RawMessage, error) {
					var rules struct {
						N int `json:"n"`
					}
					if old != nil {
						if err := json.Unmarshal(old, &rules); err != nil {
							return nil, err
						}
					}
					rules.N++
					return json.Marshal(rules)
				})
				switch {
				case err == nil:
					kept.Add(1)
				case !errs.Is(err, errs.Conflict):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if rules, _ := PushRules(s.Rows(), amy); string(rules) != fmt.Sprintf(`{"n":%d}`, kept.Load()) || kept.Load() < devices {
		t.Errorf("%d edits were accepted: %s", kept.Load(), rules)
	}
	no := errs.New("test", errs.NotFound, "", "no such rule")
	if err := s.EditPushRules(t.Context(), amy, func(json.RawMessage) (json.RawMessage, error) { return nil, no }); errs.KindOf(err) != errs.NotFound {
		t.Error(err)
	}
}

func TestFilters(t *testing.T) {
	s := newService(t, replicatest.Options{})
	amy := s.register(t, "amy").User
	a, err := s.DefineFilter(t.Context(), amy, json.RawMessage(`{"room": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	before := s.site.Positions()
	again, err := s.DefineFilter(t.Context(), amy, json.RawMessage(`{"room":{}}`))
	if err != nil || again != a || fmt.Sprint(s.site.Positions()) != fmt.Sprint(before) {
		t.Error("the same filter was written twice", again, err)
	}
	other, err := s.DefineFilter(t.Context(), amy, json.RawMessage(`{}`))
	if err != nil || other == a || strings.HasPrefix(a, "{") {
		t.Error(other, err)
	}
	if string(Filter(s.Rows(), amy, a)) != `{"room":{}}` || Filter(s.Rows(), amy, "x") != nil || Filter(s.Rows(), "@bob:example.org", a) != nil {
		t.Error("filters are mixed up")
	}
	for in, code := range map[string]errs.Code{``: errs.NotJSON, `[]`: errs.BadJSON, `{`: errs.NotJSON} {
		_, err := s.DefineFilter(t.Context(), amy, json.RawMessage(in))
		refused(t, err, errs.Invalid, code)
	}
	_, err = s.DefineFilter(t.Context(), amy, json.RawMessage(`{"x":"`+strings.Repeat("x", MaxFilter)+`"}`))
	refused(t, err, errs.TooLarge, "")
}

func TestOperator(t *testing.T) {
	s := newService(t, replicatest.Options{})
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("user%02d", i)
		user, err := s.AddUser(t.Context(), name, pw, i == 3)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, string(user))
	}
	for _, limit := range []int{1, 4, 7, 25, 100} {
		var got []string
		var last id.UserID
		for {
			page := s.ListUsers(last, limit)
			for _, u := range page {
				got, last = append(got, string(u.ID)), u.ID
				if u.Admin != (u.ID == "@user03:example.org") {
					t.Errorf("%s: admin %t", u.ID, u.Admin)
				}
			}
			if len(page) < limit {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("pages of %d: %v", limit, got)
		}
	}
	_, err := s.AddUser(t.Context(), "user00", pw, false)
	refused(t, err, errs.Conflict, errs.UserInUse)
	_, err = s.AddUser(t.Context(), "no good", pw, false)
	refused(t, err, errs.Invalid, errs.InvalidUsername)
	_, err = s.AddUser(t.Context(), "x", "short", false)
	refused(t, err, errs.Invalid, errs.WeakPassword)
	if err := s.SetAdmin(t.Context(), "@user00:example.org", true); err != nil {
		t.Error(err)
	}
	if a, _ := Find(s.Rows(), "@user00:example.org"); !a.Admin {
		t.Error("not an administrator")
	}
	refused(t, s.SetAdmin(t.Context(), "@none:example.org", true), errs.NotFound, "")
}

func TestTokens(t *testing.T) {
	seen := map[string]bool{}
	for i := range 100 {
		user := id.UserID(fmt.Sprintf("@u%d:example.org", i))
		token, hash := newSecret(accessPrefix, user)
		slot, h, ok := parseSecret(accessPrefix, token)
		if !ok || slot != id.SlotOf(user) || string(h[:]) != string(hash) || seen[token] || strings.Contains(token, "u"+fmt.Sprint(i)+":") {
			t.Fatalf("%s: %d %t", token, slot, ok)
		}
		seen[token] = true
		for i := range token {
			bad := []byte(token)
			bad[i] ^= 1
			if _, _, ok := parseSecret(accessPrefix, string(bad)); ok && bad[i]|0x20 != token[i]|0x20 {
				t.Fatalf("%s: a wrong character %d was not noticed", bad, i)
			}
		}
	}
	for _, s := range []string{"", "x", "bgs_", strings.Repeat("x", secretLen), accessPrefix + strings.Repeat("_", secretLen-4)} {
		if _, _, ok := parseSecret(accessPrefix, s); ok {
			t.Errorf("%q is taken for a token", s)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	token, _ := newSecret(accessPrefix, "@amy:example.org")
	f.Add(token)
	f.Add("bgs_fff_" + strings.Repeat("A", 43) + "_00000000")
	f.Fuzz(func(t *testing.T, s string) {
		if slot, _, ok := parseSecret(accessPrefix, s); ok && (slot >= id.Slots || len(s) != secretLen) {
			t.Errorf("%q: slot %d", s, slot)
		}
	})
}

// BenchmarkAuthenticate is paid by every request.
func BenchmarkAuthenticate(b *testing.B) {
	s := newService(b, replicatest.Options{})
	l := s.register(b, "amy")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Authenticate(b.Context(), l.Token); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseToken(b *testing.B) {
	token, _ := newSecret(accessPrefix, "@amy:example.org")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := parseSecret(accessPrefix, token); !ok {
			b.Fatal("not a token")
		}
	}
}

// BenchmarkRegister is registration as many clients do it at once, with the default cost of a password.
func BenchmarkRegister(b *testing.B) {
	s := newService(b, replicatest.Options{})
	s.cfg.Passwords = auth.NewPasswords(auth.Config{})
	var n atomic.Int64
	b.SetParallelism(16)
	start := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.register(b, fmt.Sprintf("user%d", n.Add(1)))
		}
	})
	b.ReportMetric(float64(n.Load())/time.Since(start).Seconds(), "users/s")
}
