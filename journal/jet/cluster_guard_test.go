package jet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bongsu/freeport"
	"bongsu/journal"
)

func TestClusterGuard(t *testing.T) {
	base := func(dir string) Config {
		return Config{Dir: dir, Partitions: 2, Cluster: &Cluster{Name: "test", Site: "seoul", Sites: siteNames[:3],
			Listen: freeport.Addr(t), Routes: []string{"127.0.0.1:1", "127.0.0.1:2"}}}
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"name of a cluster", func(c *Config) { c.Cluster.Name = "a b" }, "cluster's name"},
		{"two sites", func(c *Config) { c.Cluster.Sites = siteNames[:2] }, "three or five"},
		{"not among them", func(c *Config) { c.Cluster.Site = "jeju" }, "not among"},
		{"twice the same", func(c *Config) { c.Cluster.Sites = []string{"seoul", "busan", "busan"} }, "no two are the same"},
		{"a route too few", func(c *Config) { c.Cluster.Routes = c.Cluster.Routes[:1] }, "1 routes"},
		{"address", func(c *Config) { c.Cluster.Listen = "seoul" }, "host:port"},
		{"first positions", func(c *Config) { c.Cluster.First = []journal.Position{7} }, "first positions"},
		{"timers", func(c *Config) { c.Cluster.Timers.Heartbeat = time.Second }, "heartbeats"},
		{"other timers than the process has", func(c *Config) { c.Cluster.Timers.ElectionMin = 700 * time.Millisecond }, "timers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_ = setTimers(Timers{}.withDefaults()) // whoever came first
			conf := base(filepath.Join(t.TempDir(), "j"))
			c.change(&conf)
			j, err := Open(quiet(conf))
			if err == nil {
				closed(t, j)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}

	// A directory never changes what it belongs to.
	alone := t.TempDir()
	closed(t, open(t, Config{Dir: alone, Partitions: 2}))
	if s, err := Inspect(alone, 2); err == nil || !strings.Contains(err.Error(), "never changes its mode") {
		t.Errorf("a single node's directory: %v, %v", s, err)
	}
	conf := base(filepath.Join(t.TempDir(), "j"))
	if s, err := Inspect(conf.Dir, 2); err != nil || s != Empty {
		t.Fatalf("no directory: %v, %v", s, err)
	}
	closed(t, open(t, conf)) // alone it forms nothing, but may have voted
	if s, err := Inspect(conf.Dir, 2); err != nil || s != Forming {
		t.Fatalf("after a first start: %v, %v", s, err)
	}
	if _, err := Inspect(conf.Dir, 3); err == nil || !strings.Contains(err.Error(), "2 partitions") {
		t.Errorf("another number of partitions: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"single node", func(c *Config) { c.Cluster = nil }, `mode "cluster"`},
		{"cluster on a single node's", func(c *Config) { c.Dir = alone }, `mode "standalone"`},
		{"other cluster", func(c *Config) { c.Cluster.Name = "other" }, `cluster "test", not "other"`},
		{"other site", func(c *Config) { c.Cluster.Site = "busan" }, `site "seoul", not "busan"`},
		{"other sites", func(c *Config) { c.Cluster.Sites = []string{"seoul", "busan", "jeju"} }, "sites of a cluster never change"},
		{"other number of partitions", func(c *Config) { c.Partitions = 3 }, "2 partitions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			other := base(conf.Dir)
			c.change(&other)
			j, err := Open(quiet(other))
			if err == nil {
				closed(t, j)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	if err := Wipe(conf.Dir); err != nil {
		t.Fatal(err)
	}
	if s, err := Inspect(conf.Dir, 2); err != nil || s != Empty {
		t.Fatalf("wiped: %v, %v", s, err)
	}
}

// The clients' port that the engine insists on is on the loopback interface and has a password; a port that is taken is an error, not the
// end of the process.
func TestClusterPorts(t *testing.T) {
	conf := quiet(Config{Dir: t.TempDir(), Cluster: &Cluster{Name: "test", Site: "seoul", Sites: siteNames[:3], Listen: freeport.Addr(t),
		Routes: []string{"127.0.0.1:1", "127.0.0.1:2"}}}.withDefaults())
	o, err := engineOptions(conf)
	if err != nil || checkOptions(conf, o) != nil {
		t.Fatal(err, checkOptions(conf, o))
	}
	for _, spoil := range []func(){
		func() { o.Password = "" },
		func() { o.Password, o.Host = strings.Repeat("x", 30), "0.0.0.0" },
		func() { o.Host, o.HTTPPort = "127.0.0.1", 8222 },
		func() { o.HTTPPort, o.SyncAlways = 0, false },
	} {
		if spoil(); checkOptions(conf, o) == nil {
			t.Errorf("accepted: %+v", o)
		}
	}
	j := open(t, conf)
	defer closed(t, j)
	conf.Dir = t.TempDir()
	if k, err := Open(conf); err == nil || !strings.Contains(err.Error(), "in use") {
		if err == nil {
			closed(t, k)
		}
		t.Fatalf("a port that is taken: %v", err)
	}
}

// authority makes certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  ed25519.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// tls is a site's configuration: it trusts what a has signed and checks that itself.
func (a *authority) tls(t *testing.T, site string) *tls.Config {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: site}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, // VerifyConnection does it
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		},
	}
}

// Routes are encrypted, and who has another authority's certificate, or belongs to another cluster, stays out in both directions.
func TestClusterTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	c := startTrio(t, 1, func(conf *Config) { conf.Cluster.TLS = ca.tls(t, conf.Cluster.Site) })
	c.fill(c.sites[0], 0, 1, 5, 500)
	for _, s := range c.sites {
		c.want(s, 0, 1, 5, 500)
	}
	stranger := c.sites[2]
	c.stop(stranger)
	right := c.conf[stranger]
	last := 5
	for name, change := range map[string]func(*Config){
		"another authority's certificate": func(c *Config) { c.Cluster.TLS = newAuthority(t).tls(t, stranger) },
		"another cluster's name":          func(c *Config) { c.Cluster.Name, c.Dir = "other", t.TempDir() },
	} {
		conf, k := right, *right.Cluster
		conf.Cluster = &k
		change(&conf)
		c.conf[stranger] = conf
		j := c.start(stranger)
		c.fill(c.sites[0], 0, last+1, last+15, 500)
		last += 15
		if err := j.Refusing(); !errors.Is(err, errNoQuorum) {
			t.Errorf("with %s it refuses with: %v", name, err)
		}
		if l := j.seen(0).last; l > 5 {
			t.Errorf("with %s it has records up to %d", name, l)
		}
		c.stop(stranger)
	}
	c.conf[stranger] = right
	c.start(stranger)
	c.want(stranger, 0, 1, last, 500)
}

func TestWipeNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	if err := Wipe(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("made: %v", err)
	}
}

