package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"bongsu/api/admin"
	"bongsu/app"
)

// doctorCmd looks at all sites and says what would be missed.
type doctorCmd struct {
	runningSite
	Without string        `placeholder:"SITE" help:"Say what would be missed if this site burned now. Default: what is wrong as it is."`
	Sample  time.Duration `placeholder:"TIME" default:"3s" help:"How long the load is looked at. Default ${default}."`
}

const (
	// busy is the share of a site's cores above which it could not take more.
	busy = 0.8
	// renewBefore is how long before a certificate's end it should be renewed.
	renewBefore = 30 * 24 * time.Hour
	// clockOff is how far clocks may be apart before a site has no say in what time it is.
	clockOff = 500.0 // milliseconds
)

// Run prints findings, each a line; there is something to see to when it ends with an error.
func (c *doctorCmd) Run(ctx context.Context, d deps) error {
	before, err := c.look(ctx, d)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(c.Sample):
	}
	after, err := c.look(ctx, d)
	if err != nil {
		return err
	}
	x := examination{before: before, after: after, without: c.Without, took: c.Sample, now: time.Now()}
	if err := x.examine(); err != nil {
		return err
	}
	for _, s := range x.good {
		_, _ = fmt.Fprintln(d.stdout, "  "+s) // the next one shows the error
	}
	for _, s := range x.bad {
		if _, err := fmt.Fprintln(d.stdout, "! "+s); err != nil {
			return err
		}
	}
	if len(x.bad) > 0 {
		return fmt.Errorf("%d things to see to", len(x.bad))
	}
	_, err = fmt.Fprintln(d.stdout, "nothing would be missed")
	return err
}

func (c *doctorCmd) look(ctx context.Context, d deps) (all app.ClusterStatus, err error) {
	err = d.administer(ctx, c.Data, func(a *admin.Client) error {
		text, err := a.Sites(ctx)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &all)
	})
	return all, err
}

// examination is what is found from two looks at all sites.
type examination struct {
	before, after app.ClusterStatus
	without       string // the site that is taken for burned; "" for none
	took          time.Duration
	now           time.Time
	good, bad     []string
}

func (x *examination) fine(format string, args ...any) {
	x.good = append(x.good, fmt.Sprintf(format, args...))
}
func (x *examination) miss(format string, args ...any) {
	x.bad = append(x.bad, fmt.Sprintf(format, args...))
}

func (x *examination) examine() error {
	if len(x.after.Sites) < 2 {
		return errors.New("this is a single node: if it burns, everything is gone that is not in a backup")
	}
	known := x.without == ""
	for _, v := range x.after.Sites {
		known = known || v.Site == x.without
	}
	if !known {
		return fmt.Errorf("there is no site %q: there are %s", x.without, strings.ToLower(strings.Join(names(x.after), ", ")))
	}
	x.quorum()
	for _, v := range x.after.Sites {
		if v.Site != x.without && v.Status != nil {
			x.site(v.Site, v.Status)
		}
	}
	x.versions()
	x.capacity()
	return nil
}

// quorum looks whether the others make a majority.
func (x *examination) quorum() {
	up, all := 0, len(x.after.Sites)
	for _, v := range x.after.Sites {
		if v.Site == x.without {
			continue
		}
		if v.Status == nil {
			x.miss("%s does not answer: %s", v.Site, v.Error)
			continue
		}
		up++
	}
	if majority := all/2 + 1; up < majority {
		x.miss("writes would stop: %d of %d sites would be left, and a majority is %d", up, all, majority)
	} else {
		x.fine("%d of %d sites would be left, a majority", up, all)
	}
	if x.without == "" {
		return
	}
	for _, v := range x.after.Sites {
		if v.Site == x.without || v.Status == nil {
			continue
		}
		led := 0
		for _, p := range v.Status.Partitions {
			if p.Leader == x.without {
				led++
			}
		}
		x.fine("%s leads %d of %d partitions, whose writes would pause for about a second", x.without, led, len(v.Status.Partitions))
		return
	}
}

// site looks at one that would be left.
func (x *examination) site(name string, st *app.Status) {
	x.bad = append(x.bad, complaints(name, st)...)
	if st.Drained {
		x.miss("%s is drained: it would have to serve (bongsu cluster undrain %s)", name, name)
	}
	if st.Disk.FreeBytes < 4*st.Disk.ReserveBytes {
		x.miss("%s has %.1f GB of disk free, and refuses writes below %.1f GB", name, float64(st.Disk.FreeBytes)/1e9, float64(st.Disk.ReserveBytes)/1e9)
	}
	if st.Blobs.Lacking > 0 {
		x.miss("%s lacks %d files that it has not fetched yet", name, st.Blobs.Lacking)
	}
	if st.Blobs.Decayed > 0 {
		x.miss("%s has %d decayed files that no site could replace", name, st.Blobs.Decayed)
	}
	if st.Certificate != nil && st.Certificate.Sub(x.now) < renewBefore {
		x.miss("the certificate of %s ends on %s: renew it (bongsu cluster certificate)", name, st.Certificate.Format(time.DateOnly))
	}
	for _, o := range st.Sites {
		if o.Site != x.without && (o.ClockOffsetMS > clockOff || o.ClockOffsetMS < -clockOff) {
			x.miss("the clocks of %s and %s are %.0f ms apart", name, o.Site, o.ClockOffsetMS)
		}
	}
	for _, p := range st.Partitions {
		for _, o := range p.Sites {
			if o.Differs != 0 && o.Site != x.without {
				x.miss("ALARM: partition %d differs between %s and %s since %d", p.Partition, name, o.Site, o.Differs)
			}
		}
	}
}

// versions looks whether all run the same build.
func (x *examination) versions() {
	builds := map[string][]string{}
	for _, v := range x.after.Sites {
		if v.Site != x.without && v.Status != nil {
			builds[v.Status.Build.Version] = append(builds[v.Status.Build.Version], v.Site)
		}
	}
	if len(builds) > 1 {
		x.miss("the sites run %d different builds: finish the upgrade", len(builds))
	}
}

// capacity estimates whether the sites that are left could carry the load: each does its own work and an equal part of what the
// lost one does for its clients. What a site does for its own copy of the state is counted too, so the estimate is on the safe side.
func (x *examination) capacity() {
	used := map[string]float64{} // cores
	cores := map[string]int{}
	for i, v := range x.after.Sites {
		if v.Status == nil || x.before.Sites[i].Status == nil {
			continue
		}
		used[v.Site] = (v.Status.Load.CPUSeconds - x.before.Sites[i].Status.Load.CPUSeconds) / x.took.Seconds()
		cores[v.Site] = v.Status.Load.Cores
	}
	extra := used[x.without] / float64(max(len(x.after.Sites)-1, 1))
	for _, v := range x.after.Sites {
		if v.Site == x.without || cores[v.Site] == 0 {
			continue
		}
		share := (used[v.Site] + extra) / float64(cores[v.Site])
		if share > busy {
			x.miss("%s would use %.0f %% of its %d cores", v.Site, 100*share, cores[v.Site])
		} else {
			x.fine("%s would use %.0f %% of its %d cores", v.Site, 100*share, cores[v.Site])
		}
	}
}
