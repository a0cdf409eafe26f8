package client

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/event"
	"bongsu/id"
	"bongsu/keys"
	"bongsu/replica"
)

// everywhere calls do for all sites at the same moment.
func everywhere(do func(site int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for site := range siteNames {
		wg.Go(func() {
			<-start
			do(site)
		})
	}
	close(start)
	wg.Wait()
}

func (c *cluster) room(i int, token string) (path string) {
	c.t.Helper()
	var made struct {
		RoomID string `json:"room_id"`
	}
	c.must(i, token, "POST", "/createRoom", `{"preset":"public_chat"}`, &made)
	return "/rooms/" + url.PathEscape(made.RoomID)
}

// TestSameThingAtAllSites asks three sites for the same at once: one of them gets it, or all the same.
func TestSameThingAtAllSites(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	in := c.room(0, amy)
	c.settled()

	t.Run("message", func(t *testing.T) {
		for i := range 10 {
			ids := make([]string, len(siteNames))
			everywhere(func(site int) {
				w := c.call(site, amy, "PUT", fmt.Sprintf("%s/send/m.room.message/t%d", in, i), `{"msgtype":"m.text","body":"once"}`)
				ids[site] = fmt.Sprint(w.Code, w.Body)
			})
			if ids[0] != ids[1] || ids[1] != ids[2] || !strings.HasPrefix(ids[0], "200") {
				t.Fatalf("one transaction id, answers %q", ids)
			}
		}
		c.settled()
		for site := range c.sites {
			var page struct{ Chunk []struct{ Type string } }
			c.must(site, amy, "GET", in+"/messages?dir=f&limit=100", "", &page)
			n := 0
			for _, ev := range page.Chunk {
				if ev.Type == "m.room.message" {
					n++
				}
			}
			if n != 10 {
				t.Errorf("site %d has %d messages of 10", site, n)
			}
		}
	})
	t.Run("name", func(t *testing.T) {
		codes := make([]int, len(siteNames))
		everywhere(func(site int) {
			codes[site] = c.call(site, "", "POST", "/register", `{"username":"dup","password":"long enough","auth":{"type":"m.login.dummy"}}`).Code
		})
		slices.Sort(codes)
		if !slices.Equal(codes, []int{200, 400, 400}) {
			t.Errorf("one name at three sites: %v", codes)
		}
	})
	t.Run("device", func(t *testing.T) {
		tokens := make([]string, len(siteNames))
		everywhere(func(site int) {
			var out struct {
				Token string `json:"access_token"`
			}
			w := c.call(site, "", "POST", "/login", `{"type":"m.login.password","user":"amy","password":"long enough","device_id":"TABLET"}`)
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			tokens[site] = out.Token
		})
		c.settled()
		for site := range c.sites {
			var good []int
			for i, token := range tokens {
				if w := c.call(site, token, "GET", "/account/whoami", ""); w.Code == 200 {
					good = append(good, i)
				} else {
					expect(t, w, 401, "M_UNKNOWN_TOKEN")
				}
			}
			if len(good) != 1 {
				t.Errorf("at site %d the tokens of logins %v are good; a device has one", site, good)
			}
		}
	})
	t.Run("key", func(t *testing.T) {
		ben := c.user(1, "ben", "BEN")
		c.must(1, ben, "POST", "/keys/upload", `{"one_time_keys":{"signed_curve25519:A":{"key":"a","signatures":{}},"signed_curve25519:B":{"key":"b","signatures":{}},"signed_curve25519:C":{"key":"c","signatures":{}}}}`, nil)
		c.settled()
		got := make([]string, len(siteNames))
		everywhere(func(site int) {
			got[site] = c.call(site, amy, "POST", "/keys/claim", `{"one_time_keys":{"@ben:h":{"BEN":"signed_curve25519"}}}`).Body.String()
		})
		if got[0] == got[1] || got[1] == got[2] || got[0] == got[2] {
			t.Errorf("a one-time key was given out twice: %q", got)
		}
	})
}

// TestLogoutIsKnownEverywhere ends a session at one site while the others remember it.
func TestLogoutIsKnownEverywhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	c.settled()
	for site := range c.sites {
		c.must(site, amy, "GET", "/account/whoami", "", nil)
	}
	c.sites[2].journal.Cut(true)
	c.must(0, amy, "POST", "/logout", "{}", nil)
	expect(t, c.call(0, amy, "GET", "/account/whoami", ""), 401, "M_UNKNOWN_TOKEN")
	eventually(t, "the session ends at b", func() bool { return c.call(1, amy, "GET", "/account/whoami", "").Code == 401 })
	c.must(2, amy, "GET", "/account/whoami", "", nil) // it cannot know yet
	// A token that the site which is cut off has never seen is not denied there: its client would wipe its keys.
	ben := c.user(0, "ben", "PHONE")
	if w := c.call(2, ben, "GET", "/account/whoami", ""); !unavailable(w) {
		t.Errorf("a new token at a site that is cut off: %d %s", w.Code, w.Body)
	}
	c.sites[2].journal.Cut(false)
	eventually(t, "the session ends at c", func() bool { return c.call(2, amy, "GET", "/account/whoami", "").Code == 401 })
	c.must(2, ben, "GET", "/account/whoami", "", nil)
}

