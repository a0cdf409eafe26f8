package bongsu_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// document is what can be compared between two translations of one page, and between a page and the tree.
type document struct {
	headings []int    // levels
	blocks   []string // fenced code, with the fence's language
	links    []string // targets of links and images
}

var (
	fence   = regexp.MustCompile("^\\s*```(.*)$")
	heading = regexp.MustCompile(`^(#{1,6}) \S`)
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

func readDocument(text string) document {
	var d document
	inBlock, block := false, ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		if m := fence.FindStringSubmatch(line); m != nil {
			if inBlock {
				d.blocks = append(d.blocks, block)
			}
			inBlock, block = !inBlock, m[1]+"\n"
			continue
		}
		if inBlock {
			block += line + "\n"
			continue
		}
		if m := heading.FindStringSubmatch(line); m != nil {
			d.headings = append(d.headings, len(m[1]))
		}
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			d.links = append(d.links, m[1])
		}
	}
	return d
}

// compareTranslations says where two translations of one page differ in shape.
func compareTranslations(a, b document) (findings []string) {
	if !slices.Equal(a.headings, b.headings) {
		findings = append(findings, fmt.Sprintf("headings differ: levels %v and %v", a.headings, b.headings))
	}
	if len(a.blocks) != len(b.blocks) {
		return append(findings, fmt.Sprintf("%d and %d code blocks", len(a.blocks), len(b.blocks)))
	}
	for i := range a.blocks {
		if a.blocks[i] != b.blocks[i] {
			findings = append(findings, fmt.Sprintf("code block %d differs:\n%s----\n%s", i+1, a.blocks[i], b.blocks[i]))
		}
	}
	return findings
}

func TestReadmeTranslationsAgree(t *testing.T) {
	for _, f := range compareTranslations(readDocument(read(t, "README.md")), readDocument(read(t, "README.ko.md"))) {
		t.Errorf("README.md and README.ko.md: %s", f)
	}
}

func TestTranslationCheckFindsDifferences(t *testing.T) {
	page := "# A\n\n```sh\n# not a heading\nmake run\n```\n\n## B\n"
	for name, c := range map[string]struct {
		other string
		want  int
	}{
		"same":            {"# 가\n\n```sh\n# not a heading\nmake run\n```\n\n## 나\n", 0},
		"other level":     {"# 가\n\n```sh\n# not a heading\nmake run\n```\n\n### 나\n", 1},
		"missing heading": {"# 가\n\n```sh\n# not a heading\nmake run\n```\n", 1},
		"other command":   {"# 가\n\n```sh\n# not a heading\nmake ran\n```\n\n## 나\n", 1},
		"other language":  {"# 가\n\n```\n# not a heading\nmake run\n```\n\n## 나\n", 1},
		"missing block":   {"# 가\n\n## 나\n", 1},
	} {
		if got := compareTranslations(readDocument(page), readDocument(c.other)); len(got) != c.want {
			t.Errorf("%s: %d findings, want %d: %v", name, len(got), c.want, got)
		}
	}
}

// TestLinksLead checks that what the documents point to within the tree is there, and that the make targets that they
// name exist.
func TestLinksLead(t *testing.T) {
	makefile := read(t, "Makefile")
	command := regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")
	for _, page := range pages(t) {
		text := read(t, page)
		for _, target := range readDocument(text).links {
			target, _, _ = strings.Cut(target, "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), target)); err != nil {
				t.Errorf("%s: a link leads nowhere: %s", page, target)
			}
		}
		for _, m := range command.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("%s: there is no target for \"make %s\"", page, m[1])
			}
		}
	}
}

func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 5 {
		t.Fatalf("only %d pages found", len(all))
	}
	return all
}

// TestDecisionsAreNumbered checks that docs/adr has no gap, no number twice, and the same sections in every record.
func TestDecisionsAreNumbered(t *testing.T) {
	files, err := filepath.Glob("docs/adr/*.md")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	for i, file := range files {
		if want := fmt.Sprintf("%04d-", i+1); !strings.HasPrefix(path.Base(file), want) {
			t.Errorf("%s: the number should be %s", file, want)
		}
		text := read(t, file)
		for _, section := range []string{"\n## Context\n", "\n## Decision\n", "\n## Consequences\n", "\n## Alternatives considered\n"} {
			if strings.Count(text, section) != 1 {
				t.Errorf("%s: the section %q should be there once", file, strings.TrimSpace(section))
			}
		}
	}
}

