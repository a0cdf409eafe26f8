package app

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"bongsu/blob"
	"bongsu/checkpoint"
	"bongsu/errs"
	"bongsu/journal"
	"bongsu/obs"
	"bongsu/replica"
)

// Status is what /_bongsu/status answers.
type Status struct {
	Server      string            `json:"server"`    // the server's name
	Site        string            `json:"site"`      // this site's name
	Build       obs.Build         `json:"build"`     // what runs
	Rules       uint16            `json:"rules"`     // the newest rules version that this build knows
	UptimeMS    int64             `json:"uptime_ms"` // since the process started
	Writes      string            `json:"writes"`    // "ok", or why they are refused
	Serving     string            `json:"serving"`   // "ok", or why this site answers nobody now
	Disk        DiskStatus        `json:"disk"`      // of the data directory
	Blobs       blob.Status       `json:"blobs"`     // the files that users uploaded
	Load        Load              `json:"load"`      // what the process uses of the machine
	Certificate *time.Time        `json:"certificate_until,omitempty"`
	Drained     bool              `json:"drained,omitempty"`
	Checkpoints checkpoint.Status `json:"checkpoints"` // copies of the state in files
	Cluster     string            `json:"cluster,omitempty"`
	Sites       []SiteStatus      `json:"sites,omitempty"` // the other sites, as this one hears them
	Partitions  []PartitionStatus `json:"partitions"`      // in order
	Failures    int64             `json:"failures"`        // proposals that failed through a bug, since start
	Refused     int64             `json:"refused"`         // messages between slots that were refused, since start
}

// PartitionStatus is where a partition stands.
type PartitionStatus struct {
	Partition  int    `json:"partition"`
	Applied    uint64 `json:"applied"`              // position of the last record applied
	Stored     uint64 `json:"stored"`               // up to where this site's own journal holds it: less while it is being filled
	Digest     string `json:"digest"`               // of the state there, hex
	Rules      uint16 `json:"rules"`                // version in force
	WallMS     int64  `json:"wall_ms"`              // its time, Unix milliseconds
	LiveMS     int64  `json:"live_ms"`              // how long it has lived
	Waiting    int    `json:"waiting"`              // proposals in the queue
	Error      string `json:"error,omitempty"`      // why it has halted
	Divergence string `json:"divergence,omitempty"` // an alarm: two states of one journal
	Leader     string `json:"leader"`               // the site that orders its records, "" while this one knows none
	Epoch      uint64 `json:"epoch"`                // changes when the cluster was recovered or restored

	Sites []PartitionSite `json:"sites,omitempty"` // what the sites have said in it
}

// PartitionSite is what the latest record of a site in a partition said.
type PartitionSite struct {
	Site    string `json:"site"`
	Applied uint64 `json:"applied"`           // what it had applied
	Rules   uint16 `json:"rules"`             // the newest rules version that its build knows
	Checked uint64 `json:"checked,omitempty"` // the last position at which its state was compared with this site's
	Differs uint64 `json:"differs,omitempty"` // since where it differs: an alarm
}

// Load is what the process has used of the machine since it started.
type Load struct {
	CPUSeconds float64 `json:"cpu_seconds"`
	Cores      int     `json:"cores"`
}

func load() Load {
	l := Load{Cores: runtime.GOMAXPROCS(0)}
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) == nil {
		l.CPUSeconds = time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	return l
}

// SiteStatus is another site as this one hears it.
type SiteStatus struct {
	Site          string  `json:"site"`
	URL           string  `json:"url,omitempty"`
	HeardMS       int64   `json:"heard_ms"` // how long ago; -1: never in this run
	RTTMS         float64 `json:"rtt_ms"`
	ClockOffsetMS float64 `json:"clock_offset_ms"` // its clock minus ours
	Version       string  `json:"version,omitempty"`
	Error         string  `json:"error,omitempty"` // why it cannot be reached
}

func (s *Server) status(context.Context) (any, error) { return s.look(), nil }

// look gathers the status.
func (s *Server) look() Status {
	st := Status{Server: s.cfg.ServerName, Site: s.cfg.Site, Build: obs.ReadBuild(), Rules: rulesVersion, Writes: "ok", Serving: "ok",
		UptimeMS: s.clock.Now().Sub(s.started).Milliseconds(),
		Failures: s.replica.Failures(), Refused: s.replica.Refused()}
	var refused error
	if st.Disk, refused = s.disk.status(); refused == nil {
		refused = s.replica.Writable()
	}
	if refused != nil {
		st.Writes = "refused: " + words(refused)
	}
	if err := s.replica.Serving(); err != nil {
		st.Serving = words(err)
	}
	st.Blobs, st.Checkpoints, st.Drained = s.blobs.Status(), s.checkpoints.Status(), s.drained.Load()
	st.Load = load()
	if s.site != nil {
		st.Certificate = &s.site.until
	}
	st.Cluster, st.Sites = s.cfg.Cluster.ID, s.siteStatus()
	st.Disk.RowsBytes, st.Disk.Slow = s.rows.Size(), s.journal.SlowDisk()
	for i := range s.replica.Partitions() {
		p := journal.Partition(i) //nolint:gosec // at most 64
		ps := s.replica.Status(p)
		out := PartitionStatus{Partition: i, Applied: uint64(ps.Applied), Stored: uint64(s.journal.Stored(p)), Digest: hex.EncodeToString(ps.Digest[:]), Rules: ps.Rules,
			WallMS: ps.Wall, LiveMS: ps.Live, Waiting: s.replica.Waiting(p), Leader: s.journal.Leader(p), Epoch: ps.Epoch}
		for _, o := range ps.Sites {
			out.Sites = append(out.Sites, PartitionSite{Site: o.Site, Applied: uint64(o.Applied), Rules: o.Rules,
				Checked: uint64(o.Checked), Differs: uint64(o.Differs)})
		}
		if ps.Err != nil {
			out.Error = ps.Err.Error()
			st.Writes = fmt.Sprintf("refused in part: partition %d has halted", i)
		}
		if ps.Divergence != nil {
			out.Divergence = ps.Divergence.Error()
		}
		st.Partitions = append(st.Partitions, out)
	}
	return st
}