// TestTokensAtASiteBehind brings tokens to a site that is cut off, and to one that lags.
func TestTokensAtASiteBehind(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	in := c.room(0, amy)
	c.settled()
	var first, next wanderSync
	c.must(1, amy, "GET", "/sync", "", &first)
	c.sites[2].journal.Cut(true)
	c.must(0, amy, "PUT", in+"/send/m.room.message/1", `{"msgtype":"m.text","body":"1"}`, nil)
	c.must(0, amy, "GET", "/sync?since="+first.NextBatch, "", &next)
	if len(next.Rooms.Join) != 1 {
		t.Fatalf("%+v", next)
	}
	var wg sync.WaitGroup
	for name, path := range map[string]string{
		"sync":        "/sync?since=" + next.NextBatch,
		"long poll":   "/sync?timeout=100&since=" + next.NextBatch,
		"pages":       in + "/messages?dir=b&from=" + next.NextBatch,
		"key changes": "/keys/changes?from=" + first.NextBatch + "&to=" + next.NextBatch,
		"members":     in + "/members?at=" + next.NextBatch,
	} {
		wg.Go(func() {
			if w := c.call(2, amy, "GET", path, ""); !unavailable(w) || !strings.Contains(w.Body.String(), "behind") {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	// What the site has can be read from it.
	c.must(2, amy, "GET", "/sync?since="+first.NextBatch, "", nil)
	c.must(2, amy, "GET", in+"/messages?dir=b", "", nil)

	c.sites[2].journal.Cut(false)
	c.sites[2].journal.Lag(300 * time.Millisecond)
	c.must(0, amy, "PUT", in+"/send/m.room.message/2", `{"msgtype":"m.text","body":"2"}`, nil)
	c.must(0, amy, "GET", "/sync?since="+next.NextBatch, "", &next)
	var again wanderSync
	c.must(2, amy, "GET", "/sync?timeout=0&since="+next.NextBatch, "", &again)
	if len(again.Rooms.Join) != 0 {
		t.Errorf("sent twice: %+v", again)
	}
	var page struct {
		Chunk []struct{ Content struct{ Body string } }
	}
	c.must(2, amy, "GET", in+"/messages?dir=b&limit=1&from="+next.NextBatch, "", &page)
	if len(page.Chunk) != 1 || page.Chunk[0].Content.Body != "2" {
		t.Errorf("the page begins with %+v", page)
	}
}

// TestASiteAloneCanBeRead cuts a site off from the others.
func TestASiteAloneCanBeRead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	in := c.room(0, amy)
	c.settled()
	health := func(path string) (int, string) {
		w := c.call(2, "", "GET", path, "")
		return w.Code, w.Body.String()
	}
	if code, body := health("/health?write"); code != 200 || body != `{"status":"ok"}` {
		t.Fatal(code, body)
	}
	c.sites[2].journal.Cut(true)
	eventually(t, "the site knows that it is alone", func() bool { code, _ := health("/health?write"); return code == 503 })
	if code, body := health("/health"); code != 200 || !strings.Contains(body, `"read-only"`) || !strings.Contains(body, "a majority of the sites") {
		t.Error(code, body)
	}
	c.must(2, amy, "GET", "/sync", "", nil)
	c.must(2, amy, "GET", in+"/messages?dir=b", "", nil)
	if w := c.call(2, amy, "POST", "/keys/query", `{"device_keys":{"@amy:h":[]}}`); !unavailable(w) {
		t.Errorf("keys that may be old: %d %s", w.Code, w.Body)
	}
	c.must(2, amy, "PUT", in+"/typing/@amy:h", `{"typing":true}`, nil)

	// At first writes wait, as they do while a leader is chosen; then they are refused at once.
	send := func() (time.Duration, string) {
		began := time.Now()
		w := c.call(2, amy, "PUT", in+"/send/m.room.message/alone", `{"msgtype":"m.text","body":"alone"}`)
		if !unavailable(w) {
			t.Errorf("a write at a site alone: %d %s", w.Code, w.Body)
		}
		return time.Since(began), w.Body.String()
	}
	eventually(t, "writes are refused at once", func() bool { took, _ := send(); return took < time.Second })
	var wg sync.WaitGroup
	began := time.Now()
	for range 100 {
		wg.Go(func() {
			if _, body := send(); !strings.Contains(body, "this site can be read, not written") {
				t.Error(body)
			}
		})
	}
	wg.Wait()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("100 writes that cannot be took %v", took)
	}
	c.sites[2].journal.Cut(false)
	eventually(t, "it writes again", func() bool {
		return c.call(2, amy, "PUT", in+"/send/m.room.message/alone", `{"msgtype":"m.text","body":"alone"}`).Code == 200
	})
}

// TestRowsMadeAnew asks a site while its rows are discarded and made anew: it answers rightly or 503, and never denies.
func TestRowsMadeAnew(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	in := c.room(0, amy)
	for i := range 200 {
		c.must(0, amy, "PUT", fmt.Sprintf("%s/send/m.room.message/%d", in, i), fmt.Sprintf(`{"msgtype":"m.text","body":"%d"}`, i), nil)
	}
	c.settled()
	var at wanderSync
	c.must(2, amy, "GET", "/sync", "", &at)
	codes := map[int]int{}
	var mu sync.Mutex
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, path := range []string{"/sync?timeout=100&since=" + at.NextBatch, "/sync", in + "/messages?dir=b&limit=1", "/account/whoami", "/profile/@amy:h"} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				w := c.call(2, amy, "GET", path, "")
				if w.Code != 200 && !unavailable(w) {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
					return
				}
				if w.Code == 200 && path == "/sync" && !strings.Contains(w.Body.String(), `"199"`) {
					t.Errorf("an answer from half of the rows: %s", w.Body)
				}
				if w.Code == 200 && strings.HasPrefix(path, in) && !strings.Contains(w.Body.String(), `"199"`) {
					t.Errorf("a page from half of the rows: %s", w.Body)
				}
				mu.Lock()
				codes[w.Code]++
				mu.Unlock()
			}
		})
	}
	for range 3 {
		for p := range c.sites[2].journal.Partitions() {
			before := c.sites[2].replica.Generation()
			c.sites[2].replica.Remake(partition(p), errors.New("a test"))
			eventually(t, "rows are made anew", func() bool {
				return c.sites[2].replica.Generation() != before && c.sites[2].replica.Serving() == nil
			})
		}
	}
	close(stop)
	wg.Wait()
	if codes[200] == 0 || codes[503] == 0 {
		t.Errorf("answers by status: %v", codes)
	}
	t.Logf("answers by status: %v", codes)
	// Who waits is woken by what comes afterwards.
	got := make(chan int)
	go func() {
		var next wanderSync
		c.must(2, amy, "GET", "/sync?timeout=30000&since="+at.NextBatch, "", &next)
		got <- len(next.Rooms.Join)
	}()
	eventually(t, "a client waits", func() bool { return c.sites[2].feed.Waiting() == 1 })
	c.must(0, amy, "PUT", in+"/send/m.room.message/last", `{"msgtype":"m.text","body":"last"}`, nil)
	if n := <-got; n != 1 {
		t.Errorf("woken with news of %d rooms", n)
	}
}

