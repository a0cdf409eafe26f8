package cluster

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"bongsu/clock"
)

func threeSites(t *testing.T) Plan {
	t.Helper()
	p := Plan{ServerName: "example.org"}
	for _, text := range []string{"seoul=10.0.0.1", "chuncheon=[fd00::1]", "busan=busan.example.org:8108"} {
		s, err := ParseSitePlan(text)
		if err != nil {
			t.Fatal(err)
		}
		p.Sites = append(p.Sites, s)
	}
	return p
}

// load reads a bundle as the program does.
func load(t *testing.T, dir, site string) (Settings, map[string]any) {
	t.Helper()
	var file map[string]any
	if _, err := toml.DecodeFile(filepath.Join(dir, site, fileSettings), &file); err != nil {
		t.Fatal(err)
	}
	var sites []string
	for _, s := range file["cluster-sites"].([]any) {
		sites = append(sites, s.(string))
	}
	s, err := ParseSettings(Settings{ID: file["cluster"].(string), Dir: filepath.Join(dir, site), Site: file["site"].(string),
		LinkListen: file["link-listen"].(string), RoutesListen: file["routes-listen"].(string)}, sites)
	if err != nil {
		t.Fatal(err)
	}
	return s, file
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	now := time.Now()
	id, err := Init(dir, threeSites(t), now)
	if err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[d.IsDir()]; err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		if strings.Contains(path, "ca-key") != (filepath.Base(filepath.Dir(path)) == "ca" && d.Name() == "ca-key.pem") {
			t.Errorf("the authority's key is at %s", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	seoul, file := load(t, dir, "seoul")
	for key, want := range map[string]string{"server-name": "example.org", "site": "seoul", "data": "/var/lib/bongsu", "listen": "10.0.0.1:8008",
		"public-url": "http://10.0.0.1:8008", "cluster": id, "link-listen": "10.0.0.1:7008", "routes-listen": "10.0.0.1:7009"} {
		if file[key] != want {
			t.Errorf("%s = %v, want %s", key, file[key], want)
		}
	}
	want := []Site{
		{"seoul", "10.0.0.1:7008", "10.0.0.1:7009", "http://10.0.0.1:8008"},
		{"chuncheon", "[fd00::1]:7008", "[fd00::1]:7009", "http://[fd00::1]:8008"},
		{"busan", "busan.example.org:8109", "busan.example.org:8110", "http://busan.example.org:8108"},
	}
	if !reflect.DeepEqual(seoul.Sites, want) {
		t.Errorf("%+v", seoul.Sites)
	}
	if got := seoul.Routes(); !slices.Equal(got, []string{"[fd00::1]:7009", "busan.example.org:8110"}) {
		t.Errorf("%v", got)
	}
	if got := seoul.Peers(); len(got) != 2 || got[1].Site != "busan" || got[1].Addr != "busan.example.org:8109" {
		t.Errorf("%v", got)
	}
	busan, file := load(t, dir, "busan")
	if file["link-listen"] != ":8109" { // a name is no address to listen on
		t.Errorf("%v", file)
	}
	for _, s := range []Settings{seoul, busan} {
		if c, err := s.Credentials(nil); err != nil || c.Site != s.Site || c.Cluster != id {
			t.Errorf("%+v %v", c, err)
		}
		if findings := CheckCertificates(s, clock.System{}); findings != nil {
			t.Error(findings)
		}
	}
	a, errA := seoul.Secret("signing")
	b, errB := busan.Secret("signing")
	c, errC := seoul.Secret("tokens")
	if errA != nil || errB != nil || errC != nil || len(a) != 32 || !bytes.Equal(a, b) || bytes.Equal(a, c) {
		t.Errorf("%x %x %x", a, b, c)
	}
	if _, err := Init(dir, threeSites(t), now); err == nil || !strings.Contains(err.Error(), "is not empty") {
		t.Errorf("a second time: %v", err)
	}
}

func TestRenew(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	if _, err := Init(dir, threeSites(t), time.Now()); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ca")
	if err := Renew(ca, "seoul", out, time.Now()); err != nil {
		t.Fatal(err)
	}
	s, _ := load(t, dir, "seoul")
	before, _ := os.ReadFile(filepath.Join(s.Dir, fileCertificate))
	for _, name := range []string{fileCertificate, fileKey} {
		if err := os.Rename(filepath.Join(out, name), filepath.Join(s.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	after, _ := os.ReadFile(filepath.Join(s.Dir, fileCertificate))
	if _, err := s.Credentials(nil); err != nil || bytes.Equal(before, after) {
		t.Errorf("the renewed certificate: %v", err)
	}
	for words, err := range map[string]error{
		"site.pem exists":         Renew(ca, "seoul", s.Dir, time.Now()),
		"is the one called ca":    Renew(s.Dir, "seoul", out, time.Now()),
		`"Seoul" is not the name`: Renew(ca, "Seoul", out, time.Now()),
	} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

func TestInitRefuses(t *testing.T) {
	for words, change := range map[string]func(*Plan){
		"3 or 5 sites, not 2":        func(p *Plan) { p.Sites = p.Sites[1:] },
		"two sites are called seoul": func(p *Plan) { p.Sites[1].Name = "seoul" },
		"are on one machine":         func(p *Plan) { p.Sites[1].Host = "10.0.0.1" },
		"stands for seoul and for":   func(p *Plan) { p.Sites[1].Host, p.Data = "10.0.0.1", "/d/{site}" },
		"for seoul and for seoul":    func(p *Plan) { p.Sites[0].Link = 7009 },
		`server name: ""`:            func(p *Plan) { p.ServerName = "" },
		"url=ftp://x is not a URL":   func(p *Plan) { p.Sites[0].URL = "ftp://x" },
	} {
		p := threeSites(t)
		change(&p)
		dir := filepath.Join(t.TempDir(), "new")
		if _, err := Init(dir, p, time.Now()); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: files were made", words)
		}
	}
	for text, words := range map[string]string{
		"seoul": "is not NAME=HOST", "=10.0.0.1": "a site's name is", "Seoul=10.0.0.1": "a site's name is", "ca=10.0.0.1": "and not \"ca\"",
		"seoul=": "is not NAME=HOST", "seoul=10.0.0.1:0": "is not a port", "seoul=h:65534": "is not a port", "seoul=a b": "is not NAME=HOST",
	} {
		if _, err := ParseSitePlan(text); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestParseSettings(t *testing.T) {
	good := Settings{ID: "abc", Dir: "/d", Site: "a", LinkListen: ":1", RoutesListen: ":2"}
	sites := []string{"a link=h:1 routes=h:2", "b link=h:3 routes=h:4 url=https://b.example.org", "c routes=h:6 link=h:5"}
	if s, err := ParseSettings(good, sites); err != nil || !slices.Equal(s.Names(), []string{"a", "b", "c"}) || s.Sites[1].String() != sites[1] {
		t.Errorf("%+v %v", s, err)
	}
	for words, change := range map[string]func(*Settings, []string){
		`this is site "x", and the cluster has a, b, c`: func(s *Settings, _ []string) { s.Site = "x" },
		"the cluster's id":                  func(s *Settings, _ []string) { s.ID = "" },
		"name the directory":                func(s *Settings, _ []string) { s.Dir = "" },
		"to listen on for link":             func(s *Settings, _ []string) { s.LinkListen = "h" },
		"to listen on for routes":           func(s *Settings, _ []string) { s.RoutesListen = "" },
		"two sites are called b":            func(_ *Settings, t []string) { t[0] = "b link=h:1 routes=h:2" },
		"h:2 stands for a and for b":        func(_ *Settings, t []string) { t[1] = "b link=h:3 routes=h:2" },
		"link=HOST:PORT is needed":          func(_ *Settings, t []string) { t[0] = "a routes=h:2" },
		"routes=HOST:PORT is needed":        func(_ *Settings, t []string) { t[0] = "a link=h:1 routes=h:99999" },
		`"port=3" is not link=, routes= or`: func(_ *Settings, t []string) { t[0] = "a link=h:1 routes=h:2 port=3" },
		"link= stands there twice":          func(_ *Settings, t []string) { t[0] = "a link=h:1 link=h:2" },
		"a site's name is":                  func(_ *Settings, t []string) { t[0] = "A link=h:1" },
		"name a site":                       func(_ *Settings, t []string) { t[0] = " " },
		"is not a URL":                      func(_ *Settings, t []string) { t[0] = "a link=h:1 routes=h:2 url=x" },
	} {
		s, texts := good, slices.Clone(sites)
		change(&s, texts)
		if _, err := ParseSettings(s, texts); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	if _, err := ParseSettings(good, append(sites, "d link=h:7 routes=h:8")); err == nil || !strings.Contains(err.Error(), "not 4") {
		t.Error(err)
	}
}

func FuzzParseSite(f *testing.F) {
	f.Add("seoul link=10.0.0.1:7008 routes=10.0.0.1:7009 url=https://seoul.example.org")
	f.Add("a link=[::1]:1 routes=h:2")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSite(text)
		if err != nil {
			return
		}
		if again, err := ParseSite(s.String()); err != nil || again != s {
			t.Errorf("%q became %q: %v", text, s, err)
		}
	})
}

// TestCheckCertificates: what an operator is told of a site's files.
func TestCheckCertificates(t *testing.T) {
	at := func(d time.Duration) clock.Clock { return clock.Func(func() time.Time { return time.Now().Add(d) }) }
	year := 365 * 24 * time.Hour
	for words, c := range map[string]struct {
		clock  clock.Clock
		change func(dir string) error
	}{
		"ends in 19 days":          {at(10*year - 20*24*time.Hour + time.Minute), nil},
		"expired at":               {at(11 * year), nil},
		"set the clocks of both":   {at(-2 * year), nil},
		"can be read by others":    {at(0), func(dir string) error { return os.Chmod(filepath.Join(dir, fileKey), 0o644) }},
		"has 3 bytes, not 32":      {at(0), func(dir string) error { return os.WriteFile(filepath.Join(dir, fileSeed), []byte("abc"), 0o600) }},
		"it is part of the direct": {at(0), func(dir string) error { return os.Remove(filepath.Join(dir, fileKey)) }},
		"is for site seoul, and":   {at(0), func(string) error { return nil }},
	} {
		dir := t.TempDir()
		if _, err := Init(dir, threeSites(t), time.Now()); err != nil {
			t.Fatal(err)
		}
		s, _ := load(t, dir, "seoul")
		if strings.HasPrefix(words, "is for site") {
			s.Site = "busan"
		}
		if c.change != nil {
			if err := c.change(s.Dir); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(CheckCertificates(s, c.clock), "; "); !strings.Contains(got, words) {
			t.Errorf("%q, want %q", got, words)
		}
	}
	dir := t.TempDir()
	if _, err := Init(dir, threeSites(t), time.Now()); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if _, err := Init(other, threeSites(t), time.Now()); err != nil {
		t.Fatal(err)
	}
	a, _ := load(t, dir, "seoul")
	b, _ := load(t, other, "seoul")
	a.Dir = b.Dir
	if _, err := a.Credentials(nil); err == nil || !strings.Contains(err.Error(), "is for cluster "+b.ID+", and the settings say "+a.ID) {
		t.Error(err)
	}
}
