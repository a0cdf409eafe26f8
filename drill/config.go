package drill

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"bongsu/errs"
)

// Config says what is drilled. The zero value is the default drill. The tags are for the command line.
type Config struct {
	Scenario    string        `arg:"" optional:"" help:"What happens: ${enum_scenarios}. Default: full." placeholder:"NAME"`
	Short       bool          `help:"A short form of the drill, well under a minute: what the tests of this project run."`
	Seed        uint64        `help:"Seed of the schedule, to repeat one. Default: a new one, printed."`
	Sites       int           `help:"Sites of the cluster: 1, 3 or 5. Default: 3." placeholder:"N"`
	Rate        float64       `help:"Writes per second, about. Default: 120." placeholder:"N"`
	Rounds      int           `help:"Faults in the scenario random. Default: 8." placeholder:"N"`
	Burns       int           `help:"Burn so many sites in a row, chosen at random, under load, and report how long recovery took." placeholder:"N"`
	Pause       time.Duration `help:"Undisturbed load before and between faults. Default: 5s."`
	Bin         string        `help:"The program to drill. Default: this one." placeholder:"FILE"`
	Dir         string        `help:"Where the sites live. Default: a directory of its own, removed at the end." placeholder:"DIR"`
	Keep        bool          `help:"Keep data and logs in any case; after a failure they are kept anyway."`
	Checkpoints time.Duration `help:"How often sites write checkpoints and trim their journals, so that a burned site comes back by a checkpoint. Default: 10s." placeholder:"TIME"`
	Netns       bool          `help:"Put each site into a network namespace of its own, with the distances of three towns between them; needs root."`
	UpgradeFrom string        `help:"An older program, with which the scenario upgrade begins; it ends with the one that is drilled." placeholder:"FILE"`
	Plant       string        `help:"Weaken the servers on purpose, to see that the drill notices: ${enum_plants}." placeholder:"NAME"`
	Against     []string      `help:"Watch a cluster that runs, at the base URLs of its sites, with commas between them: load and checks, and no faults but those that you cause yourself." placeholder:"URL"`
	Duration    time.Duration `help:"How long to watch, with --against. Default: 2m." placeholder:"TIME"`
	UserPrefix  string        `help:"What the names of the accounts begin with that are made with --against, and deactivated in the end. Default: drill-SEED-." placeholder:"TEXT"`
	JSON        string        `name:"json" help:"Write everything that was measured to a file." placeholder:"FILE"`
	Report      string        `help:"Write a report that a browser shows to a file." placeholder:"FILE"`

	WritesBack   time.Duration `help:"Longest time until a partition takes writes again after a site is lost; longer is a violation. Default: 3s."`
	ClientsBack  time.Duration `help:"Longest time until clients of a lost site read elsewhere; longer is a violation. Default: 2s."`
	Stall        time.Duration `help:"Longest pause of writes while a site comes back; longer is a violation. Default: 2s."`
	Interruption time.Duration `help:"Longest interruption of partitions that the lost site did not lead; longer is a violation. Default: measured only."`
}

// rollback is the plant that needs no help of the servers: all sites come back with an old copy of their data. With ignoreHole a server
// goes over what its journal has lost.
const (
	rollback   = "rollback"
	ignoreHole = "ignore-hole"
)

// upgrading is the scenario that needs a second program.
const upgrading = "upgrade"

// plants are the weaknesses that a server can be asked to have, and rollback.
func plants() []string {
	return []string{rollback, "ack-early", "forget-txn", "skip-record", ignoreHole}
}

// Vars are the words that the help texts of Config's flags use.
func Vars() map[string]string {
	return map[string]string{"enum_scenarios": strings.Join(scenarioNames(), ", "), "enum_plants": strings.Join(plants(), ", ")}
}

