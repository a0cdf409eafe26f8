package bench

import (
	"net"
	"net/url"
	"strings"
	"time"

	"bongsu/errs"
)

// Config says what load to make. Zero values mean "what the scenario says"; a negative number or duration means none where
// the scenario has some. The kong tags make it a subcommand.
type Config struct {
	Scenario string `arg:"" optional:"" default:"send" enum:"send,sync,steady,initial-sync,joins,idle" help:"What to measure: send (64 senders, nobody syncing), sync (the same with 200 users syncing), steady (500 messages/s with 200 users syncing), initial-sync (a user in 100 rooms), joins (1,000 joins to one room), idle (10,000 long-polling clients)."`

	URLs           []string `name:"url" sep:"," default:"http://127.0.0.1:8008" help:"Base URL of the server; repeat for several sites. Clients spread over them and move on when one fails."`
	IOwnThisServer bool     `name:"i-own-this-server" help:"Allow URLs that are not on this machine."`

	Senders  int           `help:"Users that send, each with one message in flight." placeholder:"N"`
	Rooms    int           `help:"Rooms to make." placeholder:"N"`
	Members  int           `help:"Members of each room." placeholder:"N"`
	Users    int           `help:"Users to make; by default so many that each is in four rooms." placeholder:"N"`
	Syncers  int           `help:"Users that run a sync loop; -1 for none." placeholder:"N"`
	Rate     float64       `help:"Messages per second, all senders together; -1 for a closed loop, as fast as possible." placeholder:"R"`
	Duration time.Duration `help:"How long to measure." placeholder:"D"`
	Warmup   time.Duration `help:"Load before the measurement; -1s for none." placeholder:"D"`
	Messages int           `help:"Stop after so many messages, if sooner than the duration." placeholder:"N"`
	Size     int           `help:"Length of a message's text in bytes." placeholder:"BYTES"`
	Receipts float64       `help:"Share of deliveries (0 to 1) that are answered with a read receipt." placeholder:"F"`

	Idle      int `help:"Clients that long-poll and do nothing else." placeholder:"N"`
	IdleUsers int `help:"Users that the idle clients share." placeholder:"N"`

	Prefix       string `help:"Beginning of the user names." default:"bench"`
	Seed         uint64 `help:"Names users and draws memberships; the same seed uses the same users again. Random by default." placeholder:"N"`
	UsersFile    string `help:"Keep the users' tokens here and use them again in the next run." type:"path" placeholder:"FILE"`
	SetupWorkers int    `help:"Requests in flight while users and rooms are made." placeholder:"N"`
	RoomVersion  string `help:"Version of the rooms; the server's default if empty." placeholder:"V"`

	SyncTimeout    time.Duration `help:"Long-poll timeout of a sync." placeholder:"D"`
	TimelineLimit  int           `help:"Timeline limit of the sync filter." placeholder:"N"`
	RequestTimeout time.Duration `help:"Time for one attempt of a request; a sync has its long-poll timeout in addition." placeholder:"D"`
	GiveUp         time.Duration `help:"How long to retry one message before it counts as failed." placeholder:"D"`
	Drain          time.Duration `help:"How long to wait at the end until everything acknowledged is delivered." placeholder:"D"`
	NoReadBack     bool          `help:"Do not read the rooms' histories at the end to check them."`

	ServerPIDs []int  `name:"server-pid" help:"Process id of the server, for its CPU time and memory; repeat for several. Without it /metrics is read." placeholder:"PID"`
	JSON       string `name:"json" help:"Write the report as JSON to this file." type:"path" placeholder:"FILE"`
}

// The scenarios.
const (
	scenarioSend        = "send"
	scenarioSync        = "sync"
	scenarioSteady      = "steady"
	scenarioInitialSync = "initial-sync"
	scenarioJoins       = "joins"
	scenarioIdle        = "idle"
)

// preset is what a scenario says about the fields that the caller left at zero; ok is false if there is no such scenario.
func preset(scenario string) (c Config, ok bool) {
	c = Config{
		URLs: []string{"http://127.0.0.1:8008"}, Prefix: "bench", Size: 100, IdleUsers: 50, SetupWorkers: 8,
		SyncTimeout: 30 * time.Second, TimelineLimit: 50, RequestTimeout: 15 * time.Second,
		GiveUp: 30 * time.Second, Drain: 30 * time.Second,
		Senders: 64, Rooms: 40, Members: 20, Duration: 10 * time.Second, Warmup: 2 * time.Second,
	}
	switch scenario {
	case scenarioSend:
	case scenarioSync:
		c.Syncers = 200
	case scenarioSteady:
		c.Syncers, c.Rate = 200, 500
	case scenarioInitialSync: // Senders is unused; Messages are in each room; Duration bounds the measurement.
		c.Senders, c.Rooms, c.Users, c.Messages, c.Warmup = 0, 100, 40, 20, 0
		c.TimelineLimit = 20 // what apps ask for
	case scenarioJoins: // Members join the one room, Senders at a time.
		c.Senders, c.Rooms, c.Members, c.Duration, c.Warmup = 32, 1, 1000, 0, 0
	case scenarioIdle:
		c.Senders, c.Rooms, c.Idle, c.Duration, c.Warmup = 0, 10, 10_000, 30*time.Second, 0
		c.SyncTimeout = 20 * time.Second
	default:
		return Config{}, false
	}
	return c, true
}

