package drill

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"bongsu/errs"
)

// words are a schedule as text.
func words(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		if s.late != nil {
			s.fault = s.late([]string{"busan", "seoul", "busan", ""})
		}
		fmt.Fprintln(&b, s.pause, s.fault.Name, s.fault.Lost, s.fault.Wipe, s.hold)
	}
	return b.String()
}

func TestSchedules(t *testing.T) {
	for _, sc := range scenarios() {
		for _, sites := range []int{1, 3, 5} {
			if sites < sc.sites {
				continue
			}
			for seed := range uint64(50) {
				cfg := Config{Scenario: sc.name, Sites: sites, Seed: seed + 1, Bin: "x"}
				if sc.name == upgrading {
					cfg.UpgradeFrom = "y"
				}
				cfg, err := cfg.resolve()
				if err != nil {
					t.Fatal(err)
				}
				steps := schedule(cfg, sc)
				if len(steps) == 0 || words(steps) != words(schedule(cfg, sc)) {
					t.Fatalf("%s with %d sites and seed %d is not repeated:\n%s", sc.name, sites, seed, words(steps))
				}
				for _, s := range steps {
					if s.late != nil {
						s.fault = s.late(nil)
					}
					if f := s.fault; f.inject == nil || f.heal == nil || len(f.Lost)+len(f.Slow) == 0 != f.Measured || slices.Max(append(f.Lost, 0)) >= sites ||
						len(slices.Compact(slices.Sorted(slices.Values(f.Lost)))) != len(f.Lost) {
						t.Errorf("%s: %+v", sc.name, f)
					}
					for _, w := range s.fault.Wipe { // a burn of two would lose data: no promise covers it
						if len(s.fault.Wipe) > 1 || !slices.Contains(s.fault.Lost, w) {
							t.Errorf("%s wipes %v and loses %v", sc.name, s.fault.Wipe, s.fault.Lost)
						}
					}
				}
			}
		}
	}
	cfg, _ := Config{Scenario: "random", Seed: 1, Bin: "x"}.resolve()
	other := cfg
	other.Seed = 2
	sc, err := scenarioOf(cfg)
	if err != nil || words(schedule(cfg, sc)) == words(schedule(other, sc)) {
		t.Errorf("two seeds have the same schedule, %v", err)
	}
}

// A fault of a leader hits the site that leads when it is due.
func TestLeaderFault(t *testing.T) {
	cfg, _ := Config{Scenario: "leader", Seed: 5, Bin: "x"}.resolve()
	sc, err := scenarioOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range siteNames[:3] {
		for _, s := range schedule(cfg, sc) {
			if f := s.late([]string{name, name, name, name}); !strings.HasSuffix(f.Name, name) {
				t.Errorf("%s leads all, and the fault is %q", name, f.Name)
			}
		}
	}
}

func TestMinority(t *testing.T) {
	for _, c := range []struct {
		lost, sites int
		want        bool
	}{{1, 3, true}, {2, 3, false}, {3, 3, false}, {2, 5, true}, {3, 5, false}, {1, 1, false}} {
		if got := crash(all(c.lost)...).Minority(c.sites); got != c.want {
			t.Errorf("%d of %d: %v", c.lost, c.sites, got)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for want, cfg := range map[string]Config{
		"there is no scenario":      {Scenario: "flood"},
		"a cluster has 3 or 5":      {Sites: 2},
		"from 1 to 10000 writes":    {Rate: 1e6},
		"must be from 1 to 10000":   {Rounds: -1},
		"there is no plant":         {Plant: "ivy"},
		"must be at most an hour":   {Pause: 2 * time.Hour},
		"a scenario of its own":     {Scenario: "full", Burns: 3},
		"the scenario full needs 3": {Sites: 1},
		"add --netns":               {Scenario: "cuts"},
		"need each other":           {Scenario: "upgrade"},
		"an older program, need":    {Scenario: "full", UpgradeFrom: "x"},
		"belong to --against":       {Duration: time.Minute},
		"leave a scenario out":      {Against: []string{"http://x"}, Scenario: "burns"},
		"leave --plant out":         {Against: []string{"http://x"}, Plant: "rollback"},
		"from a second to a day":    {Against: []string{"http://x"}, Duration: time.Millisecond},
		"at most 5 sites":           {Against: make([]string, 6)},
		"is no base URL":            {Against: []string{"x"}},
	} {
		_, err := Run(t.Context(), cfg, io.Discard)
		if err == nil || !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	if os.Getuid() != 0 {
		if _, err := scenarioOf(Config{Scenario: "power", Sites: 3}); !errs.Is(err, errs.Forbidden) {
			t.Errorf("disks without root: %v", err)
		}
	}
}

// The tags of Config are what kong expects.
func TestConfigOnTheCommandLine(t *testing.T) {
	var cli struct {
		Drill Config `cmd:""`
	}
	p, err := kong.New(&cli, kong.Exit(func(int) {}), kong.Vars(Vars()))
	if err == nil {
		_, err = p.Parse([]string{"drill", "burns", "--burns=5", "--seed", "7", "--short", "--rate", "80", "--report", "x.html", "--writes-back=5s",
			"--against", "http://a,http://b"})
	}
	c := cli.Drill
	if err != nil || c.Scenario != "burns" || c.Burns != 5 || c.Seed != 7 || !c.Short || c.Rate != 80 || len(c.Against) != 2 || c.WritesBack != 5*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
	c.Against = nil
	if c, err = c.resolve(); err != nil || c.Sites != 3 || c.ClientsBack != 2*time.Second || c.Pause != 2*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestFlipBit(t *testing.T) {
	dir := t.TempDir()
	small, large := filepath.Join(dir, "1.blk"), filepath.Join(dir, "2.blk")
	before := []byte(strings.Repeat("journal ", 100))
	for name, data := range map[string][]byte{small: before[:10], large: before, filepath.Join(dir, "3.sst"): before} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(3, 0))
	if err := flipBit(dir, kinds["journal"], rng); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(large)
	if err != nil {
		t.Fatal(err)
	}
	bits := 0
	for i := range after {
		for b := before[i] ^ after[i]; b > 0; b >>= 1 {
			bits += int(b & 1)
		}
	}
	if bits != 1 || len(after) != len(before) {
		t.Errorf("%d bits of the largest file changed", bits)
	}
	if err := flipBit(dir, kinds["files"], rng); err == nil || !strings.Contains(err.Error(), "no file to damage") {
		t.Errorf("nothing to damage: %v", err)
	}
}
