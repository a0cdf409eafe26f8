package config

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var enough = []string{"--data=d", "--server-name=example.org"}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bongsu.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	got, err := Load(enough)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Data: "d", Listen: "127.0.0.1:8008", ServerName: "example.org", Site: "main", UserDirectory: "met",
		Accounts: Accounts{RegistrationEmail: "off", TokenLifetime: time.Hour},
		Mail:     Mail{Security: "starttls"},
		API: API{RateLimits: "on", Presence: "on", TrustedProxies: []string{"127.0.0.0/8", "::1/128"}, RequestTimeout: 10 * time.Second,
			MaxRequests: 1024, MaxUpload: 50 << 20, ShutdownTimeout: 10 * time.Second},
		Disk: Disk{Partitions: 4, DiskReserve: 256 << 20, Queue: 8 << 20, Cache: 32 << 20},
		Log:  Log{Level: "info", Format: "auto"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	want.Data, want.ServerName = "", ""
	t.Setenv("BONGSU_LISTEN", "ignored")
	if got := Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOrder(t *testing.T) {
	file := write(t, `
		data = "file"
		server-name = "file.example"
		listen = "file:1"
		public_url = "http://file"
		open-registration = true
		trusted-proxies = ["10.0.0.0/8", "192.0.2.1"]
		partitions = 8
		[log]
		level = "warn"
		[disk]
		reserve = "1GiB"
		budget = 1000
	`)
	t.Setenv("BONGSU_CONFIG", file)
	t.Setenv("BONGSU_SERVER_NAME", "env.example")
	t.Setenv("BONGSU_LISTEN", "env:2")
	t.Setenv("BONGSU_RATE_LIMITS", "off")
	t.Setenv("BONGSU_DISK_RESERVE", "2GB")
	c, err := Load([]string{"--listen=flag:3"})
	if err != nil {
		t.Fatal(err)
	}
	for _, is := range []struct{ what, got, want string }{
		{"file only", c.Data, "file"},
		{"file, underscore", c.PublicURL, "http://file"},
		{"env over file", c.ServerName, "env.example"},
		{"flag over all", c.Listen, "flag:3"},
		{"env only", c.API.RateLimits, "off"},
		{"table", c.Log.Level, "warn"},
		{"default", c.Log.Format, "auto"},
		{"size from env", c.Disk.DiskReserve.String(), "1953125KiB"},
		{"list", strings.Join(c.API.TrustedProxies, " "), "10.0.0.0/8 192.0.2.1"},
		{"config", c.Path, file},
	} {
		if is.got != is.want {
			t.Errorf("%s: %q, want %q", is.what, is.got, is.want)
		}
	}
	if !c.OpenRegistration || c.Disk.Partitions != 8 || c.Disk.DiskBudget != 1000 {
		t.Errorf("%+v", c)
	}
	// A flag names another file, and turns off what the file turns on.
	c, err = Load([]string{"--config", write(t, `data = "other"
open-registration = true`), "--open-registration=false"})
	if err == nil && (c.Data != "other" || c.OpenRegistration) {
		t.Errorf("%+v", c)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestEnvironmentNames(t *testing.T) {
	for name, value := range map[string]string{
		"BONGSU_DATA": "d", "BONGSU_LISTEN": "h:1", "BONGSU_SERVER_NAME": "s", "BONGSU_OPEN_REGISTRATION": "true",
		"BONGSU_RATE_LIMITS": "off", "BONGSU_PUBLIC_URL": "https://p",
	} {
		t.Setenv(name, value)
	}
	c, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "d" || c.Listen != "h:1" || c.ServerName != "s" || !c.OpenRegistration || c.API.RateLimits != "off" || c.PublicURL != "https://p" {
		t.Errorf("%+v", c)
	}
}

func TestErrors(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "--data: name a directory for the data",
		"--data=d":                          "--server-name: name the server",
		"--server-name=a_b":                 `--server-name: "a_b" is not a host name`,
		"--listen=localhost":                `--listen: "localhost" is not HOST:PORT`,
		"--listen=localhost:http":           `--listen: "http" is not a port`,
		"--listen=localhost:70000":          `--listen: "70000" is not a port`,
		"--public-url=chat.example.org":     `--public-url: "chat.example.org" is not a URL`,
		"--public-url=ftp://example.org":    `--public-url`,
		"--public-url=https://h/?a=b":       `--public-url`,
		"--site=Main":                       `--site: "Main" is not 1 to 32 characters`,
		"--site=" + strings.Repeat("a", 33): `--site`,
		"--trusted-proxies=10.0.0.0/8,x":    `--trusted-proxies: "x" is neither an address nor a network`,
		"--token-lifetime=1s":               "--token-lifetime: must be 10s to 8760h",
		"--terms=privacy 1 en https://h/p":  "--terms: \"privacy 1 en https://h/p\" is not 'ID VERSION LANGUAGE URL NAME'",
		"--terms=a/b 1 en https://h/p Name": "an id and a version have characters",
		"--terms=p 1 e https://h/p Name":    `"e" is not a language`,
		"--terms=p 1 en ftp://h/p Name":     `"ftp://h/p" is not a URL`,
		"--support-page=h":                  `--support-page: "h" is not a URL`,
		"--support-contacts=admin":          "--support-contacts: \"admin\" is not 'ROLE ADDRESS'",
		"--support-contacts=boss a@b":       `the role "boss" is not admin, security`,
		"--support-contacts=admin a@b c@d":  `"c@d" is not a user id, nor an e-mail address, or there are two`,
		"--support-contacts=admin a b":      `"a" is not a user id`,
		"--registration-email=required":     "--registration-email: name a mail server with --mail-server",
		"--mail-server=localhost:25":        "--mail-from: name the sender of messages",
		"--partitions=0":                    "--partitions: must be 1 to 64",
		"--partitions=four":                 "--partitions",
		"--request-timeout=0s":              "--request-timeout: must be",
		"--request-timeout=10":              "--request-timeout",
		"--disk-reserve=lots":               `--disk-reserve: "lots" is not a size such as 256MiB`,
		"--disk-reserve=-1":                 `--disk-reserve`,
		"--max-upload=1":                    "--max-upload: must be",
		"--rate-limits=no":                  "--rate-limits",
		"--log-level=loud":                  "--log-level",
		"--config=/nowhere/x.toml":          "/nowhere/x.toml: no such file",
		"--unknown=1":                       "--unknown",
		"stray":                             "stray",
	} {
		var all []string
		if args != "" && args != "--data=d" {
			all = append(all, enough...)
		}
		if args != "" {
			all = append(all, args)
		}
		_, err := Load(all)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

func TestFileErrors(t *testing.T) {
	for text, want := range map[string]string{
		"listne = \"a:1\"":                      `unknown setting "listne"`,
		"[disk]\nresrve = 1":                    `unknown setting "disk-resrve"`,
		"config = \"other\"":                    `unknown setting "config"`,
		"help = true":                           `unknown setting "help"`,
		"listen = ":                             "line 1: ",
		"a = 1\na = 2":                          "line 2: ",
		"disk-reserve = 1\n[disk]\nreserve = 2": "disk-reserve is set twice",
		"disk-reserve = \"x\"":                  `"x" is not a size such as 256MiB`,
		"partitions = 1.5":                      "partitions",
		"open-registration = 3":                 "open-registration",
		"listen = 2026-01-01":                   "listen: a setting cannot be of this type",
		"log-level = \"loud\"":                  "--log-level",
		"\xff":                                  "line 1",
	} {
		path := write(t, text)
		_, err := Load(append([]string{"--config", path}, enough...))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	t.Setenv("BONGSU_DISK_RESERVE", "x")
	if _, err := Load(enough); err == nil || !strings.Contains(err.Error(), "BONGSU_DISK_RESERVE") {
		t.Errorf("environment: %v", err)
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "12b": 12, "1k": 1024, "1KiB": 1024, "1kb": 1000, " 5 MiB ": 5 << 20, "3gb": 3e9, "2G": 2 << 30, "1TiB": 1 << 40,
		"9223372036854775807": math.MaxInt64,
		"":                    -1, "-1": -1, "+1": -1, "1.5MiB": -1, "MiB": -1, "1PB": -1, "8388608TiB": -1, "9223372036854775808": -1, "1 000": -1, "0x10": -1,
	} {
		var b Bytes
		err := b.UnmarshalText([]byte(text))
		if want < 0 && err == nil || want >= 0 && (err != nil || int64(b) != want) {
			t.Errorf("%q: %d %v, want %d", text, b, err, want)
		}
	}
	for _, b := range []Bytes{0, 1, 1023, 1024, 1 << 20, 3 << 30, 1 << 50, math.MaxInt64} {
		var back Bytes
		if err := back.UnmarshalText([]byte(b.String())); err != nil || back != b {
			t.Errorf("%d: %s: %d %v", b, b, back, err)
		}
	}
}

func TestSupport(t *testing.T) {
	c, err := Load([]string{"--data=d", "--server-name=h", "--support-contacts=admin @amy:h amy@h,security sec@h,org.example.help @bob:other"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Support.People()
	want := []Person{{"m.role.admin", "@amy:h", "amy@h"}, {"m.role.security", "", "sec@h"}, {"org.example.help", "@bob:other", ""}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v %v", got, err)
	}
}
