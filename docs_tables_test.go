package bongsu_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"bongsu/config"
)

// checkTable says where the rows of the only table in page that begins with head differ from want.
func checkTable(page, head string, want []string) (findings []string) {
	_, rest, found := strings.Cut(page, head+"\n")
	if !found {
		return []string{"there is no table " + head}
	}
	var have []string
	for i, line := range strings.Split(rest, "\n") {
		if !strings.HasPrefix(line, "|") {
			break
		}
		if i > 0 { // the line below the head
			have = append(have, line)
		}
	}
	for _, row := range want {
		if !slices.Contains(have, row) {
			findings = append(findings, "missing: "+row)
		}
	}
	for _, row := range have {
		if !slices.Contains(want, row) {
			findings = append(findings, "not so: "+row)
		}
	}
	if findings == nil && !slices.Equal(have, want) {
		findings = []string{"rows are in another order, which should be:\n" + strings.Join(want, "\n")}
	}
	return findings
}

func TestTableCheckFindsDifferences(t *testing.T) {
	want := []string{"| a |", "| b |"}
	for name, c := range map[string]struct {
		page string
		want int
	}{
		"same":      {"| x |\n| - |\n| a |\n| b |\n\ntext\n", 0},
		"no table":  {"| y |\n| - |\n| a |\n| b |\n", 1},
		"missing":   {"| x |\n| - |\n| a |\n", 1},
		"stale":     {"| x |\n| - |\n| a |\n| b |\n| c |\n", 1},
		"changed":   {"| x |\n| - |\n| a |\n| B |\n", 2},
		"unordered": {"| x |\n| - |\n| b |\n| a |\n", 1},
	} {
		if got := checkTable(c.page, "| x |", want); len(got) != c.want {
			t.Errorf("%s: %d findings, want %d: %v", name, len(got), c.want, got)
		}
	}
}

// TestSettingsAreDocumented compares the table of settings in docs/operations.md with the flags of the program.
func TestSettingsAreDocumented(t *testing.T) {
	var c config.Config
	parser, err := kong.New(&c, append(config.Options(), kong.NoDefaultHelp())...)
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile(` (Default\b.*|Required\.)$`)
	var rows []string
	for _, f := range parser.Model.Flags {
		value := f.Default
		switch {
		case strings.HasSuffix(f.Help, "Required."):
			value = "required"
		case f.IsBool():
			value = "`false`"
		case value == "":
			value = "none"
		default:
			value = "`" + value + "`"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s |", f.Name, value, said.ReplaceAllString(f.Help, "")))
	}
	for _, f := range checkTable(read(t, "docs/operations.md"), "| setting | default | |", rows) {
		t.Errorf("docs/operations.md: %s", f)
	}
}

// TestExampleSettingsAreValid loads the file of settings that docs/operations.md shows.
func TestExampleSettingsAreValid(t *testing.T) {
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, config.EnvPrefix+"_") {
			t.Setenv(name, value) // so that it is put back
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	var example string
	for _, block := range readDocument(read(t, "docs/operations.md")).blocks {
		if rest, ok := strings.CutPrefix(block, "toml\n"); ok {
			example = rest
		}
	}
	file := filepath.Join(t.TempDir(), "bongsu.toml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load([]string{"--config", file})
	if err != nil {
		t.Fatalf("docs/operations.md: the example of a file with settings: %v\n%s", err, example)
	}
	if c.ServerName != "example.org" || c.PublicURL == "" || c.Disk.DiskReserve != 1<<30 {
		t.Errorf("docs/operations.md: the example is read as %+v", c)
	}
}