// resolve fills in defaults and says what cannot be. Errors are of kind Invalid.
func (c Config) resolve() (Config, error) {
	if c.Against != nil || c.Duration != 0 || c.UserPrefix != "" {
		if err := c.resolveAgainst(); err != nil {
			return c, err
		}
	}
	if c.Burns > 0 {
		if c.Scenario != "" && c.Scenario != "burns" {
			return c, invalid("--burns is a scenario of its own: leave %s out", c.Scenario)
		}
		c.Scenario = "burns"
	}
	if c.UpgradeFrom != "" {
		setDefault(&c.Scenario, upgrading)
	}
	if c.Plant == ignoreHole {
		setDefault(&c.Scenario, "flips")      // so that something is lost
		setDefault(&c.Checkpoints, time.Hour) // so that rows are made of the journal, and nothing else
	}
	setDefault(&c.Scenario, "full")
	setDefault(&c.Sites, 3)
	setDefault(&c.Rate, 120)
	setDefault(&c.Rounds, 8)
	setDefault(&c.Burns, 10)
	setDefault(&c.Pause, 5*time.Second)
	setDefault(&c.Checkpoints, 10*time.Second)
	setDefault(&c.WritesBack, 3*time.Second)
	setDefault(&c.ClientsBack, 2*time.Second)
	setDefault(&c.Stall, 2*time.Second)
	if c.Short {
		c.Pause = min(c.Pause, 2*time.Second)
	}
	if c.Seed == 0 {
		c.Seed = uint64(rand.Uint32()) + 1
	}
	if c.Against != nil {
		c.Scenario, c.Sites = against, len(c.Against)
		setDefault(&c.UserPrefix, fmt.Sprintf("drill-%d-", c.Seed))
		return c, c.check()
	}
	if c.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			return c, errs.Wrap("drill", err)
		}
		c.Bin = self
	}
	switch {
	case !slices.Contains(scenarioNames(), c.Scenario):
		return c, invalid("there is no scenario %q: take one of %s", c.Scenario, strings.Join(scenarioNames(), ", "))
	case (c.UpgradeFrom != "") != (c.Scenario == upgrading):
		return c, invalid("the scenario %s and --upgrade-from=FILE, which names an older program, need each other", upgrading)
	case c.Sites != 1 && c.Sites != 3 && c.Sites != 5:
		return c, invalid("a cluster has 3 or 5 sites (or is a single node, 1), not %d", c.Sites)
	case c.Rounds < 1 || c.Burns < 1 || c.Rounds > 10_000 || c.Burns > 10_000:
		return c, invalid("rounds and burns must be from 1 to 10000")
	case c.Checkpoints < time.Second || c.Checkpoints > 24*time.Hour:
		return c, invalid("checkpoints must be between a second and a day apart")
	case c.Plant != "" && !slices.Contains(plants(), c.Plant):
		return c, invalid("there is no plant %q: take one of %s", c.Plant, strings.Join(plants(), ", "))
	}
	return c, c.check()
}

// check refuses what cannot be, of what belongs to every drill.
func (c Config) check() error {
	switch {
	case c.Rate < 1 || c.Rate > 10_000:
		return invalid("the rate must be from 1 to 10000 writes per second, not %g", c.Rate)
	case c.Pause < 0 || c.Pause > time.Hour:
		return invalid("the pause must be at most an hour")
	}
	return nil
}

// against is the name of what is not a scenario: nothing is done to the cluster.
const against = "against"

// The defaults with --against: the drill's clients find out by themselves that a site is away, and the ways are long.
const (
	watchFor           = 2 * time.Minute
	watchRate          = 20
	watchedWritesBack  = 5 * time.Second
	watchedClientsBack = 4 * time.Second
)

// resolveAgainst is resolve of what belongs to --against.
func (c *Config) resolveAgainst() error {
	if len(c.Against) == 0 {
		return invalid("--duration and --user-prefix belong to --against=URL,URL,URL")
	}
	for flag, set := range map[string]bool{"a scenario": c.Scenario != "", "--short": c.Short, "--sites": c.Sites != 0, "--burns": c.Burns != 0,
		"--rounds": c.Rounds != 0, "--bin": c.Bin != "", "--dir": c.Dir != "", "--keep": c.Keep, "--checkpoints": c.Checkpoints != 0, "--netns": c.Netns,
		"--upgrade-from": c.UpgradeFrom != "", "--plant": c.Plant != ""} {
		if set {
			return invalid("with --against the drill does nothing to the cluster but load: leave %s out", flag)
		}
	}
	setDefault(&c.Duration, watchFor)
	setDefault(&c.Rate, watchRate)
	setDefault(&c.WritesBack, watchedWritesBack)
	setDefault(&c.ClientsBack, watchedClientsBack)
	if c.Duration < time.Second || c.Duration > 24*time.Hour {
		return invalid("the duration must be from a second to a day, not %v", c.Duration)
	}
	if len(c.Against) > len(siteNames) {
		return invalid("a cluster has at most %d sites, and not %d", len(siteNames), len(c.Against))
	}
	return nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