// TestTypingMovesWithTheClient sees at one site who types at another, also when the client that looks has moved.
func TestTypingMovesWithTheClient(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy, ben := c.user(0, "amy", "PHONE"), c.user(1, "ben", "PHONE")
	in := c.room(0, amy)
	c.settled()
	c.must(1, ben, "POST", in+"/join", "{}", nil)
	c.settled()
	w := &wanderer{c: c, token: amy, typing: map[string]bool{}}
	w.sync(0, 0)
	typing := func(site int, on bool) {
		c.must(site, ben, "PUT", in+"/typing/@ben:h", fmt.Sprintf(`{"typing":%v,"timeout":60000}`, on), nil)
	}
	typing(1, true)
	for _, site := range []int{0, 2, 1} {
		eventually(t, "typing is seen", func() bool { return w.sync(site, 20*time.Millisecond) && w.typing["@ben:h"] })
	}
	// It ends while the client is on its way to another site.
	typing(2, false)
	eventually(t, "the end is known at a", func() bool {
		users, _ := c.sites[0].typing.In(id.RoomID(must(url.PathUnescape(strings.TrimPrefix(in, "/rooms/")))))
		return len(users) == 0
	})
	if w.sync(0, 0); w.typing["@ben:h"] {
		t.Error("somebody types for ever")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSitesAreListedAndSigned checks the list as a client would.
func TestSitesAreListedAndSigned(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	meta := Meta{Server: "example.org", Site: "b", PublicURL: "https://chat.example.org", Signer: key,
		Sites:     []Site{{"a", "https://a.example.org"}, {"b", "https://b.example.org"}},
		SiteState: func(site string) string { return map[string]string{"a": "unknown", "b": "up"}[site] }}
	ta := newTestAPI(t, func(c *Config) { c.Site = "b" }, meta.Routes()...)
	w := ta.do(newRequest(t, "GET", "/_bongsu/sites", ""))
	expect(t, w, 200, "")
	if got := w.Header().Get("Bongsu-Site"); got != "b" {
		t.Errorf("Bongsu-Site: %q", got)
	}
	var got struct {
		Sites      []Site
		Key        struct{ Key_id, Key string } `json:"verify_key"` //nolint:revive // the name in JSON
		Signatures map[string]map[string]string
		Unsigned   struct{ States map[string]string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Sites, meta.Sites) || !maps.Equal(got.Unsigned.States, map[string]string{"a": "unknown", "b": "up"}) {
		t.Errorf("%s", w.Body)
	}
	object, err := event.ParseObject(w.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sig := must(base64.RawStdEncoding.DecodeString(got.Signatures["example.org"][got.Key.Key_id]))
	public := ed25519.PublicKey(must(base64.RawStdEncoding.DecodeString(got.Key.Key)))
	if !public.Equal(key.Public()) || !ed25519.Verify(public, object.Without("signatures", "unsigned"), sig) {
		t.Errorf("the signature is not good: %s", w.Body)
	}
	if w := ta.do(newRequest(t, "GET", "/.well-known/matrix/client", "")); w.Body.String() !=
		`{"m.homeserver":{"base_url":"https://chat.example.org"},"org.bongsu.sites":[{"name":"a","base_url":"https://a.example.org"},{"name":"b","base_url":"https://b.example.org"}]}` {
		t.Errorf("%s", w.Body)
	}
	// A single node without a key.
	ta = newTestAPI(t, nil, Meta{Server: "example.org", Site: "main", PublicURL: "https://chat.example.org"}.Routes()...)
	if w := ta.do(newRequest(t, "GET", "/_bongsu/sites", "")); w.Body.String() !=
		`{"server_name":"example.org","sites":[{"base_url":"https://chat.example.org","name":"main"}],"unsigned":{"from":"main"}}` {
		t.Errorf("%s", w.Body)
	}
}

// TestAProfileIsShownThoughItsSiteBurns changes a name at a site that burns before it has shown it in rooms.
func TestAProfileIsShownThoughItsSiteBurns(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	var rooms []string
	for range 10 {
		rooms = append(rooms, c.room(0, amy))
	}
	c.settled()
	c.sites[0].herald.Close() // it gets to nothing any more
	c.must(0, amy, "PUT", "/profile/@amy:h/displayname", `{"displayname":"Amelia"}`, nil)
	c.burn(0, 2)
	for _, in := range rooms {
		eventually(t, "the name is shown", func() bool {
			return strings.Contains(c.call(1, amy, "GET", in+"/state/m.room.member/@amy:h", "").Body.String(), "Amelia")
		})
	}
	c.settled()
	for site := range c.sites {
		w := c.call(site, amy, "GET", rooms[0]+"/messages?dir=f&limit=100", "")
		if n := strings.Count(w.Body.String(), `"displayname":"Amelia"`); n != 1 {
			t.Errorf("site %d has %d events with the new name", site, n)
		}
	}
}

// TestMessagesToADeviceThatMoves hands them out again until a later token comes back, at whatever site, and then never again.
func TestMessagesToADeviceThatMoves(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy := c.user(0, "amy", "PHONE")
	c.settled()
	sync := func(site int, since string) (out wanderSync) {
		t.Helper()
		c.must(site, amy, "GET", "/sync?since="+since, "", &out)
		return out
	}
	start := sync(0, "").NextBatch
	for i := range 3 {
		c.must(i, amy, "PUT", fmt.Sprintf("/sendToDevice/m.test/%d", i), fmt.Sprintf(`{"messages":{"@amy:h":{"PHONE":{"body":"%d"}}}}`, i), nil)
	}
	c.settled()
	kept := func(site int) int {
		s := c.sites[site]
		return len(keys.Pending(s.replica.Rows(), "@amy:h", "PHONE", replica.Place{}, 100).Events)
	}
	for site := range c.sites {
		eventually(t, "they arrive", func() bool { return kept(site) == 3 })
	}
	var last wanderSync
	for _, site := range []int{0, 1, 2, 0} { // the answer is lost each time
		if last = sync(site, start); len(last.ToDevice.Events) != 3 {
			t.Fatalf("site %d: %+v", site, last.ToDevice)
		}
	}
	c.settled() // a deletion that was proposed by mistake would be there now
	for site := range c.sites {
		if kept(site) != 3 {
			t.Error("deleted before the device said that it has them")
		}
	}
	if again := sync(1, last.NextBatch); len(again.ToDevice.Events) != 0 {
		t.Errorf("handed out again: %+v", again.ToDevice)
	}
	for site := range c.sites {
		eventually(t, "they are deleted", func() bool { return kept(site) == 0 })
		if again := sync(site, last.NextBatch); len(again.ToDevice.Events) != 0 {
			t.Errorf("handed out again: %+v", again.ToDevice)
		}
	}
}

// TestPageOfWhoCameBack: a site that does not know yet that somebody has come back to a room would leave out what was said meanwhile,
// which the client could never miss. It catches up first.
func TestPageOfWhoCameBack(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy, bob := c.user(0, "amy", "PHONE"), c.user(0, "bob", "PHONE")
	in := c.room(0, amy)
	say := func(text string) (at string) {
		var sent struct {
			EventID string `json:"event_id"`
		}
		c.must(0, amy, "PUT", in+"/send/m.room.message/"+text, `{"msgtype":"m.text","body":"`+text+`"}`, &sent)
		return url.PathEscape(sent.EventID)
	}
	c.must(0, bob, "POST", in+"/join", `{}`, nil)
	before := say("before")
	c.must(0, bob, "POST", in+"/leave", `{}`, nil)
	say("away")
	say("still")
	var here, back wanderSync
	c.must(0, bob, "GET", "/sync", "", &here)
	c.settled()
	c.sites[2].journal.Lag(time.Second)
	c.must(0, bob, "POST", in+"/join", `{}`, nil)
	c.must(0, bob, "GET", "/sync?since="+here.NextBatch, "", &back)
	var from string
	for _, r := range back.Rooms.Join {
		from = r.Timeline.PrevBatch
	}
	var page struct {
		Chunk []struct{ Content struct{ Body string } }
		End   string
	}
	c.must(0, bob, "GET", in+"/messages?dir=b&limit=1&from="+from, "", &page)
	c.must(2, bob, "GET", in+"/messages?dir=b&limit=1&from="+page.End, "", &page)
	if len(page.Chunk) == 0 || page.Chunk[0].Content.Body != "away" {
		t.Errorf("the page is %+v", page)
	}

	// The same of what stands around an event.
	c.must(0, bob, "POST", in+"/leave", `{}`, nil)
	say("again")
	c.settled()
	c.must(0, bob, "POST", in+"/join", `{}`, nil)
	var around struct {
		After []json.RawMessage `json:"events_after"`
	}
	c.must(2, bob, "GET", in+"/context/"+before+"?limit=50", "", &around)
	if n := len(around.After); n != 7 { // left, "away", "still", came back, left, "again", came back
		t.Errorf("%d events after", n)
	}
}

// TestKeysAtASiteBehind: who hears at one site that somebody's keys have changed and asks for them at another, which lags, gets the new
// ones: nobody would tell again.
func TestKeysAtASiteBehind(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	amy, bob := c.user(0, "amy", "PHONE"), c.user(0, "bob", "PHONE")
	upload := func(key string) {
		c.must(0, amy, "POST", "/keys/upload", `{"device_keys":{"user_id":"@amy:h","device_id":"PHONE","algorithms":[],"signatures":{},`+
			`"keys":{"ed25519:PHONE":"`+key+`"}}}`, nil)
	}
	upload("old")
	c.settled()
	c.sites[2].journal.Lag(500 * time.Millisecond)
	upload("new")
	w := c.call(2, bob, "POST", "/keys/query", `{"device_keys":{"@amy:h":[]}}`)
	if expect(t, w, 200, ""); !strings.Contains(w.Body.String(), `"new"`) {
		t.Errorf("got %s", w.Body)
	}
}