// fill takes from d what is zero in v; negative becomes zero.
func fill[T int | uint64 | float64 | time.Duration](v *T, d T) {
	switch {
	case *v == 0:
		*v = d
	case *v < 0:
		*v = 0
	}
}

func (c *Config) fillFrom(d Config) {
	fill(&c.Senders, d.Senders)
	fill(&c.Rooms, d.Rooms)
	fill(&c.Members, d.Members)
	fill(&c.Users, d.Users)
	fill(&c.Syncers, d.Syncers)
	fill(&c.Rate, d.Rate)
	fill(&c.Duration, d.Duration)
	fill(&c.Warmup, d.Warmup)
	fill(&c.Messages, d.Messages)
	fill(&c.Size, d.Size)
	fill(&c.Idle, d.Idle)
	fill(&c.IdleUsers, d.IdleUsers)
	fill(&c.SetupWorkers, d.SetupWorkers)
	fill(&c.SyncTimeout, d.SyncTimeout)
	fill(&c.TimelineLimit, d.TimelineLimit)
	fill(&c.RequestTimeout, d.RequestTimeout)
	fill(&c.GiveUp, d.GiveUp)
	fill(&c.Drain, d.Drain)
	if c.Prefix == "" {
		c.Prefix = d.Prefix
	}
	if len(c.URLs) == 0 {
		c.URLs = d.URLs
	}
}

// resolve gives every field its final value, or says with kind Invalid or Forbidden what cannot be.
func (c Config) resolve() (Config, []*url.URL, error) {
	if c.Scenario == "" {
		c.Scenario = scenarioSend
	}
	p, ok := preset(c.Scenario)
	if !ok {
		return c, nil, errs.New("bench.Config", errs.Invalid, errs.InvalidParam, "there is no scenario %q", c.Scenario)
	}
	c.fillFrom(p)
	if c.Scenario == scenarioJoins {
		c.Users = c.Members + 1 // the owner was there before
	}
	if c.Users == 0 {
		c.Users = max(c.Members, (c.Rooms*c.Members+3)/4)
	}
	if c.Syncers > c.Users {
		c.Syncers = c.Users
	}
	if err := c.check(); err != nil {
		return c, nil, err
	}
	urls, err := c.baseURLs()
	return c, urls, err
}

func (c Config) check() error {
	bad := func(format string, args ...any) error {
		return errs.New("bench.Config", errs.Invalid, errs.InvalidParam, format, args...)
	}
	for _, f := range []struct {
		name           string
		v, least, most int
	}{
		{"senders", c.Senders, 0, 10_000}, {"rooms", c.Rooms, 1, 100_000}, {"members", c.Members, 1, 100_000},
		{"users", c.Users, 1, 100_000}, {"syncers", c.Syncers, 0, 100_000}, {"messages", c.Messages, 0, 100_000_000},
		{"size", c.Size, minSize, 60_000}, {"idle", c.Idle, 0, 100_000}, {"idle users", c.IdleUsers, 1, 100_000},
		{"setup workers", c.SetupWorkers, 1, 1000}, {"timeline limit", c.TimelineLimit, 1, 1000},
		{"urls", len(c.URLs), 1, 100}, {"members of all rooms", c.Rooms * c.Members, 1, 1_000_000},
	} {
		if f.v < f.least || f.v > f.most {
			return bad("%s must be between %d and %d, not %d", f.name, f.least, f.most, f.v)
		}
	}
	switch {
	case c.Members > c.Users:
		return bad("%d users cannot fill a room of %d members", c.Users, c.Members)
	case !(c.Rate >= 0 && c.Rate <= 1_000_000):
		return bad("the rate must be between 0 and 1,000,000 messages a second")
	case !(c.Receipts >= 0 && c.Receipts <= 1):
		return bad("the share of receipts must be between 0 and 1")
	case c.Duration > 24*time.Hour || c.Warmup > time.Hour || c.GiveUp > time.Hour || c.Drain > time.Hour || c.SyncTimeout > 10*time.Minute:
		return bad("a duration is too long")
	case c.RequestTimeout < time.Millisecond || c.RequestTimeout > 10*time.Minute:
		return bad("the request timeout must be between a millisecond and ten minutes")
	}
	return nil
}

// baseURLs parses the URLs and refuses those of other machines unless the operator vouches for them.
func (c Config) baseURLs() ([]*url.URL, error) {
	const op = "bench.Config"
	var out []*url.URL
	for _, s := range c.URLs {
		u, err := url.Parse(strings.TrimRight(s, "/"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "%q is not a base URL like http://127.0.0.1:8008", s)
		}
		if !c.IOwnThisServer && !isLoopback(u.Hostname()) {
			return nil, errs.New(op, errs.Forbidden, "", "%s is not on this machine; load is only made with --i-own-this-server", s)
		}
		out = append(out, u)
	}
	return out, nil
}

// isLoopback reports whether host names this machine. What "localhost" resolves to is checked again when dialling.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
