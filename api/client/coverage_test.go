package client

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bongsu/spec"
)

// declined are operations of the specification that are left out on purpose; some of them have a route, which says so. What is neither
// here nor in the route table is not there yet.
var declined = map[string]string{
	"bind3PID":                          "identity servers: who has which address stays on this server; answered with a refusal",
	"unbind3pidFromAccount":             "identity servers; answered that there was nothing to unbind",
	"requestTokenTo3PIDMSISDN":          "telephone numbers: nobody is there to send text messages; answered with a refusal",
	"requestTokenToRegisterMSISDN":      "telephone numbers; answered with a refusal",
	"requestTokenToResetPasswordMSISDN": "telephone numbers; answered with a refusal",
	"inviteBy3PID":                      "identity servers; at the same path people are invited by their user id (inviteUser)",
	"getEvents":                         "deprecated: `sync` tells what is new",
	"peekEvents":                        "deprecated with the event stream of one room; rooms that the world may read are read with `getRoomEvents`",
	"getOneEvent":                       "deprecated: `getOneRoomEvent`",
	"initialSync":                       "deprecated: `sync`",
	"roomInitialSync":                   "deprecated in practice: `getRoomState` and `getRoomEvents`",
	"getUrlPreview":                     "deprecated: it takes no token; `getUrlPreviewAuthed` is its successor",
	"redirectToSSO":                     "single sign-on by redirection, which OAuth 2.0 replaces",
	"redirectToIdP":                     "single sign-on by redirection, which OAuth 2.0 replaces",
}

// prose are paths that the specification describes in words, and not as an operation.
var prose = []string{"/_matrix/client/v3/auth/{authType}/fallback/web"}

// general are tests that call everything, so that they say nothing about an operation.
var general = regexp.MustCompile(`^Test(BadInput|WhoMay)`)

const coveragePage = "../../docs/coverage.md"

var writePage = flag.Bool("coverage-page", false, "write docs/coverage.md anew; all tests must run")

// coverageRow is an operation or an endpoint of ours on the page.
type coverageRow struct {
	op, method, path string
	said             string // the test, or the reason
}

// coverage is the page.
type coverage struct {
	served, ours, later, declined []coverageRow
}

// newCoverage joins the specification and the route table. tests names the test of each operation that is served.
func newCoverage(s *spec.Spec, routes []Route, tests map[string]string) coverage {
	var c coverage
	served := map[string]bool{}
	for _, r := range routes {
		row := coverageRow{r.Op, r.Method, strings.TrimSuffix(r.Path, "{$}"), tests[r.Op]}
		switch served[r.Op] = true; {
		case declined[r.Op] != "":
			served[r.Op] = false
		case s.Operation(r.Op) != nil:
			c.served = append(c.served, row)
		default:
			c.ours = append(c.ours, row)
		}
	}
	for _, o := range s.Operations {
		switch reason, ok := declined[o.ID]; {
		case served[o.ID]:
		case ok:
			c.declined = append(c.declined, coverageRow{o.ID, o.Method, o.Path, reason})
		default:
			c.later = append(c.later, coverageRow{o.ID, o.Method, o.Path, ""})
		}
	}
	for _, rows := range [][]coverageRow{c.served, c.ours, c.later, c.declined} {
		slices.SortFunc(rows, func(a, b coverageRow) int {
			return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.method, b.method))
		})
	}
	return c
}

// String is the page's text.
func (c coverage) String() string {
	var b strings.Builder
	total := len(c.served) + len(c.later) + len(c.declined)
	fmt.Fprintf(&b, `# What is served

Of the %d operations of the Client-Server API %s, %d are served, %d are not there yet, and %d are left out on purpose. `+"`make coverage-page`"+`
writes this page from the specification's own definitions, the route table and the tests; a test fails when they disagree.

Every answer in the tests is held against the specification's schemas. A path under `+"`/_matrix/client/v3/`"+` also answers at `+"`r0`"+`, one
under `+"`/_matrix/media/v3/`"+` at `+"`r0` and `v1`"+`. What is not served is answered 404 `+"`M_UNRECOGNIZED`"+`.
`, total, spec.Version, len(c.served), len(c.later), len(c.declined))
	table := func(title, text, last string, rows []coverageRow) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| operation | method | path | %s |\n| --- | --- | --- | --- |\n", title, text, last)
		for _, r := range rows {
			said := r.said
			if strings.HasPrefix(said, "Test") {
				said = "`" + said + "`"
			}
			fmt.Fprintf(&b, "| %s | %s | `%s` | %s |\n", r.op, r.method, r.path, said)
		}
	}
	table("Served", "With a test that calls it, in `api/client`.", "test", c.served)
	table("Ours", "Endpoints that the Client-Server API does not define as operations.", "test", c.ours)
	table("Not there yet", "In the order of their paths.", "", c.later)
	table("Left out on purpose", "With the reason.", "reason", c.declined)
	return strings.ReplaceAll(b.String(), "|  |", "| |")
}