// What Check has found is not looked for again by Open, unless it is long ago. Meanwhile nobody else gets at the directory.
func TestClusterCheckedOnce(t *testing.T) {
	t.Parallel()
	c := startTrio(t, 1, nil)
	site := c.sites[0]
	c.fill(site, 0, 1, 60, damagedSize)
	c.want(site, 0, 1, 60, damagedSize)
	c.stopAll()
	conf := c.conf[site]
	check := func() *Checked {
		t.Helper()
		k, err := Check(conf.Dir, 1)
		if err != nil || k.State != Formed {
			t.Fatalf("checked: %+v, %v", k, err)
		}
		if _, err := Inspect(conf.Dir, 1); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("checked while it is locked: %v", err)
		}
		return k
	}
	flip := func() { // a bit in the first block of records, and back
		edit(t, blocksOf(t, conf.Dir, 0)[0], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	}
	old := check()
	old.at = old.at.Add(-2 * checkedFor)
	flip()
	conf.Checked = old
	if j, err := Open(conf); !errors.Is(err, journal.ErrDamaged) {
		t.Fatalf("checked long ago: opened %v, %v", j, err)
	}
	flip()
	given := check()
	if err := errors.Join(given.Close(), given.Close()); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	conf.Checked = given // has nothing to hand over
	closed(t, open(t, conf))
	conf.Checked = check()
	flip()
	closed(t, open(t, conf))
	if _, err := Inspect(conf.Dir, 1); !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("the damage was not there to be found: %v", err)
	}
}
