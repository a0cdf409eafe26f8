package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Status is what the drill reads of a site's /_bongsu/status.
type Status struct {
	Server     string            `json:"server"`  // the server's name
	Cluster    string            `json:"cluster"` // the cluster's name
	Site       string            `json:"site"`
	Rules      uint16            `json:"rules"` // the newest version that the program knows
	Writes     string            `json:"writes"`
	Failures   int64             `json:"failures"`
	Partitions []PartitionStatus `json:"partitions"`
}

// PartitionStatus is what the drill reads of a partition.
type PartitionStatus struct {
	Partition  int    `json:"partition"`
	Applied    uint64 `json:"applied"`
	Stored     uint64 `json:"stored"` // by the site's own journal
	Digest     string `json:"digest"`
	Rules      uint16 `json:"rules"`   // in force
	WallMS     int64  `json:"wall_ms"` // its time
	Leader     string `json:"leader"`  // the site that leads it; "" unknown
	Error      string `json:"error"`
	Divergence string `json:"divergence"`

	Sites []KnownSite `json:"sites"`
}

// KnownSite is what a partition was told by a site.
type KnownSite struct {
	Site  string `json:"site"`
	Rules uint16 `json:"rules"` // the newest version that its program knows
}

// healthPath is where a load balancer asks.
const healthPath = "/health"

// statusWithin bounds one question for the status.
const statusWithin = 2 * time.Second

// Status asks the site how it stands.
func (s *Site) Status(ctx context.Context) (*Status, error) {
	var st Status
	if err := s.ask(ctx, "/_bongsu/status", &st); err != nil {
		return nil, err
	}
	return &st, nil
}

// Healthy asks the site whether it wants requests.
func (s *Site) Healthy(ctx context.Context) error { return s.ask(ctx, s.alive, nil) }

// ask reads a small document over a connection of its own, so that a frozen site keeps nobody waiting later.
func (s *Site) ask(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+path, nil)
	if err != nil {
		return err
	}
	rt := &http.Transport{DisableKeepAlives: true}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %.200s", path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// behind says what a site still lacks to the positions of goal, or nil.
func (st *Status) behind(goal map[int]uint64) error {
	if len(st.Partitions) < len(goal) {
		return fmt.Errorf("it has %d of %d partitions", len(st.Partitions), len(goal))
	}
	for _, p := range st.Partitions {
		if p.Error != "" {
			return errors.New(p.Error)
		}
		if p.Applied < goal[p.Partition] {
			return fmt.Errorf("partition %d is at %d, and should be at %d", p.Partition, p.Applied, goal[p.Partition])
		}
		if p.Stored < goal[p.Partition] {
			return fmt.Errorf("its own journal holds partition %d up to %d, and should up to %d", p.Partition, p.Stored, goal[p.Partition])
		}
	}
	return nil
}

// partitions is how many there are, or if nobody tells, as many as there usually are.
func (c *Cluster) partitions(ctx context.Context) int {
	for _, s := range c.telling().Sites {
		if st, err := s.Status(ctx); err == nil {
			return len(st.Partitions)
		}
	}
	return 4
}

// leaders are the sites that lead the partitions, by the first site that knows; "" where nobody does.
func (c *Cluster) leaders(ctx context.Context) []string {
	var all []string
	for _, s := range c.telling().living().Sites {
		st, err := s.Status(ctx)
		if err != nil {
			continue
		}
		for i, p := range st.Partitions {
			if i == len(all) {
				all = append(all, "")
			}
			if all[i] == "" {
				all[i] = p.Leader
			}
		}
	}
	return all
}

// digests compares the states of all sites wherever two of them are at the same position, until every pair of sites has met in
// every partition or the time is over.
type digests struct {
	at  map[point]map[string]string // digest by site
	met map[string]bool             // "partition siteA siteB"
}

type point struct {
	partition int
	position  uint64
}

func newDigests() *digests {
	return &digests{at: map[point]map[string]string{}, met: map[string]bool{}}
}

// add takes in a status, and says where it differs from another site's.
func (d *digests) add(site string, st *Status) []string {
	var findings []string
	for _, p := range st.Partitions {
		if p.Divergence != "" {
			findings = append(findings, fmt.Sprintf("digest: %s, partition %d: %s", site, p.Partition, p.Divergence))
		}
		pt := point{p.Partition, p.Applied}
		if d.at[pt] == nil {
			d.at[pt] = map[string]string{}
		}
		for other, digest := range d.at[pt] {
			if other == site {
				continue
			}
			d.met[fmt.Sprint(p.Partition, min(site, other), max(site, other))] = true
			if digest != p.Digest {
				findings = append(findings, fmt.Sprintf("digest: %s and %s hold different states of partition %d at %d",
					min(site, other), max(site, other), p.Partition, p.Applied))
			}
		}
		d.at[pt][site] = p.Digest
	}
	return findings
}

// digestsWithin bounds the wait for sites to be at the same position.
const digestsWithin = 30 * time.Second

// compareDigests compares the digests of all sites. Sites that never meet are a finding too: one of them stands still.
func (c *Cluster) compareDigests(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, digestsWithin)
	defer cancel()
	d := newDigests()
	found := map[string]bool{}
	partitions := 0
	for {
		for _, s := range c.Sites {
			st, err := s.Status(ctx)
			if err != nil {
				continue
			}
			partitions = max(partitions, len(st.Partitions))
			for _, f := range d.add(s.Name, st) {
				found[f] = true
			}
		}
		if missing := d.missing(c, partitions); missing == "" {
			break
		} else if ctx.Err() != nil {
			found["digest: "+missing] = true
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// missing names two sites that were not yet seen at the same position, or "".
func (d *digests) missing(c *Cluster, partitions int) string {
	if partitions == 0 {
		return "no site tells its status"
	}
	for p := range partitions {
		for i, a := range c.Sites {
			for _, b := range c.Sites[i+1:] {
				if !d.met[fmt.Sprint(p, min(a.Name, b.Name), max(a.Name, b.Name))] {
					return fmt.Sprintf("%s and %s were never at the same position of partition %d", a.Name, b.Name, p)
				}
			}
		}
	}
	return ""
}
