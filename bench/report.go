package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run found. Seconds are of the measurement, without setup, warm-up and drain, unless a field says
// otherwise.
type Report struct {
	Scenario string    `json:"scenario"`
	Run      string    `json:"run"`
	Seed     uint64    `json:"seed"`
	Started  time.Time `json:"started"`
	CPUs     int       `json:"cpus"`
	Load     Shape     `json:"load"`
	Setup    float64   `json:"setup_seconds"`
	Seconds  float64   `json:"seconds"`

	Acknowledged    int64   `json:"acknowledged"`       // messages, in the measurement
	Total           int64   `json:"acknowledged_total"` // messages, with warm-up and drain
	Throughput      float64 `json:"messages_per_second"`
	Failed          int64   `json:"failed"` // messages given up, in the whole run
	Unsent          int64   `json:"unsent"` // messages of an open loop that were due and never sent
	Deliveries      float64 `json:"deliveries_per_second"`
	Syncs           float64 `json:"syncs_per_second"`
	BytesIn         int64   `json:"bytes_in"`  // bodies received by the generator
	BytesOut        int64   `json:"bytes_out"` // bodies sent by it
	Backfills       int64   `json:"backfills"` // limited timelines completed through /messages, in the whole run
	Receipts        float64 `json:"receipts_per_second"`
	ReceiptsSkipped int64   `json:"receipts_skipped"` // in the whole run: the one before was still on its way

	Send     Latency `json:"send"`     // from when a message was due to its acknowledgement
	Service  Latency `json:"service"`  // from when it was sent to its acknowledgement
	Delivery Latency `json:"delivery"` // from when it was due to its arrival at each syncing member

	Delivered StreamChecks `json:"delivered"` // what the syncing members saw
	History   StreamChecks `json:"history"`   // what the rooms' histories hold
	Drain     float64      `json:"drain_seconds"`
	Stalled   []string     `json:"stalled,omitempty"` // members whose sync loop was failing at the end, and why

	Joins       *JoinsReport `json:"joins,omitempty"`
	InitialSync *SyncReport  `json:"initial_sync,omitempty"`
	Idle        *IdleReport  `json:"idle,omitempty"`

	Server    *Usage           `json:"server,omitempty"` // nil if nothing could be read
	Generator Usage            `json:"generator"`
	Errors    map[string]int64 `json:"errors,omitempty"` // answers and failures after the setup, by status and errcode
	Retries   int64            `json:"retries"`
	Limited   int64            `json:"rate_limited"` // answers 429
	Notes     []string         `json:"notes,omitempty"`
}

// Shape is the load that was asked for.
type Shape struct {
	URLs     []string `json:"urls"`
	Senders  int      `json:"senders"`
	Rooms    int      `json:"rooms"`
	Members  int      `json:"members"`
	Users    int      `json:"users"`
	Syncers  int      `json:"syncers"`
	Rate     float64  `json:"rate"` // 0: closed loop
	Size     int      `json:"size"`
	Receipts float64  `json:"receipts"`
	Idle     int      `json:"idle"`
}

// Usage is what processes used during the measurement.
type Usage struct {
	User       float64 `json:"user_seconds"` // all of it when the source does not tell user and system apart
	Sys        float64 `json:"sys_seconds"`
	PerMessage float64 `json:"cpu_us_per_message"`      // µs
	PerSync    float64 `json:"cpu_us_per_sync_or_send"` // µs for each request of either kind
	RSSMax     int64   `json:"rss_max_bytes"`           // of the largest process
	Source     string  `json:"source"`                  // "proc", "metrics", "self"
}

// JoinsReport is the outcome of the joins scenario.
type JoinsReport struct {
	Joins   int     `json:"joins"`
	Seconds float64 `json:"seconds"` // from the first to the last
	Latency Latency `json:"latency"`
	Missing int     `json:"missing"` // joined, and not in the room's list of members
}

// SyncReport is the outcome of the initial-sync scenario.
type SyncReport struct {
	Rooms        int     `json:"rooms"`
	Bytes        int     `json:"bytes"` // of one initial sync
	Initial      Latency `json:"initial"`
	Incremental  Latency `json:"incremental"`   // with one new message
	Empty        Latency `json:"empty"`         // with nothing new
	MissingRooms int     `json:"missing_rooms"` // rooms that an initial sync lacked
	Late         int     `json:"late"`          // acknowledged messages that the next sync did not hold
}

// IdleReport says what long-polling clients cost the server.
type IdleReport struct {
	Clients       int     `json:"clients"`
	Users         int     `json:"users"`
	Polls         float64 `json:"polls_per_second"`
	RSSPerClient  int64   `json:"rss_per_client_bytes"`  // growth of the RSS
	HeapPerClient int64   `json:"heap_per_client_bytes"` // growth of Go heap and stacks in use; 0 if not known
	MostPerClient int64   `json:"most_per_client_bytes"` // the whole RSS, divided
}

// Faults is the number of broken promises, 0 for a good run.
func (r *Report) Faults() int64 {
	n := r.Delivered.Faults() + r.History.Faults()
	if r.Joins != nil {
		n += int64(r.Joins.Missing)
	}
	if r.InitialSync != nil {
		n += int64(r.InitialSync.MissingRooms)
	}
	return n
}

