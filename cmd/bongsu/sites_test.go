package main

import (
	"strings"
	"testing"
	"time"

	"bongsu/app"
)

// threeSites are three sites that are well.
func threeSites() app.ClusterStatus {
	all := app.ClusterStatus{Cluster: "c", From: "seoul"}
	names := []string{"seoul", "chuncheon", "busan"}
	until := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range names {
		st := &app.Status{Site: name, Writes: "ok", Serving: "ok", Certificate: &until}
		st.Build.Version = "v1"
		st.Disk.FreeBytes, st.Disk.ReserveBytes = 100e9, 1e9
		st.Load = app.Load{CPUSeconds: 10, Cores: 2}
		st.Partitions = []app.PartitionStatus{
			{Partition: 0, Applied: 10, Digest: "abcdef0123", Leader: "busan", Epoch: 1, Rules: 2},
			{Partition: 1, Applied: 20, Digest: "0123abcdef", Leader: "seoul", Epoch: 1, Rules: 2},
		}
		for _, other := range names {
			if other != name {
				st.Sites = append(st.Sites, app.SiteStatus{Site: other})
			}
		}
		all.Sites = append(all.Sites, app.SiteView{Site: name, Status: st})
	}
	return all
}

func TestSitesTable(t *testing.T) {
	all := threeSites()
	all.Sites[1].Status.Partitions[0].Applied = 7
	all.Sites[0].Status.Sites[0].ClockOffsetMS = -3.25
	all.Sites[2] = app.SiteView{Site: "busan", Error: "nothing listens there"}
	var b strings.Builder
	if err := printSites(&b, all); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"reference", "-3.2 ms", "no answer", "! busan: nothing listens there", "7 (3 behind)", "10 abcdef01", "SEOUL"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
}

func TestDoctor(t *testing.T) {
	for name, c := range map[string]struct {
		without string
		change  func(before, after *app.ClusterStatus)
		bad     []string // parts of findings, in order; none: all is well
		good    string
	}{
		"all is well": {},
		"without one": {without: "busan", good: "busan leads 1 of 2 partitions"},
		"one is away": {without: "busan", bad: []string{"seoul does not answer", "writes would stop: 1 of 3"},
			change: func(_, after *app.ClusterStatus) { after.Sites[0] = app.SiteView{Site: "seoul", Error: "down"} }},
		"the one that is away is the one": {without: "busan",
			change: func(_, after *app.ClusterStatus) { after.Sites[2] = app.SiteView{Site: "busan", Error: "down"} }},
		"a small disk": {bad: []string{"seoul has 2.0 GB"},
			change: func(_, after *app.ClusterStatus) { after.Sites[0].Status.Disk.FreeBytes = 2e9 }},
		"a slow disk": {bad: []string{"seoul: its disk is slow"},
			change: func(_, after *app.ClusterStatus) { after.Sites[0].Status.Disk.Slow = true }},
		"files are lacking": {bad: []string{"seoul lacks 3 files"},
			change: func(_, after *app.ClusterStatus) { after.Sites[0].Status.Blobs.Lacking = 3 }},
		"what is lacking at the lost one is nobody's worry": {without: "seoul",
			change: func(_, after *app.ClusterStatus) { after.Sites[0].Status.Blobs.Lacking = 3 }},
		"a drained site": {bad: []string{"chuncheon is drained"},
			change: func(_, after *app.ClusterStatus) { after.Sites[1].Status.Drained = true }},
		"a certificate that ends": {bad: []string{"certificate of seoul ends on 2026-01-10"}, change: func(_, after *app.ClusterStatus) {
			soon := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
			after.Sites[0].Status.Certificate = &soon
		}},
		"clocks": {bad: []string{"clocks of seoul and chuncheon are 3600000 ms apart"},
			change: func(_, after *app.ClusterStatus) { after.Sites[0].Status.Sites[0].ClockOffsetMS = 3600e3 }},
		"builds": {bad: []string{"2 different builds"},
			change: func(_, after *app.ClusterStatus) { after.Sites[0].Status.Build.Version = "v2" }},
		"divergence": {bad: []string{"partition 1 differs between seoul and busan since 17"}, change: func(_, after *app.ClusterStatus) {
			after.Sites[0].Status.Partitions[1].Sites = []app.PartitionSite{{Site: "busan", Differs: 17}}
		}},
		// 1.2 cores each of 2 are 60 %; with half of the lost site's they are 90 %.
		"a journal that is being filled": {bad: []string{"partition 1 is stored up to 300 of 900): a second loss would stop writes"},
			change: func(_, after *app.ClusterStatus) {
				after.Sites[1].Status.Partitions[1].Applied, after.Sites[1].Status.Partitions[1].Stored = 900, 300
			}},
		"no capacity": {without: "busan", bad: []string{"seoul would use 90 %", "chuncheon would use 90 %"}, change: busyBy(1.2)},
		"capacity":    {without: "busan", change: busyBy(1.0), good: "seoul would use 75 %"},
	} {
		before, after := threeSites(), threeSites()
		if c.change != nil {
			c.change(&before, &after)
		}
		x := examination{before: before, after: after, without: c.without, took: 3 * time.Second, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		if err := x.examine(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(x.bad) != len(c.bad) {
			t.Errorf("%s: findings %q, want %q", name, x.bad, c.bad)
			continue
		}
		for i, want := range c.bad {
			if !strings.Contains(x.bad[i], want) {
				t.Errorf("%s: finding %q, want %q", name, x.bad[i], want)
			}
		}
		if !strings.Contains(strings.Join(x.good, "\n"), c.good) {
			t.Errorf("%s: %q is not in %q", name, c.good, x.good)
		}
	}
	for words, x := range map[string]examination{
		"single node":      {after: app.ClusterStatus{Sites: threeSites().Sites[:1]}},
		`no site "daegu"`:  {after: threeSites(), before: threeSites(), without: "daegu"},
		"seoul, chuncheon": {after: threeSites(), before: threeSites(), without: "daegu"},
	} {
		if err := x.examine(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

// busyBy lets every site use so many cores between the two looks.
func busyBy(cores float64) func(before, after *app.ClusterStatus) {
	return func(_, after *app.ClusterStatus) {
		for _, v := range after.Sites {
			v.Status.Load.CPUSeconds += 3 * cores
		}
	}
}
