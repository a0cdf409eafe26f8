package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bongsu/config"
)

// try runs a command line; served is the configuration that the server was started with.
func try(t *testing.T, serveErr error, args ...string) (status int, stdout, stderr string, served *config.Config) {
	t.Helper()
	var out, errOut bytes.Buffer
	status = run(t.Context(), args, deps{stdout: &out, stderr: &errOut,
		serve: func(ctx context.Context, cfg config.Config, stdout io.Writer) error {
			served = &cfg
			fmt.Fprintln(stdout, "ready")
			return errors.Join(serveErr, ctx.Err())
		}})
	return status, out.String(), errOut.String(), served
}

func TestServe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.toml")
	if err := os.WriteFile(file, []byte("server-name = \"file.example\"\n[log]\nlevel = \"debug\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("BONGSU_DATA", "/env")
	status, out, errOut, cfg := try(t, nil, "serve", "--listen", "localhost:0", "--open-registration", "--rate-limits=off", "--config", file)
	if status != 0 || out != "ready\n" || errOut != "" {
		t.Fatalf("%d %q %q", status, out, errOut)
	}
	if cfg.Data != "/env" || cfg.Listen != "localhost:0" || cfg.ServerName != "file.example" || !cfg.OpenRegistration ||
		cfg.API.RateLimits != "off" || cfg.Log.Level != "debug" || cfg.Disk.Partitions != 4 {
		t.Errorf("%+v", cfg)
	}
}

func TestFailures(t *testing.T) {
	ok := []string{"serve", "--data=d", "--server-name=example.org"}
	for _, c := range []struct {
		args     []string
		serveErr error
		status   int
		stderr   string
	}{
		{ok, errors.New("listen:\n  in use"), 1, "bongsu: listen: in use\n"},
		{[]string{"serve"}, nil, 2, "bongsu: serve: --data: name a directory for the data (see bongsu --help)\n"},
		{append(ok, "--lisen=a:1"), nil, 2, "bongsu: unknown flag --lisen, did you mean \"--listen\"? (see bongsu --help)\n"},
		{append(ok, "--config=/nowhere.toml"), nil, 2, "bongsu: /nowhere.toml: no such file or directory (see bongsu --help)\n"},
		{[]string{"sevre"}, nil, 2, "bongsu: unexpected argument sevre, did you mean \"serve\"? (see bongsu --help)\n"},
	} {
		status, out, errOut, cfg := try(t, c.serveErr, c.args...)
		if status != c.status || errOut != c.stderr || (cfg != nil) != (c.serveErr != nil) || cfg == nil && out != "" {
			t.Errorf("%v: %d %q %q", c.args, status, out, errOut)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}} {
		status, out, errOut, _ := try(t, nil, args...)
		if status != 0 || errOut != "" || !strings.Contains(out, "serve") || !strings.Contains(out, "version") {
			t.Errorf("%v: %d %s%s", args, status, out, errOut)
		}
	}
	status, out, errOut, cfg := try(t, nil, "serve", "--help")
	if status != 0 || errOut != "" || cfg != nil {
		t.Errorf("%d %s", status, errOut)
	}
	for _, want := range []string{
		"--data=DIR", "--listen=HOST:PORT", "--server-name=NAME", "--open-registration", "--rate-limits=on|off", "--config=FILE",
		"--public-url=URL", "--disk-reserve=SIZE", "--log-level=LEVEL", "$BONGSU_DATA", "$BONGSU_RATE_LIMITS", "127.0.0.1:8008",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if strings.Contains(out, "${") {
		t.Errorf("a variable was left:\n%s", out)
	}
}

func TestVersion(t *testing.T) {
	status, out, _, _ := try(t, nil, "version")
	if status != 0 || !strings.HasPrefix(out, "bongsu ") || !strings.Contains(out, "go1.") {
		t.Errorf("%d %q", status, out)
	}
}

func TestClusterInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bundles")
	sites := []string{"--site=seoul=127.0.0.1:8108", "--site=chuncheon=127.0.0.1:8208", "--site=busan=127.0.0.1:8308"}
	args := append([]string{"cluster", "init", "--server-name=example.org", "--data=/d/{site}", "--partitions=2",
		"--public-url=seoul=https://seoul.example.org", "--out=" + dir}, sites...)
	status, out, errOut, _ := try(t, nil, args...)
	if status != 0 || errOut != "" || !strings.Contains(out, "bongsu serve --config "+filepath.Join(dir, "busan", "site.toml")) {
		t.Fatalf("%d %q %q", status, out, errOut)
	}
	settings, err := os.ReadFile(filepath.Join(dir, "seoul", "site.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`public-url = "https://seoul.example.org"`, "partitions = 2", `data = "/d/seoul"`, `listen = "127.0.0.1:8108"`,
		`"chuncheon link=127.0.0.1:8209 routes=127.0.0.1:8210 url=http://127.0.0.1:8208"`} {
		if !strings.Contains(string(settings), want) {
			t.Errorf("no %s in\n%s", want, settings)
		}
	}
	renew := []string{"cluster", "certificate", "--ca=" + filepath.Join(dir, "ca"), "--site=seoul", "--out=" + filepath.Join(t.TempDir(), "new")}
	if status, out, errOut, _ = try(t, nil, renew...); status != 0 || !strings.Contains(out, "Put site.pem and site-key.pem in place") {
		t.Errorf("%d %q %q", status, out, errOut)
	}
	for words, args := range map[string][]string{
		"is not empty":                 args,
		"site.pem exists":              renew,
		"there is no site \"x\"":       {"cluster", "init", "--server-name=a", "--out=" + dir, "--site=a=h", "--public-url=x=http://h"},
		"is not NAME=URL":              {"cluster", "init", "--server-name=a", "--out=" + dir, "--site=a=h", "--public-url=x"},
		"must be 1 to 64":              {"cluster", "init", "--server-name=a", "--out=" + dir, "--site=a=h", "--partitions=65"},
		"--site: \"a\" is not NAME=HO": {"cluster", "init", "--server-name=a", "--out=" + dir, "--site=a"},
		"3 or 5 sites, not 1":          {"cluster", "init", "--server-name=a", "--out=" + dir, "--site=a=h"},
	} {
		if status, _, errOut, _ := try(t, nil, args...); status != 1 || !strings.Contains(errOut, words) {
			t.Errorf("%s: %d %q", words, status, errOut)
		}
	}
	if status, _, errOut, _ := try(t, nil, "cluster", "init"); status != 2 || !strings.Contains(errOut, "missing flags") {
		t.Errorf("%d %q", status, errOut)
	}
}