var servedRow = regexp.MustCompile("(?m)^\\| (\\w+) \\| [A-Z]+ \\| `[^`]+` \\| `(Test\\w+)` \\|$")

// namedTests are the tests that the page names, by operation.
func namedTests(page string) map[string]string {
	named := map[string]string{}
	for _, m := range servedRow.FindAllStringSubmatch(page, -1) {
		named[m[1]] = m[2]
	}
	return named
}

// TestCoveragePage compares the page with the route table and the specification.
func TestCoveragePage(t *testing.T) {
	s := theSpec(t)
	routes := Routes(Endpoints{})
	served := map[string]bool{}
	for _, r := range routes {
		served[r.Op] = true
		path := strings.TrimSuffix(r.Path, "{$}")
		o := s.Find(r.Method, path)
		switch {
		case o == nil && !slices.Contains(prose, path) && (strings.HasPrefix(path, "/_matrix/client/v") || strings.HasPrefix(path, "/_matrix/media/v")):
			t.Errorf("%s %s is under a path of the specification, which does not know it: it belongs under /unstable/", r.Method, r.Path)
		case o != nil && o.ID != r.Op:
			t.Errorf("%s %s is called %s, which the specification calls %s", r.Method, r.Path, r.Op, o.ID)
		case o == nil && s.Operation(r.Op) != nil && !slices.ContainsFunc(routes, func(b Route) bool { return b.Op == r.Op && b.Path == s.Operation(r.Op).Path }):
			t.Errorf("%s is at %s %s, and the specification has it elsewhere", r.Op, r.Method, r.Path)
		}
	}
	for op := range declined {
		if s.Operation(op) == nil {
			t.Errorf("%s is left out on purpose and no operation of the specification", op)
		}
	}
	if *writePage {
		return // TestMain writes it
	}
	page, err := os.ReadFile(coveragePage)
	if err != nil {
		t.Fatal(err)
	}
	named := namedTests(string(page))
	if want := newCoverage(s, routes, named).String(); string(page) != want {
		t.Errorf("docs/coverage.md is not as the specification and the route table are: write it anew with make coverage-page\n%s",
			firstDifference(string(page), want))
	}
	exist := testNames(t)
	for op := range served {
		switch test := named[op]; {
		case declined[op] != "":
		case test == "":
			t.Errorf("docs/coverage.md names no test for %s: write one in this package, then make coverage-page", op)
		case !exist[test]:
			t.Errorf("docs/coverage.md names %s for %s, and there is no such test", test, op)
		}
	}
}

// firstDifference is the first line in which two texts differ.
func firstDifference(have, want string) string {
	a, b := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d: have %s\n         want %s", i+1, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// testNames are the tests of this package.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

// judgePage says where the page names a test for an operation that has not called it. With -coverage-page it writes the
// page: a test that is named and still right stays.
func (r *record) judgePage() (findings []string) {
	old, err := os.ReadFile(coveragePage)
	if err != nil && !*writePage {
		return []string{err.Error()}
	}
	named := namedTests(string(old))
	if !*writePage {
		for op, test := range named {
			if r.asked[op][test] == 0 {
				findings = append(findings, fmt.Sprintf(
					"docs/coverage.md says that %s calls %s, which it did not with success; make coverage-page finds another", test, op))
			}
		}
		slices.Sort(findings)
		return findings
	}
	total := map[string]int{}
	for _, tests := range r.asked {
		for test, n := range tests {
			total[test] += n
		}
	}
	for op, tests := range r.asked {
		if test := named[op]; tests[test] == 0 || general.MatchString(test) {
			named[op] = mostAbout(tests, total)
		}
	}
	s, err := specification()
	if err != nil {
		return []string{err.Error()}
	}
	page := newCoverage(s, Routes(Endpoints{}), named).String()
	if err := os.WriteFile(coveragePage, []byte(page), 0o644); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// mostAbout is the test of which calls of an operation make the largest part, given its calls and each test's total.
func mostAbout(calls, total map[string]int) (best string) {
	for _, test := range slices.Sorted(maps.Keys(calls)) {
		if general.MatchString(test) {
			continue
		}
		if best == "" || calls[test]*total[best] > calls[best]*total[test] {
			best = test
		}
	}
	return best
}
