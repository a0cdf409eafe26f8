package harness

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

// sound is a history without a fault: two people in a room, five events each way of arriving.
func sound() (*History, *Truth) {
	h, truth := NewHistory(), &Truth{Rooms: map[string][]Seen{}, States: map[string]string{}, Data: map[string]string{},
		Files: map[string][sha256.Size]byte{}, Joined: map[string][]string{}}
	room := []Seen{{ID: "$create"}, {ID: "$join"}}
	for i := range 5 {
		marker := fmt.Sprintf("a-%d", i)
		room = append(room, Seen{ID: "$" + marker, Marker: marker})
		began := time.Unix(int64(2*i), 0)
		h.Sends[marker] = Sent{Client: "a", Room: "!r", Txn: "t" + marker, ID: "$" + marker, Began: began, Ended: began.Add(3 * time.Second)}
	}
	h.Sends["a-never"] = Sent{Client: "a", Room: "!r", Txn: "ta-never"}
	h.Sends["a-unsure"] = Sent{Client: "a", Room: "!r", Txn: "ta-unsure"}
	room = append(room, Seen{ID: "$unsure", Marker: "a-unsure"})
	truth.Rooms["!r"] = room
	for _, who := range []string{"a", "b"} {
		var stream []Seen
		for _, e := range room {
			if who == "a" && e.Marker != "" {
				e.Echo = "t" + e.Marker
			}
			stream = append(stream, e)
		}
		h.Streams[who] = map[string][]Seen{"!r": stream}
		h.Joins[who] = map[string]bool{"!r": true}
		truth.Joined[who] = []string{"!r"}
	}
	h.States["s"] = []Write{{"1", true}, {"2", true}, {"3", false}}
	truth.States["s"] = "2"
	h.Data["d"] = []Write{{"1", true}, {"2", false}}
	truth.Data["d"] = "2"
	h.Files["mxc://x/1"] = sha256.Sum256([]byte("file"))
	truth.Files["mxc://x/1"] = h.Files["mxc://x/1"]
	h.Keys["k1"], h.Keys["k2"] = "one", "two"
	h.Claims = []Claim{{"k1", "one"}}
	h.ToDevice["m1"], h.ToDevice["m2"] = ToDevice{"b", true}, ToDevice{"b", false}
	h.Inbox["b"] = []string{"m1"}
	return h, truth
}

func TestCheckAcceptsSoundHistory(t *testing.T) {
	if findings := Check(sound()); len(findings) > 0 {
		t.Errorf("findings in a sound history: %q", findings)
	}
}

