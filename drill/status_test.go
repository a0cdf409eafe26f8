package drill

import (
	"strings"
	"testing"
)

func status(applied uint64, digest string) *Status {
	return &Status{Partitions: []PartitionStatus{{Partition: 0, Applied: applied, Digest: digest}}}
}

func TestDigests(t *testing.T) {
	c := &Cluster{Sites: []*Site{{Name: "seoul"}, {Name: "busan"}, {Name: "daegu"}}}
	d := newDigests()
	for _, s := range []struct {
		site string
		st   *Status
	}{{"seoul", status(7, "a")}, {"busan", status(8, "b")}, {"daegu", status(7, "a")}, {"seoul", status(8, "b")}, {"seoul", status(7, "a")}} {
		if found := d.add(s.site, s.st); len(found) > 0 {
			t.Errorf("equal states: %q", found)
		}
	}
	if got := d.missing(c, 1); !strings.Contains(got, "busan and daegu were never at the same position") {
		t.Errorf("missing: %q", got)
	}
	if found := d.add("daegu", status(8, "x")); len(found) != 2 || !strings.Contains(found[0], "different states of partition 0 at 8") {
		t.Errorf("another state: %q", found)
	}
	if got := d.missing(c, 1); got != "" {
		t.Errorf("missing: %q", got)
	}
	st := status(9, "y")
	st.Partitions[0].Divergence = "two against one"
	if found := d.add("seoul", st); len(found) != 1 || promiseOf(found[0]) != 8 {
		t.Errorf("a reported divergence: %q", found)
	}
	if got := newDigests().missing(c, 0); !strings.Contains(got, "no site tells its status") {
		t.Errorf("nobody answers: %q", got)
	}
}

func TestBehind(t *testing.T) {
	goal := map[int]uint64{0: 7}
	halted := status(9, "")
	halted.Partitions[0].Error = "halted: a bad record"
	whole, filling := status(7, ""), status(9, "")
	whole.Partitions[0].Stored, filling.Partitions[0].Stored = 7, 6
	for want, st := range map[string]*Status{
		"":                     whole,
		"is at 6":              status(6, ""),
		"up to 6":              filling,
		"it has 0 of 1":        {},
		"halted: a bad record": halted,
	} {
		err := st.behind(goal)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", st, err, want)
		}
	}
}
