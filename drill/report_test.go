package drill

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// sample report: four seconds, a fire at 1 s.
func sampleReport() *Report {
	r := newReport(Config{Scenario: "full", Seed: 7, Sites: 3})
	r.Started, r.Machine, r.Build = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "linux/amd64, 2 processors", "v1"
	in := incident()
	in.At, in.Healed, in.Settled = time.Second, 2*time.Second, 3*time.Second
	out := &Incident{Name: "kill all <sites>", At: 3 * time.Second, Healed: 3200 * ms, Settled: 3800 * ms, Lost: 3}
	r.Incidents = []*Incident{in, out}
	for at := time.Duration(0); at < 4*time.Second; at += 100 * ms {
		status := 200
		if at > 900*ms && at < 1200*ms {
			status = 0
		}
		r.calls = append(r.calls, call{Began: at, Took: 4*ms + at/1000, Kind: "write", Status: status})
	}
	r.Findings = []Finding{{Promise: 1, Text: "lost: \"<a>\" & more"}, {Promise: 1, Text: "lost: \"<a>\" & more"}}
	r.judged = true
	r.Load, r.Probes, r.Operations = "3 sends", "4 sends", 5
	return r
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{JSON: filepath.Join(dir, "r.json"), Report: filepath.Join(dir, "r.html")}
	r := sampleReport()
	if err := r.finish(cfg); err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) != 1 || r.Promises[0].Verdict != broken || r.Promises[4].Verdict != kept || r.Promises[5].Verdict != notTested {
		t.Errorf("findings %q, promises %+v", r.Findings, r.Promises)
	}
	if r.Recovery.N != 1 || r.Recovery.Min != 900*ms || r.Recovery.Max != 900*ms {
		t.Errorf("recovery %+v", r.Recovery)
	}
	got, err := os.ReadFile(cfg.Report)
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.html")
	if *rewrite {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(got) != string(want) {
		t.Errorf("the page is not what testdata/report.html has (%v); -rewrite writes it anew:\n%s", err, got)
	}
	for _, outside := range []string{"http://", "https://", "<script", "src=", "@import", "ZgotmplZ", "<sites>", "<a>", "NaN"} {
		if strings.Contains(string(got), outside) {
			t.Errorf("the page has %q", outside)
		}
	}
	text, err := os.ReadFile(cfg.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Seed     uint64
		Findings []Finding
		Calls    []call
	}
	if err := json.Unmarshal(text, &back); err != nil || back.Seed != 7 || len(back.Calls) != 40 || len(back.Findings) != 1 {
		t.Errorf("%+v, %v", back, err)
	}
	if err := r.finish(Config{JSON: dir}); err == nil {
		t.Error("a report that cannot be written: no error")
	}
}

// A promise that nothing has put to the test is not called kept.
func TestNotTested(t *testing.T) {
	three, one := siteNames[:3], siteNames[:1]
	minority := &Incident{Lost: 1, minority: true}
	for name, c := range map[string]struct {
		r    Report
		want string // a letter for each promise: k or n
	}{
		"a fire":             {Report{Sites: three, judged: true, Incidents: []*Incident{minority}}, "kkkkknkk"},
		"a majority gone":    {Report{Sites: three, judged: true, Incidents: []*Incident{{Lost: 2}}}, "kkkknkkk"},
		"everything gone":    {Report{Sites: three, judged: true, Incidents: []*Incident{{Lost: 3}}}, "kkkknnkk"},
		"a cut between two":  {Report{Sites: three, judged: true, Incidents: []*Incident{{}}}, "kkkknnkk"},
		"a single node":      {Report{Sites: one, judged: true, Incidents: []*Incident{{Lost: 1}}}, "knkknnnn"},
		"ended before judge": {Report{Sites: three, Incidents: []*Incident{minority}}, "knnnknnn"},
	} {
		if err := c.r.finish(Config{}); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, p := range c.r.Promises {
			got += p.Verdict[:1]
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	r := sampleReport()
	if err := r.finish(Config{}); err != nil {
		t.Fatal(err)
	}
	newView(&b).table(r)
	for _, want := range []string{"burn busan", "900ms", "1 A 200 means kept", "broken", "not tested", "BROKEN promise 1: lost", "--seed 7"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	r.Findings = nil
	if err := r.finish(Config{}); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	newView(&b).table(r)
	if !strings.Contains(b.String(), "every promise was kept (seed 7)") || strings.Contains(b.String(), "broken") {
		t.Error(b.String())
	}
}

func TestNice(t *testing.T) {
	for v, want := range map[float64]float64{1: 1, 1.1: 2, 3: 4, 5: 8, 9: 10, 130: 200, 0.3: 0.4} {
		if got := nice(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("nice(%g) = %g, want %g", v, got, want)
		}
	}
}

func TestLastSecond(t *testing.T) {
	calls := []call{{Began: 0, Took: ms, Kind: "write", Status: 200}, {Began: 2 * time.Second, Took: 30 * ms, Kind: "write", Status: 200},
		{Began: 2 * time.Second, Took: ms, Kind: "sync", Status: 200}, {Began: 2 * time.Second, Took: ms, Kind: "read", Status: 503}}
	if got := lastSecond(calls, 2500*ms); got != "1 writes/s, slowest 30ms, 1 reads/s, 1 attempts failed" {
		t.Error(got)
	}
}
