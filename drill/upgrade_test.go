package drill

import (
	"strings"
	"testing"
	"time"
)

func TestStatusOfRules(t *testing.T) {
	st := &Status{Partitions: []PartitionStatus{
		{Partition: 0, Rules: 2, Sites: []KnownSite{{"seoul", 1}, {"busan", 2}}},
		{Partition: 1, Rules: 2, Sites: []KnownSite{{"seoul", 2}}},
	}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{st.follows(2), ""},
		{st.follows(1), "partition 0 follows rules 2, not 1"},
		{st.heard("seoul", 2), "partition 0 was told that seoul knows rules 1, not 2"},
		{st.heard("busan", 2), "partition 1 was told that busan knows rules 0, not 2"},
	} {
		if (c.err == nil) != (c.want == "") || c.err != nil && c.err.Error() != c.want {
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
	st.Partitions[0].Sites[0].Rules = 2
	if err := st.heard("seoul", 2); err != nil {
		t.Errorf("all have heard: %v", err)
	}
}

func TestOnTime(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	for ahead, ok := range map[time.Duration]bool{
		0: true, mostAhead: true, -mostBehind: true, mostAhead + time.Millisecond: false, time.Minute: false, -mostBehind - time.Millisecond: false,
	} {
		st := &Status{Partitions: []PartitionStatus{{WallMS: now.Add(ahead).UnixMilli()}}}
		err := st.onTime(now)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), ahead.String()) {
			t.Errorf("%v ahead: %v", ahead, err)
		}
	}
}
