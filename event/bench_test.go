package event

import (
	"strings"
	"testing"

	"bongsu/id"
)

// typical is a message of about 600 bytes.
func typical(tb testing.TB) (*Event, Draft) {
	d := message(V12)
	d.AuthEvents = []id.EventID{prev, prev}
	d.Content = Object(`{"body":"` + strings.Repeat("word ", 24) + `","msgtype":"m.text"}`)
	ev, err := Build(V12, d)
	if err != nil {
		tb.Fatal(err)
	}
	return ev, d
}

func BenchmarkCanonical(b *testing.B) {
	ev, _ := typical(b)
	dst := make([]byte, 0, 2*len(ev.Raw))
	for name, in := range map[string][]byte{
		"sorted":   ev.Raw,
		"unsorted": []byte(`{"type":"m.room.message","content":{"msgtype":"m.text","body":"` + strings.Repeat("word ", 96) + `"},"sender":"@a:b"}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Canonical(dst, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	ev, _ := typical(b)
	b.SetBytes(int64(len(ev.Raw)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Check(ev.Raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	_, d := typical(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(V12, d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	ev, _ := typical(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(V12, ev.Raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	ev, _ := typical(b)
	b.SetBytes(int64(len(ev.Raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(V12, ev.ID, ev.Raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendClient(b *testing.B) {
	ev, _ := typical(b)
	dst := make([]byte, 0, 2*len(ev.Raw))
	b.ReportAllocs()
	for b.Loop() {
		dst = ev.AppendClient(dst[:0], ClientFormat{NoRoomID: true})
	}
}
