package drill_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bongsu/drill"
	"bongsu/harness"
)

// binaries is where the program is built.
var binaries string

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "bongsu-drill"); err != nil {
		panic(err)
	}
	status := m.Run()
	os.RemoveAll(binaries)
	os.Exit(status)
}

// built is the program, built at most once for a run of the tests.
var built = sync.OnceValues(func() (string, error) { return harness.Build(context.Background(), "..", binaries) })

// program is the path of the program under test: BONGSU_BIN, or this tree's.
func program(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("BONGSU_BIN"); bin != "" {
		if _, err := os.Stat(bin); err != nil { // also tells the go command that the result depends on it
			t.Fatal(err)
		}
		return bin
	}
	bin, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// run drills, and shows what it said when the test fails.
func run(t *testing.T, cfg drill.Config) *drill.Report {
	t.Helper()
	dir := t.TempDir()
	cfg.Bin, cfg.Short, cfg.Dir, cfg.Report = program(t), true, filepath.Join(dir, "sites"), filepath.Join(dir, "report.html")
	var out strings.Builder
	report, err := drill.Run(t.Context(), cfg, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if page, err := os.ReadFile(cfg.Report); err != nil || !strings.Contains(string(page), "</html>") {
		t.Errorf("the report: %v", err)
	}
	return report
}

// sound fails the test with what a drill found.
func sound(t *testing.T, report *drill.Report) {
	t.Helper()
	for _, f := range report.Findings {
		t.Error(f)
	}
}

// A site burns and comes back, then all are killed: every promise is kept. The times that are promised are measured, and
// asserted with room for a machine that does other things, too.
func TestDrill(t *testing.T) {
	if testing.Short() {
		t.Skip("a drill takes a while")
	}
	report := run(t, drill.Config{WritesBack: patience, ClientsBack: patience, Stall: patience})
	sound(t, report)
	if len(report.Incidents) != 2 || len(report.Incidents[0].Partitions) == 0 {
		t.Errorf("%d incidents", len(report.Incidents))
	}
}

// patience is what a busy machine may take for what takes a second.
const patience = 15 * time.Second

// BONGSU_DRILL names scenarios that are drilled as well, with commas between them, or "all".
func TestDrillScenarios(t *testing.T) {
	text := os.Getenv("BONGSU_DRILL")
	if text == "" {
		t.Skip("BONGSU_DRILL names no scenario")
	}
	if text == "all" {
		text = drill.Vars()["enum_scenarios"]
	}
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		t.Run(name, func(t *testing.T) {
			cfg := drill.Config{Scenario: name, Netns: name == "cuts"}
			if name == "upgrade" {
				cfg.UpgradeFrom = older(t)
			}
			sound(t, run(t, cfg))
		})
	}
}

// older is a program that knows older rules than the one under test.
func older(t *testing.T) string {
	t.Helper()
	bin, err := harness.Build(t.Context(), "..", t.TempDir(), "rules1")
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// The sites are upgraded under load, one after the other: the new rules wait for the last, and then the older program is refused.
func TestDrillUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("a drill takes a while")
	}
	report := run(t, drill.Config{UpgradeFrom: older(t), WritesBack: patience, ClientsBack: patience, Stall: patience})
	sound(t, report)
	if len(report.Incidents) != 4 {
		t.Errorf("%d incidents", len(report.Incidents))
	}
}

// A drill of an upgrade from a program to itself has no new rules to wait for; one in the wrong direction does not come to its end.
func TestDrillUpgradeDirections(t *testing.T) {
	if os.Getenv("BONGSU_DRILL") == "" {
		t.Skip("BONGSU_DRILL is not set")
	}
	sound(t, run(t, drill.Config{UpgradeFrom: program(t)}))
	dir := t.TempDir()
	var out strings.Builder
	report, err := drill.Run(t.Context(), drill.Config{Bin: older(t), UpgradeFrom: program(t), Short: true, Dir: dir}, &out)
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(report.Findings, func(f drill.Finding) bool { return strings.Contains(f.Text, "run a newer build") }) {
		t.Errorf("an older program ran on newer rules: %q", report.Findings)
	}
}

// A drill that could not fail would prove nothing: a loss that is planted is found.
func TestDrillFindsPlantedLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("a drill takes a while")
	}
	report := run(t, drill.Config{Scenario: "rolling", Sites: 1, Plant: "rollback"})
	if !slices.ContainsFunc(report.Findings, func(f drill.Finding) bool { return f.Promise == 1 && strings.HasPrefix(f.Text, "lost:") }) {
		t.Errorf("the loss was not found: %q", report.Findings)
	}
}

// With BONGSU_DRILL, each weakness that a server can be asked to have is found.
func TestDrillFindsPlants(t *testing.T) {
	if os.Getenv("BONGSU_DRILL") == "" {
		t.Skip("BONGSU_DRILL is not set")
	}
	for plant := range strings.SplitSeq(drill.Vars()["enum_plants"], ", ") {
		t.Run(plant, func(t *testing.T) {
			if report := run(t, drill.Config{Plant: plant}); len(report.Findings) == 0 {
				t.Error("the weakness was not found")
			}
		})
	}
}
