package obs

import (
	"bytes"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

func TestLogger(t *testing.T) {
	for _, c := range []struct {
		cfg   LogConfig
		begin string // of the line
		err   string
	}{
		{LogConfig{}, "{", ""},
		{LogConfig{Format: "auto"}, "{", ""},
		{LogConfig{Format: "json"}, "{", ""},
		{LogConfig{Format: "text"}, "time=", ""},
		{LogConfig{Level: "warn"}, "", ""},
		{LogConfig{Level: "loud"}, "", `log level "loud" is not debug, info, warn or error`},
		{LogConfig{Format: "xml"}, "", `log format "xml" is not text, json or auto`},
	} {
		var out bytes.Buffer
		log, err := NewLogger(&out, c.cfg)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%+v: %v", c.cfg, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("hidden")
		log.Info("hello", "room", "!r")
		if !strings.HasPrefix(out.String(), c.begin) || strings.Contains(out.String(), "hidden") || (c.begin == "") != (out.Len() == 0) {
			t.Errorf("%+v: %q", c.cfg, out.String())
		}
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if terminal(file) {
		t.Error("a file was taken for a terminal")
	}
}

func TestRegistry(t *testing.T) {
	families, err := NewRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range families {
		found[f.GetName()] = true
	}
	for _, name := range []string{"bongsu_build_info", "go_goroutines", "process_open_fds"} {
		if !found[name] {
			t.Errorf("no %s", name)
		}
	}
}

func TestBuild(t *testing.T) {
	setting := func(k, v string) debug.BuildSetting { return debug.BuildSetting{Key: k, Value: v} }
	got := buildOf(&debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v0.1.0"},
		Settings: []debug.BuildSetting{setting("vcs.modified", "true"), setting("vcs.revision", "abc")}})
	if got.String() != "v0.1.0 (abc+dirty, go1.26)" {
		t.Error(got)
	}
	if got := buildOf(&debug.BuildInfo{GoVersion: "go1.26"}); got.String() != "devel (unknown, go1.26)" {
		t.Error(got)
	}
	if ReadBuild().Go == "" {
		t.Error("no Go version")
	}
}
