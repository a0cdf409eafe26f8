package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"bongsu/api/admin"
	"bongsu/app"
)

// runningSite is a site whose server is asked through its data directory.
type runningSite struct {
	Data string `required:"" placeholder:"DIR" help:"The data directory of a running site; it asks the others."`
}

type sitesStatusCmd struct {
	runningSite
	JSON bool `help:"Print everything that the sites say, as JSON."`
}

// Run prints how all sites are.
func (c *sitesStatusCmd) Run(ctx context.Context, d deps) error {
	return d.administer(ctx, c.Data, func(a *admin.Client) error {
		text, err := a.Sites(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			_, err := fmt.Fprintln(d.stdout, string(text))
			return err
		}
		var all app.ClusterStatus
		if err := json.Unmarshal(text, &all); err != nil {
			return err
		}
		return printSites(d.stdout, all)
	})
}

// printSites writes a table of the sites, one of the partitions, and what is wrong.
func printSites(out io.Writer, all app.ClusterStatus) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) } // errors show at Flush
	var wrong []string
	offsets := offsetsFrom(all)
	line("SITE", "UP", "CLOCK", "FREE DISK", "FILES", "BUILD", "STATE")
	for _, v := range all.Sites {
		if v.Status == nil {
			line(v.Site, "-", "-", "-", "-", "-", "no answer")
			wrong = append(wrong, v.Site+": "+v.Error)
			continue
		}
		st := v.Status
		files := fmt.Sprint(st.Blobs.Blobs)
		if st.Blobs.Lacking > 0 {
			files += fmt.Sprintf(" (%d lacking)", st.Blobs.Lacking)
		}
		line(v.Site, (time.Duration(st.UptimeMS) * time.Millisecond).Round(time.Second).String(), offsets[v.Site],
			fmt.Sprintf("%.1f GB", float64(st.Disk.FreeBytes)/1e9), files, st.Build.Version, state(st))
		wrong = append(wrong, complaints(v.Site, st)...)
	}
	line()
	line(append([]string{"PARTITION", "LEADER", "EPOCH", "RULES"}, names(all)...)...)
	for p := range partitions(all) {
		line(partitionLine(all, p)...)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range wrong {
		if _, err := fmt.Fprintln(out, "! "+s); err != nil {
			return err
		}
	}
	return nil
}

// offsetsFrom is each site's clock against that of the site which was asked.
func offsetsFrom(all app.ClusterStatus) map[string]string {
	out := map[string]string{all.From: "reference"}
	for _, v := range all.Sites {
		if v.Site != all.From || v.Status == nil {
			continue
		}
		for _, o := range v.Status.Sites {
			out[o.Site] = fmt.Sprintf("%+.1f ms", o.ClockOffsetMS)
		}
	}
	return out
}

// state is how a site is, in a word or two.
func state(st *app.Status) string {
	switch {
	case st.Serving != "ok":
		return "not serving"
	case st.Writes != "ok":
		return "read only"
	case filling(st) >= 0:
		return "being filled"
	case st.Drained:
		return "drained"
	}
	return "ok"
}

// fillLag is by how many records a site's own journal may be behind its state without being called incomplete.
const fillLag = 200

// filling is a partition that the site's own journal does not hold yet, or -1. Until it does, the site is no help if another is lost.
func filling(st *app.Status) int {
	for _, p := range st.Partitions {
		if p.Stored+fillLag < p.Applied {
			return p.Partition
		}
	}
	return -1
}

// complaints are what is wrong with a site.
func complaints(name string, st *app.Status) (out []string) {
	add := func(format string, args ...any) { out = append(out, name+": "+fmt.Sprintf(format, args...)) }
	if st.Serving != "ok" {
		add("serves nobody: %s", st.Serving)
	}
	if st.Writes != "ok" {
		add("writes: %s", st.Writes)
	}
	if st.Disk.Slow {
		add("its disk is slow, so that it leads no partition")
	}
	for _, o := range st.Sites {
		if o.Error != "" {
			add("cannot reach %s: %s", o.Site, o.Error)
		}
	}
	if p := filling(st); p >= 0 {
		add("its journal is being filled (partition %d is stored up to %d of %d): a second loss would stop writes", p, st.Partitions[p].Stored,
			st.Partitions[p].Applied)
	}
	for _, p := range st.Partitions {
		if p.Error != "" {
			add("partition %d: %s", p.Partition, p.Error)
		}
		if p.Divergence != "" {
			add("ALARM: %s", p.Divergence)
		}
	}
	return out
}

func names(all app.ClusterStatus) (out []string) {
	for _, v := range all.Sites {
		out = append(out, strings.ToUpper(v.Site))
	}
	return out
}

func partitions(all app.ClusterStatus) int {
	n := 0
	for _, v := range all.Sites {
		if v.Status != nil {
			n = max(n, len(v.Status.Partitions))
		}
	}
	return n
}

// partitionLine shows a partition: who leads it, and how far each site is behind the foremost.
func partitionLine(all app.ClusterStatus, p int) []string {
	var foremost, epoch uint64
	var rules uint16
	leaders := map[string]bool{}
	leader := ""
	for _, v := range all.Sites {
		if v.Status == nil || p >= len(v.Status.Partitions) {
			continue
		}
		ps := v.Status.Partitions[p]
		foremost, epoch, rules = max(foremost, ps.Applied), max(epoch, ps.Epoch), max(rules, ps.Rules)
		if ps.Leader != "" && !leaders[ps.Leader] {
			leaders[ps.Leader] = true
			leader = strings.TrimPrefix(leader+"/"+ps.Leader, "/")
		}
	}
	if leader == "" {
		leader = "none"
	}
	cells := []string{fmt.Sprint(p), leader, fmt.Sprint(epoch), fmt.Sprint(rules)}
	for _, v := range all.Sites {
		if v.Status == nil || p >= len(v.Status.Partitions) {
			cells = append(cells, "-")
			continue
		}
		ps := v.Status.Partitions[p]
		cell := fmt.Sprintf("%d %.8s", ps.Applied, ps.Digest)
		if behind := foremost - ps.Applied; behind > 0 {
			cell = fmt.Sprintf("%d (%d behind)", ps.Applied, behind)
		}
		cells = append(cells, cell)
	}
	return cells
}

type drainCmd struct {
	runningSite
	Site string `arg:"" help:"The site."`
}

// Run has a site drained.
func (c *drainCmd) Run(ctx context.Context, d deps) error {
	return d.administer(ctx, c.Data, func(a *admin.Client) error { return a.Drain(ctx, c.Site, true) })
}

type undrainCmd struct {
	runningSite
	Site string `arg:"" help:"The site."`
}

// Run lets a site take part again.
func (c *undrainCmd) Run(ctx context.Context, d deps) error {
	return d.administer(ctx, c.Data, func(a *admin.Client) error { return a.Drain(ctx, c.Site, false) })
}
