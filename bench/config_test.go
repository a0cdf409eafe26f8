package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"bongsu/errs"
)

func TestScenarios(t *testing.T) {
	for _, name := range []string{"", "send", "sync", "steady", "initial-sync", "joins", "idle"} {
		c, urls, err := Config{Scenario: name}.resolve()
		if err != nil || len(urls) != 1 {
			t.Errorf("%q: %v", name, err)
		}
		switch name {
		case "", "send":
			if c.Senders != 64 || c.Rooms != 40 || c.Members != 20 || c.Users != 200 || c.Syncers != 0 || c.Rate != 0 {
				t.Errorf("send is %+v", c)
			}
		case "sync":
			if c.Syncers != 200 || c.Rate != 0 {
				t.Errorf("sync is %+v", c)
			}
		case "steady":
			if c.Syncers != 200 || c.Rate != 500 {
				t.Errorf("steady is %+v", c)
			}
		case "initial-sync":
			if c.Rooms != 100 {
				t.Errorf("initial-sync is %+v", c)
			}
		case "joins":
			if c.Members != 1000 || c.Rooms != 1 {
				t.Errorf("joins is %+v", c)
			}
		case "idle":
			if c.Idle != 10_000 || c.Senders != 0 {
				t.Errorf("idle is %+v", c)
			}
		}
	}
}

func TestConfigOverrides(t *testing.T) {
	c, _, err := Config{Scenario: "steady", Rooms: 8, Members: 10, Syncers: -1, Rate: -1, Warmup: -1, Duration: time.Second}.resolve()
	if err != nil || c.Users != 20 || c.Syncers != 0 || c.Rate != 0 || c.Warmup != 0 || c.Duration != time.Second || c.Senders != 64 {
		t.Errorf("got %+v, %v", c, err)
	}
	c, _, err = Config{Rooms: 1, Members: 30}.resolve()
	if err != nil || c.Users != 30 {
		t.Errorf("a room of 30 has %d users, %v", c.Users, err)
	}
}

func TestConfigRefusals(t *testing.T) {
	cases := []struct {
		name string
		cfg  Config
		kind errs.Kind
	}{
		{"scenario", Config{Scenario: "burn"}, errs.Invalid},
		{"not a URL", Config{URLs: []string{"127.0.0.1:8008"}}, errs.Invalid},
		{"no host", Config{URLs: []string{"http://"}}, errs.Invalid},
		{"another scheme", Config{URLs: []string{"ftp://127.0.0.1"}}, errs.Invalid},
		{"a query", Config{URLs: []string{"http://127.0.0.1?x=y"}}, errs.Invalid},
		{"a password", Config{URLs: []string{"http://a:b@127.0.0.1"}}, errs.Invalid},
		{"another machine", Config{URLs: []string{"http://127.0.0.1", "http://192.0.2.1:8008"}}, errs.Forbidden},
		{"another machine by name", Config{URLs: []string{"https://matrix.example.org"}}, errs.Forbidden},
		{"a name that begins like this machine's", Config{URLs: []string{"http://localhost.example.org"}}, errs.Forbidden},
		{"too many senders", Config{Senders: 10_001}, errs.Invalid},
		{"too many members", Config{Users: 10, Members: 11}, errs.Invalid},
		{"too many memberships", Config{Rooms: 100_000, Members: 100_000}, errs.Invalid},
		{"tiny messages", Config{Size: 5}, errs.Invalid},
		{"huge messages", Config{Size: 65_000}, errs.Invalid},
		{"rate", Config{Rate: 1e9}, errs.Invalid},
		{"receipts", Config{Receipts: 1.5}, errs.Invalid},
		{"endless", Config{Duration: 1000 * time.Hour}, errs.Invalid},
		{"no time to answer", Config{RequestTimeout: -1}, errs.Invalid},
	}
	for _, c := range cases {
		if _, err := Run(t.Context(), c.cfg, nil); err == nil || !errs.Is(err, c.kind) {
			t.Errorf("%s: %v, want kind %v", c.name, err, c.kind)
		}
	}
	for _, ok := range []string{"http://localhost:1", "http://LOCALHOST", "http://[::1]:8008/", "http://127.8.9.1", "https://127.0.0.1/base/"} {
		if _, _, err := (Config{URLs: []string{ok}}).resolve(); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	if _, _, err := (Config{URLs: []string{"http://192.0.2.1"}, IOwnThisServer: true}).resolve(); err != nil {
		t.Error(err)
	}
}

// TestConfigOnTheCommandLine: the tags are what kong expects, and the zero value of every flag means the scenario's.
func TestConfigOnTheCommandLine(t *testing.T) {
	parse := func(args ...string) (Config, error) {
		var cli struct {
			Bench Config `cmd:""`
		}
		p, err := kong.New(&cli, kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Parse(append([]string{"bench"}, args...))
		return cli.Bench, err
	}
	c, err := parse()
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := c.resolve(); err != nil || got.Senders != 64 || got.Users != 200 || got.Prefix != "bench" {
		t.Errorf("got %+v, %v", got, err)
	}
	c, err = parse("steady", "--url", "http://127.0.0.1:1", "--url", "http://127.0.0.1:2", "--rate=-1", "--syncers=-1", "--duration", "3s", "--server-pid", "1", "--json", "x.json", "--i-own-this-server")
	if err != nil || len(c.URLs) != 2 || c.Rate != -1 || c.Duration != 3*time.Second || len(c.ServerPIDs) != 1 || !strings.HasSuffix(c.JSON, "x.json") || !c.IOwnThisServer {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := parse("burn"); err == nil {
		t.Error("took an unknown scenario")
	}
}