// state is how the edge sees this site's state: whether it can be read, and written.
type state struct {
	*replica.Replica
	disk *diskWatch
}

// Writable implements client.State. A full disk is known before an append fails.
func (s state) Writable() error {
	if _, refused := s.disk.status(); errors.Is(refused, journal.ErrFull) {
		return &errs.Error{Op: "app.state", Kind: errs.Unavailable, Code: errs.DiskFull, RetryAfter: 10 * time.Second, Err: refused,
			Message: "the server's disk is full: it can be read, not written"}
	}
	return s.Replica.Writable()
}

// words are what a person reads of an error: without where it was made.
func words(err error) string {
	var e *errs.Error
	if errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return err.Error()
}

// siteStatus is what is known of the other sites.
func (s *Server) siteStatus() []SiteStatus {
	if s.site == nil {
		return nil
	}
	urls := map[string]string{}
	for _, o := range s.site.settings.Sites {
		urls[o.Name] = o.URL
	}
	var all []SiteStatus
	for _, h := range s.site.link.Heard() {
		o := SiteStatus{Site: h.Site, URL: urls[h.Site], HeardMS: -1, RTTMS: float64(h.RTT.Microseconds()) / 1000,
			ClockOffsetMS: float64(h.ClockOffset.Microseconds()) / 1000, Version: h.Version}
		if !h.Last.IsZero() {
			o.HeardMS = s.clock.Now().Sub(h.Last).Milliseconds()
		}
		if h.Err != nil {
			o.Error = h.Err.Error()
		}
		all = append(all, o)
	}
	return all
}

// health is nil while this site can answer requests. A full disk is no reason to send clients away: reads go on.
func (s *Server) health(context.Context) error {
	if s.drained.Load() {
		return errs.New("app.health", errs.Unavailable, "", "this site is drained")
	}
	if err := s.replica.Serving(); err != nil {
		return err
	}
	for i := range s.replica.Partitions() {
		if err := s.replica.Status(journal.Partition(i)).Err; err != nil { //nolint:gosec // at most 64
			return errs.Wrap("app.health", err)
		}
	}
	return nil
}

// collector shows the state of the partitions and the disk as metrics.
func (s *Server) collector() prometheus.Collector {
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("bongsu_"+name, help, labels, nil)
	}
	return &collector{s: s,
		applied:  gauge("replica_applied_position", "Position of the last record applied.", "partition"),
		stored:   gauge("journal_stored_position", "Up to where this site's own journal holds the partition.", "partition"),
		leads:    gauge("journal_led_partitions", "1 while this site leads the partition.", "partition"),
		heard:    gauge("link_heard_seconds", "How long ago another site was heard; -1: never in this run.", "peer"),
		offset:   gauge("link_clock_offset_seconds", "Clock of another site minus this one's.", "peer"),
		waiting:  gauge("replica_waiting_proposals", "Proposals that wait to be appended.", "partition"),
		halted:   gauge("replica_halted_partitions", "1 while the partition has halted.", "partition"),
		diverged: gauge("replica_diverged_partitions", "1 when the digest differed from what a record claimed: an alarm.", "partition"),
		failures: gauge("replica_failures_total", "Proposals that failed through a bug in a state machine."),
		free:     gauge("disk_free_bytes", "Free space where the data directory lies."),
		slow:     gauge("disk_slow", "1 while the disk of this site is slow, so that it leads nothing while another one would."),
		refusing: gauge("journal_refusing_writes", "1 while writes are refused: no space, or an engine that cannot write."),
		rows:     gauge("kv_disk_bytes", "Size of the rows on disk."),
	}
}

type collector struct {
	s                                                                  *Server
	applied, waiting, halted, diverged, failures, free, refusing, rows *prometheus.Desc
	stored, leads, heard, offset, slow                                 *prometheus.Desc
}

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.applied, c.waiting, c.halted, c.diverged, c.failures, c.free, c.refusing, c.rows, c.stored, c.leads, c.heard, c.offset, c.slow} {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	put := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	is := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	for i := range c.s.replica.Partitions() {
		p := journal.Partition(i) //nolint:gosec // at most 64
		st, label := c.s.replica.Status(p), fmt.Sprint(i)
		put(c.applied, float64(st.Applied), label)
		put(c.stored, float64(c.s.journal.Stored(p)), label)
		put(c.leads, is(c.s.journal.Leads(p)), label)
		put(c.waiting, float64(c.s.replica.Waiting(p)), label)
		put(c.halted, is(st.Err != nil), label)
		put(c.diverged, is(st.Divergence != nil), label)
	}
	for _, o := range c.s.siteStatus() {
		heard := float64(o.HeardMS) / 1000
		if o.HeardMS < 0 {
			heard = -1
		}
		put(c.heard, heard, o.Site)
		put(c.offset, o.ClockOffsetMS/1000, o.Site)
	}
	ch <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(c.s.replica.Failures()))
	disk, refused := c.s.disk.status()
	put(c.free, float64(disk.FreeBytes))
	put(c.slow, is(c.s.journal.SlowDisk()))
	put(c.refusing, is(refused != nil))
	put(c.rows, float64(c.s.rows.Size()))
}

// Build says in words what was built.
func Build() string { return obs.ReadBuild().String() }
