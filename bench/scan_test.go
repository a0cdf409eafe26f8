package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// sampleSync is a /sync response as servers write them: rooms, events, and much that the generator does not need.
func sampleSync(rooms, events int) string {
	var b strings.Builder
	b.WriteString(`{"next_batch":"s1_2_3","presence":{"events":[]},"account_data":{"events":[{"type":"m.push_rules","content":{"global":{"body":"no"}}}]},"rooms":{"invite":{"!x:y":{"timeline":{"events":[{"event_id":"$no"}]}}},"join":{`)
	for r := range rooms {
		if r > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"!room%d":{"state":{"events":[{"type":"m.room.name","event_id":"$state","content":{"name":"\"}]"}}]},"timeline":{"limited":%v,"prev_batch":"p%d","events":[`, r, r%2 == 1, r)
		for e := range events {
			if e > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"content":{"body":"bongsu/0badcafe/%d/%d/1234567890/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","msgtype":"m.text"},"event_id":"$%043d","origin_server_ts":1700000000000,"room_id":"!room%d","sender":"@amy:localhost","type":"m.room.message","unsigned":{"age":12,"transaction_id":"t1"}}`, r, e, e, r)
		}
		fmt.Fprintf(&b, `]},"ephemeral":{"events":[]},"account_data":{"events":[]},"summary":{},"unread_notifications":{"highlight_count":0,"notification_count":%d}}`, events)
	}
	b.WriteString(`},"leave":{}},"device_one_time_keys_count":{"signed_curve25519":50}}`)
	return b.String()
}

// plain is a syncView or pageView with strings, for comparing.
type plain struct {
	Next  string
	Rooms []plainRoom
}
type plainRoom struct {
	ID, Prev string
	Limited  bool
	Events   [][2]string
}

func plainSync(v *syncView) plain {
	p := plain{Next: string(v.nextBatch)}
	for _, r := range v.rooms {
		p.Rooms = append(p.Rooms, plainRoom{string(r.id), string(r.prevBatch), r.limited, plainEvents(v.events[r.first:r.last])})
	}
	return p
}

func plainEvents(es []eventView) (out [][2]string) {
	for _, e := range es {
		out = append(out, [2]string{string(e.id), string(e.body)})
	}
	return out
}

func TestScanSync(t *testing.T) {
	cases := []struct {
		name, in string
		want     plain
		bad      bool
	}{
		{name: "nothing new", in: `{"next_batch":"s1"}`, want: plain{Next: "s1"}},
		{name: "spaces", in: " {\n\t\"next_batch\" : \"s1\" ,\r\n \"rooms\" : { \"join\" : { } } } ", want: plain{Next: "s1"}},
		{name: "odd types", in: `{"rooms":[1,{"join":{}}],"next_batch":"s1","x":null,"y":-1.5e3,"z":[[],{}]}`, want: plain{Next: "s1"}},
		{name: "odd inner types", in: `{"next_batch":"s1","rooms":{"join":{"!a":null,"!b":{"timeline":3},"!c":{"timeline":{"events":"x","limited":"true","prev_batch":0}}}}}`,
			want: plain{Next: "s1", Rooms: []plainRoom{{ID: "!a"}, {ID: "!b"}, {ID: "!c"}}}},
		{name: "one room", in: `{"next_batch":"s1","rooms":{"join":{"!a":{"timeline":{"events":[{"event_id":"$1","content":{"body":"hi"}},{"event_id":"$2","content":{}},{"content":{"body":7},"event_id":"$3"}],"limited":true,"prev_batch":"p"}}}}}`,
			want: plain{Next: "s1", Rooms: []plainRoom{{"!a", "p", true, [][2]string{{"$1", "hi"}, {"$2", ""}, {"$3", ""}}}}}},
		{name: "escapes", in: `{"next_b\u0061tch":"s\/1","rooms":{"join":{"\u0021a":{"timeline":{"events":[{"event_id":"\"$\\","content":{"body":"\ud83d\udd25 \\\""}}]}}}}}`,
			want: plain{Next: "s/1", Rooms: []plainRoom{{ID: "!a", Events: [][2]string{{`"$\`, "🔥 \\\""}}}}}},
		{name: "braces in strings", in: `{"x":"}]{[\"","next_batch":"s1"}`, want: plain{Next: "s1"}},
		{name: "not JSON", in: `<html>`, bad: true},
		{name: "empty", in: ``, bad: true},
		{name: "no token", in: `{}`, bad: true},
		{name: "cut off", in: `{"next_batch":"s1","rooms":{"join":{"!a":{"timeline":{"events":[{"event_id":"$1"`, bad: true},
		{name: "cut off in a string", in: `{"next_batch":"s1`, bad: true},
		{name: "cut off after a backslash", in: `{"next_batch":"s1\"`, bad: true},
		{name: "bad escape", in: `{"next_batch":"\q"}`, bad: true},
		{name: "missing colon", in: `{"next_batch" "s1"}`, bad: true},
		{name: "missing comma", in: `{"next_batch":"s1" "x":1}`, bad: true},
		{name: "missing value", in: `{"next_batch":"s1","x":}`, bad: true},
		{name: "deep", in: `{"next_batch":"s1","x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`, want: plain{Next: "s1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var v syncView
			_ = scanSync([]byte(sampleSync(2, 2)), &v) // reuse must leave nothing behind
			err := scanSync([]byte(c.in), &v)
			if c.bad {
				if err == nil {
					t.Fatalf("took it: %+v", plainSync(&v))
				}
				return
			}
			if got := plainSync(&v); err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestScanMessages(t *testing.T) {
	var v pageView
	err := scanMessages([]byte(`{"chunk":[{"event_id":"$1","content":{"body":"a"}},{"event_id":"$2"}],"start":"t1","end":"t2","state":[]}`), &v)
	if err != nil || string(v.end) != "t2" || !reflect.DeepEqual(plainEvents(v.events), [][2]string{{"$1", "a"}, {"$2", ""}}) {
		t.Errorf("got %+v, %v", v, err)
	}
	if err := scanMessages([]byte(`{"chunk":[]}`), &v); err != nil || len(v.end) != 0 || len(v.events) != 0 {
		t.Errorf("got %+v, %v", v, err)
	}
}

// FuzzScanSync: no input makes the scanner panic, and whatever encoding/json takes for JSON is read as it reads it.
func FuzzScanSync(f *testing.F) {
	f.Add([]byte(sampleSync(2, 2)))
	f.Add([]byte(`{"next_batch":"a\u0062\\","rooms":{"join":{"!a":{"timeline":{"events":[{"content":{"body":"\""},"event_id":""}]}}}}}`))
	f.Add([]byte(`{"next_batch":"s1","rooms":[{"join":{}}, null, 1e9, [[{}]]]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var v syncView
		err := scanSync(in, &v)
		if !json.Valid(in) || !utf8.Valid(in) || duplicateKeys(in) {
			return
		}
		want, ok := reference(in)
		if !ok {
			if err == nil {
				t.Fatalf("no token, and no error: %+v", plainSync(&v))
			}
			return
		}
		got := plainSync(&v)
		if err != nil || got.Next != want.Next || len(got.Rooms) != len(want.Rooms) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, want)
		}
		for _, r := range got.Rooms {
			found := false
			for _, w := range want.Rooms {
				found = found || reflect.DeepEqual(r, w)
			}
			if !found {
				t.Fatalf("room %+v is not in %+v", r, want)
			}
		}
	})
}

// duplicateKeys reports whether an object in in has a key twice; what that means is not defined.
func duplicateKeys(in []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(in))
	var walk func() bool
	walk = func() bool {
		tok, err := dec.Token()
		if err != nil {
			return true
		}
		d, ok := tok.(json.Delim)
		if !ok {
			return false
		}
		seen := map[string]bool{}
		for dec.More() {
			if d == '{' {
				key, err := dec.Token()
				if err != nil || seen[key.(string)] {
					return true
				}
				seen[key.(string)] = true
			}
			if walk() {
				return true
			}
		}
		_, err = dec.Token()
		return err != nil
	}
	return walk()
}

// reference reads the same fields with encoding/json; ok is false without a next_batch.
func reference(in []byte) (p plain, ok bool) {
	var root any
	if err := json.Unmarshal(in, &root); err != nil {
		return p, false
	}
	obj := func(v any, key string) any {
		m, _ := v.(map[string]any)
		return m[key]
	}
	str := func(v any) string { s, _ := v.(string); return s }
	p.Next = str(obj(root, "next_batch"))
	rooms, _ := obj(obj(root, "rooms"), "join").(map[string]any)
	for rid, v := range rooms {
		tl := obj(v, "timeline")
		r := plainRoom{ID: rid, Prev: str(obj(tl, "prev_batch")), Limited: obj(tl, "limited") == true}
		events, _ := obj(tl, "events").([]any)
		for _, e := range events {
			r.Events = append(r.Events, [2]string{str(obj(e, "event_id")), str(obj(obj(e, "content"), "body"))})
		}
		p.Rooms = append(p.Rooms, r)
	}
	return p, p.Next != ""
}

func BenchmarkScanSync(b *testing.B) {
	in := []byte(sampleSync(4, 5))
	b.Run("scanner", func(b *testing.B) {
		var v syncView
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		for b.Loop() {
			if err := scanSync(in, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(in)))
		b.ReportAllocs()
		for b.Loop() {
			var v struct {
				NextBatch string `json:"next_batch"`
				Rooms     struct {
					Join map[string]struct {
						Timeline struct {
							Limited   bool   `json:"limited"`
							PrevBatch string `json:"prev_batch"`
							Events    []struct {
								EventID string `json:"event_id"`
								Content struct {
									Body string `json:"body"`
								} `json:"content"`
							} `json:"events"`
						} `json:"timeline"`
					} `json:"join"`
				} `json:"rooms"`
			}
			if err := json.Unmarshal(in, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
