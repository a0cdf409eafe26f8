package harness_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bongsu/freeport"
	"bongsu/harness"
)

// siteNames are those of the clusters in these tests.
var siteNames = []string{"seoul", "chuncheon", "busan"}

// bundles are the directories that "bongsu cluster init" made for three sites on this machine.
type bundles struct {
	t    *testing.T
	dir  string
	port map[string]int // for clients; the next two are for the other sites and their engines
}

// newBundles makes a cluster; with other, its sites have the same addresses as those of the other one.
func newBundles(t *testing.T, other *bundles) *bundles {
	t.Helper()
	b := &bundles{t: t, dir: t.TempDir(), port: map[string]int{}}
	args := []string{"cluster", "init", "--server-name=localhost", "--out=" + b.dir + "/bundles", "--data=" + b.dir + "/{site}"}
	for _, name := range siteNames {
		if other != nil {
			b.port[name] = other.port[name]
		} else {
			var err error
			if b.port[name], err = freeport.Ports(3); err != nil {
				t.Fatal(err)
			}
		}
		args = append(args, fmt.Sprintf("--site=%s=127.0.0.1:%d", name, b.port[name]))
	}
	if out, err := exec.CommandContext(t.Context(), program(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return b
}

// file is a file of a site's bundle.
func (b *bundles) file(site, name string) string { return filepath.Join(b.dir, "bundles", site, name) }

// edit replaces words in a site's settings; they must be there.
func (b *bundles) edit(site string, oldNew ...string) {
	b.t.Helper()
	text, err := os.ReadFile(b.file(site, "site.toml"))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(oldNew); i += 2 {
		if !strings.Contains(string(text), oldNew[i]) {
			b.t.Fatalf("%q does not occur in %s", oldNew[i], text)
		}
	}
	b.write(b.file(site, "site.toml"), []byte(strings.NewReplacer(oldNew...).Replace(string(text))))
}

func (b *bundles) write(path string, data []byte) {
	b.t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// take replaces files of a site by those of another bundle.
func (b *bundles) take(site string, from *bundles, fromSite string, names ...string) {
	b.t.Helper()
	for _, name := range names {
		data, err := os.ReadFile(from.file(fromSite, name))
		if err != nil {
			b.t.Fatal(err)
		}
		b.write(b.file(site, name), data)
	}
}

func (b *bundles) remove(path string) {
	b.t.Helper()
	if err := os.Remove(path); err != nil {
		b.t.Fatal(err)
	}
}

// id is the cluster's.
func (b *bundles) id() string {
	text, err := os.ReadFile(b.file(siteNames[0], "site.toml"))
	_, rest, ok := strings.Cut(string(text), "cluster = \"")
	if err != nil || !ok {
		b.t.Fatalf("no id of the cluster: %v", err)
	}
	id, _, _ := strings.Cut(rest, "\"")
	return id
}

// process is a running site.
type process struct {
	*harness.Server
	t   *testing.T
	log *log
}

// begin starts a site and does not wait for it. It is killed at the end of the test.
func (b *bundles) begin(site string, env ...string) *process {
	return b.run(site, b.port[site], []string{"serve", "--config", b.file(site, "site.toml")}, env...)
}

// run starts a command line that serves a site's clients on a port.
func (b *bundles) run(name string, port int, command []string, env ...string) *process {
	b.t.Helper()
	l := &log{}
	s, err := harness.New(harness.Config{Bin: program(b.t), Log: l, Port: port, Env: env,
		Command: func(listen string) []string { return append(command, "--listen", listen, "--open-registration") }})
	if err == nil {
		err = s.Begin()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		s.Kill()
		if b.t.Failed() {
			b.t.Logf("the log of %s:\n%s", name, l)
		}
	})
	return &process{s, b.t, l}
}

// refuses waits for the end of a process that must not run, and checks what it said last.
func (p *process) refuses(words string) {
	p.t.Helper()
	err := p.Wait(limit(p.t, startWithin))
	ended := p.Ended()
	if ended == nil {
		p.Kill()
		p.t.Fatalf("the process runs on, and should refuse with %q", words)
	}
	if err == nil || !strings.Contains(ended.Error(), words) {
		p.t.Errorf("it ended with %v, want %q", ended, words)
	}
}

// says waits until all words are in one line of the log.
func (p *process) says(words ...string) {
	p.t.Helper()
	said := func() bool {
		for line := range strings.Lines(p.log.String()) {
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return true
			}
		}
		return false
	}
	p.until(fmt.Sprintf("the log says %q", words), said)
}

func (p *process) until(what string, ok func() bool) {
	p.t.Helper()
	ctx := limit(p.t, startWithin)
	for !ok() {
		if ctx.Err() != nil {
			p.t.Fatalf("waited in vain until %s", what)
		}
		wait(ctx, 50*time.Millisecond)
	}
}

// serves waits until the site wants requests.
func (p *process) serves() {
	p.t.Helper()
	if err := p.Ready(limit(p.t, startWithin)); err != nil {
		p.t.Fatal(err)
	}
	p.until("it is healthy", func() bool { return p.get("/health", nil) == http.StatusOK })
}

// get asks for a document; the status is 0 when nobody answers.
func (p *process) get(path string, into any) int {
	req, err := http.NewRequestWithContext(limit(p.t, 10*time.Second), http.MethodGet, p.URL()+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if into != nil {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			return 0
		}
	}
	return resp.StatusCode
}

// startWithin is what a busy machine may take.
const startWithin = 60 * time.Second

// Settings and files that cannot be are refused at the start, with words that say what to do.
func TestSiteRefusesBadBundles(t *testing.T) {
	const takeAll = "take all of them from the directory that bongsu cluster init made for this site"
	other := newBundles(t, nil)
	for _, c := range []struct {
		name  string
		spoil func(b *bundles)
		words string
	}{
		{"two sites of one name", func(b *bundles) { b.edit("seoul", `"chuncheon link`, `"busan link`) }, "two sites are called busan"},
		{"two sites at one address", func(b *bundles) {
			b.edit("seoul", fmt.Sprintf("routes=127.0.0.1:%d", b.port["busan"]+2), fmt.Sprintf("routes=127.0.0.1:%d", b.port["seoul"]+2))
		}, "stands for seoul and for busan"},
		{"a site that is none of them", func(b *bundles) { b.edit("seoul", `site = "seoul"`, `site = "daegu"`) },
			`this is site "daegu", and the cluster has seoul, chuncheon, busan`},
		{"an address that is none", func(b *bundles) { b.edit("seoul", "link=", "lnik=") }, "is not link=, routes= or url="},
		{"another cluster's id", func(b *bundles) { b.edit("seoul", b.id(), other.id()) }, "and the settings say " + other.id()},
		{"another cluster's certificate", func(b *bundles) { b.take("seoul", other, "seoul", "ca.pem", "site.pem", "site-key.pem") },
			"is for cluster " + other.id()},
		{"another cluster's authority", func(b *bundles) { b.take("seoul", other, "seoul", "ca.pem") }, "its files are from another bundle"},
		{"another site's certificate", func(b *bundles) { b.take("seoul", b, "busan", "site.pem", "site-key.pem") }, "is for site busan, and the settings say seoul"},
		{"another site's key", func(b *bundles) { b.take("seoul", b, "busan", "site-key.pem") }, takeAll},
		{"no key", func(b *bundles) { b.remove(b.file("seoul", "site-key.pem")) },
			"site-key.pem: no such file or directory; it is part of the directory that bongsu cluster init made for this site"},
		{"no secret of the cluster", func(b *bundles) { b.remove(b.file("seoul", "cluster.key")) }, "it is part of the directory that bongsu cluster init made"},
		{"half a secret of the cluster", func(b *bundles) { b.write(b.file("seoul", "cluster.key"), []byte("half")) }, "copy it from another site"},
		{"a file that is no certificate", func(b *bundles) { b.write(b.file("seoul", "site.pem"), []byte("x")) }, takeAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBundles(t, nil)
			c.spoil(b)
			b.begin("seoul").refuses(c.words)
		})
	}
}