// Each planted fault is found, and called by its name.
func TestCheckFindsPlantedFaults(t *testing.T) {
	streamOf := func(h *History) []Seen { return h.Streams["b"]["!r"] }
	set := func(h *History, s []Seen) { h.Streams["b"]["!r"] = s }
	for name, c := range map[string]struct {
		plant func(h *History, truth *Truth)
		want  string
	}{
		"acknowledged event gone": {func(_ *History, tr *Truth) { tr.Rooms["!r"] = append(tr.Rooms["!r"][:4:4], tr.Rooms["!r"][5:]...) }, "lost: \"a-2\""},
		"last event gone everywhere": {func(h *History, tr *Truth) {
			delete(h.Sends, "a-unsure")
			tr.Rooms["!r"] = tr.Rooms["!r"][:6]
			for who, s := range h.Streams {
				h.Streams[who]["!r"] = s["!r"][:6]
			}
		}, "lost: \"a-4\""},
		"room gone":        {func(_ *History, tr *Truth) { delete(tr.Rooms, "!r") }, "lost: \"a-0\""},
		"same event twice": {func(_ *History, tr *Truth) { tr.Rooms["!r"] = append(tr.Rooms["!r"], tr.Rooms["!r"][3]) }, "has $a-1 twice"},
		"retry happens twice": {func(_ *History, tr *Truth) {
			tr.Rooms["!r"] = append(tr.Rooms["!r"], Seen{ID: "$again", Marker: "a-3"})
		}, "duplicate: \"a-3\""},
		"order of time": {func(h *History, _ *Truth) {
			s := h.Sends["a-1"]
			s.Began = s.Began.Add(time.Minute)
			h.Sends["a-1"] = s
		}, "reordered: $a-2 was acknowledged before $a-1"},
		"two answers":         {func(h *History, _ *Truth) { s := h.Sends["a-3"]; s.ID = "$other"; h.Sends["a-3"] = s }, "two answers"},
		"nobody sent it":      {func(_ *History, tr *Truth) { tr.Rooms["!r"] = append(tr.Rooms["!r"], Seen{ID: "$x", Marker: "x"}) }, "invented: !r holds"},
		"stream misses one":   {func(h *History, _ *Truth) { s := streamOf(h); set(h, append(s[:4:4], s[5:]...)) }, "gap: 1 events"},
		"stream ends early":   {func(h *History, _ *Truth) { s := streamOf(h); set(h, s[:len(s)-2]) }, "gap: the last 2"},
		"stream begins late":  {func(h *History, _ *Truth) { set(h, streamOf(h)[1:]) }, "gap: 1 events"},
		"stream repeats":      {func(h *History, _ *Truth) { s := streamOf(h); set(h, append(s[:5:5], s[4:]...)) }, "duplicate: $a-2 came twice"},
		"stream repeats old":  {func(h *History, _ *Truth) { set(h, append(streamOf(h), streamOf(h)[0])) }, "duplicate: $create"},
		"stream swaps":        {func(h *History, _ *Truth) { s := streamOf(h); s[4], s[5] = s[5], s[4] }, "reordered: $a-3"},
		"stream of strangers": {func(h *History, _ *Truth) { set(h, append(streamOf(h), Seen{ID: "$y"})) }, "invented: $y"},
		"room not in stream":  {func(h *History, _ *Truth) { delete(h.Streams["b"], "!r") }, "does not show it"},
		"sent anew":           {func(h *History, _ *Truth) { h.Anew["a"] = 2 }, "anew: 2 times a"},
		"no local echo":       {func(h *History, _ *Truth) { h.Streams["a"]["!r"][2].Echo = "" }, "echo: a"},
		"state lost":          {func(_ *History, tr *Truth) { tr.States["s"] = "1" }, "lost: state s"},
		"state gone":          {func(_ *History, tr *Truth) { delete(tr.States, "s") }, "lost: state s"},
		"account data lost":   {func(_ *History, tr *Truth) { tr.Data["d"] = "0" }, "lost: account data d"},
		"account data from nowhere": {func(h *History, tr *Truth) {
			h.Data["e"] = []Write{{"1", false}}
			tr.Data["e"] = "9"
		}, "invented: account data e"},
		"not a member any more": {func(_ *History, tr *Truth) { tr.Joined["b"] = nil }, "is not a member"},
		"file gone":             {func(_ *History, tr *Truth) { clear(tr.Files) }, "lost: the file"},
		"file damaged":          {func(_ *History, tr *Truth) { tr.Files["mxc://x/1"] = sha256.Sum256(nil) }, "damaged: the file"},
		"key twice":             {func(h *History, _ *Truth) { h.Claims = append(h.Claims, h.Claims[0]) }, "given twice"},
		"key of nobody":         {func(h *History, _ *Truth) { h.Claims[0].Key = "k9" }, "never uploaded"},
		"key damaged":           {func(h *History, _ *Truth) { h.Claims[0].Content = "two" }, "damaged: the one-time key"},
		"message lost":          {func(h *History, _ *Truth) { h.Inbox["b"] = nil }, "lost: the message"},
		"message twice":         {func(h *History, _ *Truth) { h.Inbox["b"] = []string{"m1", "m1"} }, "duplicate: the message"},
		"message to another":    {func(h *History, _ *Truth) { h.Inbox["a"], h.Inbox["b"] = h.Inbox["b"], nil }, "invented: the message"},
		"refused":               {func(h *History, _ *Truth) { h.Fail("refused: 401") }, "refused: 401"},
	} {
		t.Run(name, func(t *testing.T) {
			h, truth := sound()
			c.plant(h, truth)
			findings := Check(h, truth)
			if !strings.Contains(strings.Join(findings, "\n"), c.want) {
				t.Errorf("findings %q, want one with %q", findings, c.want)
			}
		})
	}
}

// What a server did not answer is not called lost.
func TestCheckSaysNothingOfTheUnread(t *testing.T) {
	h, truth := sound()
	delete(truth.Rooms, "!r")
	clear(truth.Files)
	clear(truth.Joined)
	truth.Unread = map[string]bool{"!r": true, "mxc://x/1": true, "a": true, "b": true}
	if findings := Check(h, truth); len(findings) > 0 {
		t.Errorf("findings: %q", findings)
	}
	_, other := sound()
	if findings := Differ("a", truth, "b", other); len(findings) > 0 {
		t.Errorf("findings: %q", findings)
	}
}

// Two sites that answer differently are found out.
func TestDiffer(t *testing.T) {
	_, a := sound()
	if _, b := sound(); len(Differ("a", a, "b", b)) > 0 {
		t.Errorf("equal sites differ: %q", Differ("a", a, "b", b))
	}
	for name, c := range map[string]struct {
		plant func(*Truth)
		want  string
	}{
		"event missing":  {func(b *Truth) { b.Rooms["!r"] = b.Rooms["!r"][:7] }, "gap: the last 1"},
		"event more":     {func(b *Truth) { b.Rooms["!r"] = append(b.Rooms["!r"], Seen{ID: "$more"}) }, "invented: $more"},
		"other order":    {func(b *Truth) { r := b.Rooms["!r"]; r[2], r[3] = r[3], r[2] }, "reordered"},
		"room missing":   {func(b *Truth) { delete(b.Rooms, "!r") }, "gap"},
		"state":          {func(b *Truth) { b.States["s"] = "3" }, "state s"},
		"account data":   {func(b *Truth) { b.Data["d"] = "3" }, "account data d"},
		"file":           {func(b *Truth) { b.Files["mxc://x/1"] = sha256.Sum256(nil) }, "the file mxc://x/1"},
		"no member here": {func(b *Truth) { b.Joined["b"] = nil }, "b is in the rooms"},
	} {
		_, b := sound()
		c.plant(b)
		if found := Differ("a", a, "b", b); !strings.Contains(strings.Join(found, "\n"), c.want) {
			t.Errorf("%s: %q, want %q", name, found, c.want)
		}
	}
}