func (r *Report) writeJSON(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// Table writes the report for people.
func (r *Report) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	s := r.Load
	line(r.Scenario, "%s in %d rooms of %d, %s, %s syncing, %s; seed %d", plural(s.Senders, "sender"), s.Rooms, s.Members,
		plural(s.Users, "user"), number(int64(s.Syncers)), pace(s.Rate), r.Seed)
	line("time", "%.1f s measured, %.1f s setup, %.1f s drain, %d CPUs", r.Seconds, r.Setup, r.Drain, r.CPUs)
	if r.Total+r.Failed > 0 {
		line("messages", "%.1f/s, %s acknowledged, %s failed", r.Throughput, number(r.Acknowledged), number(r.Failed)+unsent(r.Unsent))
	}
	if r.Syncs > 0 {
		line("deliveries", "%.0f/s in %.0f syncs/s, %s backfilled, %.0f receipts/s", r.Deliveries, r.Syncs, number(r.Backfills), r.Receipts)
	}
	line("bytes", "%s to the generator, %s from it", size(r.BytesIn), size(r.BytesOut))
	r.tableOfLatencies(line)
	r.tableOfChecks(line)
	r.tableOfUsage(line)
	for _, what := range slices.Sorted(maps.Keys(r.Errors)) {
		line("error", "%s × %s", what, number(r.Errors[what]))
	}
	if r.Retries+r.Limited > 0 {
		line("retries", "%s, of them rate-limited %s", number(r.Retries), number(r.Limited))
	}
	for _, s := range r.Stalled {
		line("stalled", "%s", s)
	}
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	return w.Flush()
}

func (r *Report) tableOfLatencies(line func(name, format string, args ...any)) {
	rows := []struct {
		name string
		l    Latency
	}{{"send", r.Send}, {"delivery", r.Delivery}}
	if r.Load.Rate > 0 {
		rows = slices.Insert(rows, 1, struct {
			name string
			l    Latency
		}{"send (service)", r.Service})
	}
	for _, row := range rows {
		if row.l.Count > 0 {
			line(row.name, "%s", row.l)
		}
	}
	if j := r.Joins; j != nil {
		line("joins", "%s in %.2f s, %.0f/s, %d missing from the members", number(int64(j.Joins)), j.Seconds, float64(j.Joins)/j.Seconds, j.Missing)
		line("join", "%s", j.Latency)
	}
	if s := r.InitialSync; s != nil {
		line("initial sync", "%s, %d rooms, %s, %d rooms missing", s.Initial, s.Rooms, size(int64(s.Bytes)), s.MissingRooms)
		line("incremental", "%s, %d late", s.Incremental, s.Late)
		line("nothing new", "%s", s.Empty)
	}
	if i := r.Idle; i != nil {
		line("idle", "%s of %s, %.0f polls/s", plural(i.Clients, "client"), plural(i.Users, "user"), i.Polls)
		heap := ""
		if i.HeapPerClient > 0 {
			heap = ", heap and stacks grew by " + size(i.HeapPerClient)
		}
		line("per client", "RSS grew by %s%s; the whole RSS is %s", size(i.RSSPerClient), heap, size(i.MostPerClient))
	}
}

func (r *Report) tableOfChecks(line func(name, format string, args ...any)) {
	for _, c := range []struct {
		name string
		StreamChecks
	}{{"members", r.Delivered}, {"histories", r.History}} {
		if c.Streams == 0 {
			continue
		}
		extra := ""
		if c.Misplaced+c.WrongID > 0 {
			extra = fmt.Sprintf(", %d misplaced, %d under a wrong id", c.Misplaced, c.WrongID)
		}
		if c.Uncertain > 0 {
			extra += fmt.Sprintf(", %d not comparable", c.Uncertain)
		}
		line(c.name, "%s events in %s streams: lost %d, duplicated %d, reordered %d, diverged %d%s", number(c.Events),
			number(int64(c.Streams)), c.Lost, c.Duplicated, c.Reordered, c.Diverged, extra)
	}
}

func (r *Report) tableOfUsage(line func(name, format string, args ...any)) {
	show := func(name string, u Usage) {
		per := ""
		if u.PerMessage > 0 {
			per = fmt.Sprintf(", %.0f µs/message, %.0f µs/request", u.PerMessage, u.PerSync)
		}
		line(name, "%.2f s CPU (%.2f user, %.2f system)%s, RSS at most %s", u.User+u.Sys, u.User, u.Sys, per, size(u.RSSMax))
	}
	if r.Server != nil {
		show("server", *r.Server)
	}
	show("generator", r.Generator)
}

func (l Latency) String() string {
	return fmt.Sprintf("p50 %s  p95 %s  p99 %s  max %s", millis(l.P50), millis(l.P95), millis(l.P99), millis(l.Max))
}

func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

func size(n int64) string {
	switch {
	case n < 10_000 && n > -10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000 && n > -10_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// number writes n with thousands set apart.
func number(n int64) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 && s[len(s)-4] != '-' {
		parts = append(parts, s[len(s)-3:])
		s = s[:len(s)-3]
	}
	parts = append(parts, s)
	slices.Reverse(parts)
	return strings.Join(parts, ",")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(int64(n)) + " " + what + "s"
}

func pace(rate float64) string {
	if rate == 0 {
		return "closed loop"
	}
	return fmt.Sprintf("open loop at %g/s", rate)
}

func unsent(n int64) string {
	if n == 0 {
		return ""
	}
	return ", " + number(n) + " never sent"
}

func cpus() int { return runtime.GOMAXPROCS(0) }
