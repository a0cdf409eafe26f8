// Package obs sets up what an operator looks at: logs, metrics and what was built.
//
// Invariant: there is no default logger and no default registry; what is made here is handed to whoever needs it.
//
// Limits: it does not know what is logged or measured; packages name their own metrics bongsu_<package>_<noun>_<unit>.
package obs

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/term"
)

// LogConfig is how to log. The zero value is information and worse, as text on a terminal and as JSON elsewhere.
type LogConfig struct {
	Level  string // debug, info, warn or error; default info
	Format string // text, json or auto; default auto: text where the writer is a terminal
}

// NewLogger makes a logger that writes to w. A level or format that does not exist is an error.
func NewLogger(w io.Writer, cfg LogConfig) (*slog.Logger, error) {
	var level slog.Level
	if cfg.Level != "" {
		if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
			return nil, fmt.Errorf("log level %q is not debug, info, warn or error", cfg.Level)
		}
	}
	opts := &slog.HandlerOptions{Level: level}
	switch cfg.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	case "", "auto":
		if terminal(w) {
			return slog.New(slog.NewTextHandler(w, opts)), nil
		}
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("log format %q is not text, json or auto", cfg.Format)
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) //nolint:gosec // a file descriptor fits
}

// NewRegistry makes a registry of metrics that already shows the process, the Go runtime and the build.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	b := ReadBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "bongsu_build_info", Help: "Always 1; the labels say what was built.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go},
	})
	info.Set(1)
	reg.MustRegister(collectors.NewGoCollector(), info, // new ones in a new registry do not collide
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// version is set by the linker: -ldflags "-X bongsu/obs.version=v1.2.3".
var version string

// Build is what was built.
type Build struct {
	Version  string `json:"version"`  // what the linker was told, or the module's, or "devel"
	Revision string `json:"revision"` // of the source, with "+dirty" if it was changed, or "unknown"
	Go       string `json:"go"`       // version of the compiler
}

// ReadBuild reads what the linker wrote down.
func ReadBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	b := buildOf(info)
	if version != "" {
		b.Version = version
	}
	return b
}

func buildOf(info *debug.BuildInfo) Build {
	b := Build{Version: info.Main.Version, Revision: "unknown", Go: info.GoVersion}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if b.Revision != "unknown" {
		b.Revision += dirty
	}
	return b
}

func (b Build) String() string { return fmt.Sprintf("%s (%s, %s)", b.Version, b.Revision, b.Go) }
