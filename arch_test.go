// Package bongsu_test holds the tests of the house itself: that the packages keep to their layers and rules (arch_test.go,
// archcheck_test.go) and that the documents say what is so (docs_test.go).
package bongsu_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// The layers, lowest first. A package imports only from layers below its own; imports within a layer are listed in house.
const (
	vocabulary  = iota // words: no I/O, no goroutines, no clock
	rules              // pure functions over the words
	mechanisms         // journal, rows, replication, blobs, observability
	domains            // what a messenger does
	edges              // HTTP
	composition        // configuration, and the one place that wires
	proof              // load, faults and checkers; may import anything below
	command            // flags and subcommands
)

// house is the table to change when a package is born or grows a dependency.
var house = rulebook{
	module: "bongsu",
	layers: map[string]int{
		"id": vocabulary, "event": vocabulary, "errs": vocabulary, "clock": vocabulary,

		"roomstate": rules, "pushrule": rules, "filter": rules,

		"journal": mechanisms, "journal/jet": mechanisms, "journal/mem": mechanisms, "journal/journaltest": mechanisms,
		"kv": mechanisms, "replica": mechanisms, "replica/replicatest": mechanisms, "blob": mechanisms, "obs": mechanisms,
		"disk": mechanisms, "freeport": mechanisms, "mailer": mechanisms, "mailer/mailertest": mechanisms, "checkpoint": mechanisms,
		"link": mechanisms, "link/linktest": mechanisms, "cluster": mechanisms, "seed": mechanisms,

		"account": domains, "auth": domains, "room": domains, "keys": domains, "feed": domains, "ephemeral": domains,
		"media": domains, "push": domains, "search": domains, "svc/*": domains,

		"api/client": edges, "api/svc": edges, "api/admin": edges,

		"config": composition, "app": composition,

		"roam": proof, "spec": proof, "harness": proof, "harness/model": proof, "drill": proof, "drill/wan": proof, "bench": proof,

		"cmd/*": command,
	},
	sideways: map[string][]string{
		"id":                  {"errs"},
		"event":               {"errs", "id"},
		"journal/jet":         {"disk", "freeport", "journal"},
		"journal/mem":         {"journal"},
		"journal/journaltest": {"journal"},
		"cluster":             {"disk", "freeport", "link"},
		"replica":             {"disk", "journal", "kv"},
		"replica/replicatest": {"journal", "journal/mem", "kv", "replica"},
		"blob":                {"disk"},
		"link":                {"freeport"},
		"link/linktest":       {"freeport", "link"},
		"checkpoint":          {"disk", "journal", "kv", "replica"},
		"seed":                {"blob", "disk", "journal", "kv", "replica"},
		"api/admin":           {"api/client"}, // the operator's routes are served by the same framework
		"account":             {"auth"},       // passwords
		"push":                {"account", "room"},
		"feed":                {"account", "ephemeral", "keys", "room"}, // /sync is made of all of them
		"app":                 {"config"},
		"harness":             {"roam"},
		"drill":               {"drill/wan", "harness", "roam"},
	},
	owners: map[string][]string{
		// An engine has one door, so that replacing it, or a rule about its use, concerns one package.
		"github.com/nats-io":            {"journal/jet"},
		"github.com/cockroachdb/pebble": {"kv"},
		"github.com/blevesearch":        {"search"},
		// Wiring happens once: what only app knows, only app can get wrong.
		"bongsu/app": {"cmd/*"},
		// An edge is wired by app and called over HTTP, never from Go.
		"bongsu/api/client": {"app", "api/admin"},
		"bongsu/api/svc":    {"app"},
		"bongsu/api/admin":  {"app", "cmd/*"}, // its client is what the commands use
		// Journals without a disk, and suites, are for tests.
		"bongsu/journal/mem":         {"replica/replicatest"},
		"bongsu/journal/journaltest": {},
		"bongsu/replica/replicatest": {},
		"bongsu/link/linktest":       {},
		"testing":                    {"journal/journaltest", "link/linktest", "mailer/mailertest", "replica/replicatest"},
	},
	// command reaches the layers beneath app through app, except for words.
	commandMayImport: []int{vocabulary, edges, composition, proof},
	// These tell the time themselves; everybody else is given a clock, so that tests and fault plans can bend it.
	// journal/jet logs how long its scan took; journal/mem forgets by the time of package time, because that is the one that testing/synctest makes virtual.
	tellTime: []string{"clock", "journal/jet", "journal/mem", "bench", "drill", "drill/wan", "harness", "roam", "cmd/*"},
	mutable: map[string][]string{
		// The engine's own, linked by name: there is no option for them (ADR 14).
		"journal/jet": {"minElectionTimeout", "maxElectionTimeout", "minCampaignTimeout", "maxCampaignTimeout", "hbInterval",
			"lostQuorumInterval", "lostQuorumCheck"},
	},
}

func TestArchitecture(t *testing.T) {
	for _, finding := range house.check(t, os.DirFS(".")) {
		t.Error(finding)
	}
}

// TestArchitectureFindsPlantedViolations runs the checker over small modules, one for each rule: testdata/arch/*.txtar. The
// file "want" in each holds the findings, exactly.
func TestArchitectureFindsPlantedViolations(t *testing.T) {
	cases, err := filepath.Glob("testdata/arch/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no planted violations found: %v", err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			module, want := readCase(t, file)
			got := house.check(t, module)
			if !slices.Equal(got, want) {
				t.Errorf("findings:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
		})
	}
}

func readCase(t *testing.T, file string) (module fs.FS, want []string) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, f := range archive.Files {
		switch {
		case f.Name == "want":
			want = strings.FieldsFunc(string(f.Data), func(r rune) bool { return r == '\n' })
		case strings.HasPrefix(f.Name, "long/"): // "N" becomes N lines, where a rule counts them
			files[strings.TrimPrefix(f.Name, "long/")] = &fstest.MapFile{Data: lengthen(t, string(f.Data))}
		default:
			files[f.Name] = &fstest.MapFile{Data: f.Data}
		}
	}
	return files, want
}
