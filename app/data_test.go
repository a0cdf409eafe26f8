package app

import (
	"os"
	"path/filepath"
	"testing"
)

// A first start that dies at any step leaves a directory that the next start takes.
func TestFirstStartCanBeCutOff(t *testing.T) {
	want := format{ServerName: "example.org", Site: "site", Partitions: 4}
	for name, left := range map[string][]string{
		"nothing":        nil,
		"the lock":       {"lock"},
		"half a format":  {"lock", "format.json.new"},
		"a file system":  {"lost+found", "lock", "format.json.new"},
		"no boot number": {"lock", "boot.new", "format.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			if left != nil {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range left {
				text := "{"
				if f == "format.json" {
					text = `{"version": 1, "server_name": "example.org", "site": "site", "partitions": 4}`
				}
				if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var last uint64
			for range 2 {
				d, err := openData(dir, want)
				if err != nil {
					t.Fatal(err)
				}
				if d.boot>>16 <= last>>16 {
					t.Errorf("boot %d after %d", d.boot, last)
				}
				last = d.boot
				d.close()
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.doc"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openData(dir, want); err == nil {
		t.Error("a directory with something else in it was taken")
	}
}