// The road of a message: where each stop may be marked in the code. Markers are comments: "// path 3/7".
var road = []struct {
	stop     string
	packages []string
}{
	{"route table", []string{"api/client"}},
	{"send handler", []string{"api/client"}},
	{"room proposal", []string{"room"}},
	{"journal append", []string{"replica", "journal/jet"}}, // who calls, or who is called
	{"replica apply", []string{"replica"}},
	{"feed wake-up", []string{"feed"}},
	{"sync response", []string{"feed", "api/client"}},
}

var marker = regexp.MustCompile(`// path ([1-7])/7\b`)

// checkRoad compares the markers in the code with the road and with docs/path.md, in which the row of each stop names the
// file. A tree without any marker has no road yet and no findings.
func checkRoad(root fs.FS, page string) (findings []string, err error) {
	marked := map[int][]string{}
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch base := path.Base(name); {
		case err != nil:
			return err
		case d.IsDir() && (base == "testdata" || base == "node_modules" || base == "data" || base == ".git"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		for _, m := range marker.FindAllSubmatch(text, -1) {
			n := int(m[1][0] - '0')
			marked[n] = append(marked[n], name)
		}
		return err
	})
	if err != nil || len(marked) == 0 {
		return nil, err
	}
	for i, r := range road {
		n := i + 1
		row := regexp.MustCompile(fmt.Sprintf("(?m)^\\| %d \\| %s \\| `([^`]+)` \\|", n, r.stop)).FindStringSubmatch(page)
		switch files := marked[n]; {
		case len(files) != 1:
			findings = append(findings, fmt.Sprintf("path %d/7 (%s) is marked %d times in the code: %v", n, r.stop, len(files), files))
		case !slices.Contains(r.packages, path.Dir(files[0])):
			findings = append(findings, fmt.Sprintf("path %d/7 (%s) is in %s, not in %v", n, r.stop, files[0], r.packages))
		case row == nil || row[1] != files[0]:
			findings = append(findings, fmt.Sprintf("docs/path.md should have the row \"| %d | %s | `%s` | …\"", n, r.stop, files[0]))
		}
	}
	return findings, nil
}

func TestRoadOfAMessage(t *testing.T) {
	findings, err := checkRoad(os.DirFS("."), read(t, "docs/path.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Error(f)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRoadCheckFindsDamage(t *testing.T) {
	tree := map[int]string{
		1: "api/client/routes.go", 2: "api/client/send.go", 3: "room/send.go", 4: "replica/submit.go",
		5: "replica/apply.go", 6: "feed/wake.go", 7: "feed/sync.go",
	}
	page := ""
	for n := 1; n <= 7; n++ {
		page += fmt.Sprintf("| %d | %s | `%s` | what happens |\n", n, road[n-1].stop, tree[n])
	}
	for name, c := range map[string]struct {
		change func(files map[int]string, module fstest.MapFS)
		page   string
		want   int
	}{
		"sound":      {func(map[int]string, fstest.MapFS) {}, page, 0},
		"no marker":  {func(files map[int]string, _ fstest.MapFS) { clear(files) }, page, 0},
		"incomplete": {func(files map[int]string, _ fstest.MapFS) { delete(files, 4) }, page, 1},
		"twice": {func(_ map[int]string, module fstest.MapFS) {
			module["room/other.go"] = &fstest.MapFile{Data: []byte("package room\n\n// path 3/7\n")}
		}, page, 1},
		"other package": {func(files map[int]string, _ fstest.MapFS) { files[6] = "replica/wake.go" }, page, 1},
		"moved":         {func(files map[int]string, _ fstest.MapFS) { files[3] = "room/message.go" }, page, 1},
		"undocumented":  {func(map[int]string, fstest.MapFS) {}, strings.Replace(page, "| 5 |", "| 6 |", 1), 1},
	} {
		files, module := maps.Clone(tree), fstest.MapFS{}
		c.change(files, module)
		for n, file := range files {
			module[file] = &fstest.MapFile{Data: fmt.Appendf(nil, "package x\n\nfunc f() {\n\t// path %d/7: a stop\n}\n", n)}
		}
		got, err := checkRoad(module, c.page)
		if err != nil || len(got) != c.want {
			t.Errorf("%s: %d findings, want %d: %v, %v", name, len(got), c.want, got, err)
		}
	}
}