// A data directory belongs to a single node, to one site of one cluster, and to one process.
func TestSiteRefusesOtherDirectories(t *testing.T) {
	b := newBundles(t, nil)
	data := filepath.Join(b.dir, "seoul")
	single := start(t, data)
	if err := single.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.begin("seoul").refuses("belongs to a single node: it cannot become a site of a cluster as it is")

	first := b.begin("busan")
	first.says("not part of the cluster yet")
	b.begin("busan").refuses("is in use by another process")
	first.Kill()
	b.run("busan", b.port["busan"], []string{"serve", "--data", filepath.Join(b.dir, "busan"), "--server-name=localhost", "--site=busan"}).
		refuses("the settings name no cluster: start it with its site.toml")
	other := newBundles(t, b)
	other.edit("busan", filepath.Join(other.dir, "busan"), filepath.Join(b.dir, "busan"))
	other.begin("busan").refuses("a site of another cluster needs an empty directory")
}

// times are what a site says of the time of its partitions.
type times struct {
	Partitions []struct {
		WallMS int64 `json:"wall_ms"`
	} `json:"partitions"`
}

// Sites that cannot take part yet wait and say for what; the others do not suffer from those that should not be there.
func TestSitesWaitInWords(t *testing.T) {
	b := newBundles(t, nil)
	seoul, chuncheon := b.begin("seoul"), b.begin("chuncheon")
	seoul.says("not part of the cluster yet", "busan")
	chuncheon.says("not part of the cluster yet", "busan")
	seoul.until("it says that it does not serve", func() bool { return seoul.get("/health", nil) == http.StatusServiceUnavailable })

	// A site of another cluster in the place of the third.
	impostor := newBundles(t, b).begin("busan")
	impostor.says("not part of the cluster yet", "waiting for seoul", "its files are from another bundle")
	seoul.says("not part of the cluster yet", "waiting for busan", "its files are from another bundle")
	impostor.Kill()

	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", b.port["busan"]+2))
	if err != nil {
		t.Fatal(err)
	}
	b.begin("busan").refuses(fmt.Sprintf("127.0.0.1:%d: bind: address already in use", b.port["busan"]+2))
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}

	// The third site's clock is an hour ahead: it serves, and gives no times.
	busan := b.begin("busan", "BONGSU_CLOCK_SKEW=1h")
	for _, p := range []*process{seoul, chuncheon, busan} {
		p.serves()
	}
	busan.says("this machine's clock may be wrong")
	seoul.says("the clock of another site is wrong", "busan")
	if err := user(t, busan.Server, "anna").Do(t.Context(), http.MethodGet, harness.Path("v3", "sync"), nil, nil); err != nil {
		t.Errorf("the site with the wrong clock does not serve: %v", err)
	}
	for _, p := range []*process{seoul, busan} {
		var st times
		if p.get("/_bongsu/status", &st); len(st.Partitions) == 0 {
			t.Error("a site does not tell the time")
		}
		for i, q := range st.Partitions {
			if ahead := time.Until(time.UnixMilli(q.WallMS)); ahead > 10*time.Second {
				t.Errorf("partition %d is %v ahead", i, ahead)
			}
		}
	}

	// A second process of a site, elsewhere and with a directory of its own.
	rival := b.rival("busan")
	rival.says("another process runs as site busan")
	rival.Kill()

	// One site stays away: the cluster has been complete once, and starts without it.
	for _, p := range []*process{seoul, chuncheon, busan} {
		if err := p.Stop(limit(t, startWithin)); err != nil {
			t.Error(err)
		}
	}
	seoul, chuncheon = b.begin("seoul"), b.begin("chuncheon")
	seoul.serves()
	chuncheon.serves()
	seoul.says("busan", "connection refused")
	user(t, seoul.Server, "bela")
}

// rival starts a copy of a site's bundle as on another machine.
func (b *bundles) rival(site string) *process {
	b.t.Helper()
	port, err := freeport.Ports(3)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.run("the rival", port, []string{"serve", "--config", b.file(site, "site.toml"), "--data", filepath.Join(b.dir, "rival"),
		fmt.Sprintf("--link-listen=127.0.0.1:%d", port+1), fmt.Sprintf("--routes-listen=127.0.0.1:%d", port+2)})
}
