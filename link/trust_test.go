package link

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"bongsu/clock"
)

// TestWrongCertificates has a site called busan answer, or call, with all that may be wrong with a certificate. Both must refuse, in words.
func TestWrongCertificates(t *testing.T) {
	n := newNet(t)
	var err error
	if n.authority, err = NewAuthority("c1", time.Now().Add(-certificateLife-2*backdated)); err != nil { // so that it can sign expired ones
		t.Fatal(err)
	}
	other, err := NewAuthority("c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := NewAuthority("c2", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// The same authority, and a certificate for another cluster.
	c2 := *n.authority
	c2.Cluster = "c2"
	now := time.Now()
	for name, c := range map[string]struct {
		credentials *Credentials
		words       string
	}{
		"right":             {n.credentials(n.authority, "busan", now), ""},
		"other authority":   {n.credentials(other, "busan", now), "was not signed by this cluster's authority"},
		"other cluster":     {n.credentials(elsewhere, "busan", now), "was not signed by this cluster's authority"},
		"cluster renamed":   {n.credentials(&c2, "busan", now), "is for cluster c2, and this is cluster c1"},
		"another site":      {n.credentials(n.authority, "chuncheon", now), `it is site "chuncheon", not "busan"`},
		"our own name":      {n.credentials(n.authority, "seoul", now), `has the certificate of site "seoul", which is this one`},
		"expired":           {n.credentials(n.authority, "busan", now.Add(-certificateLife-time.Hour)), "its certificate expired at"},
		"not yet valid":     {n.credentials(n.authority, "busan", now.Add(3*backdated)), "set the clocks of both machines right"},
		"unknown site":      {forged(n, "daegu"), `is for site "daegu", and the cluster has busan, chuncheon, seoul`},
		"no site in it":     {forged(n, ""), "names no site of a cluster"},
		"authority expired": {n.credentials(n.authority, "busan", now), "its certificate expired at"},
	} {
		t.Run(name, func(t *testing.T) {
			mine := n.credentials(n.authority, "seoul", now)
			if name == "authority expired" {
				mine.clock = clock.Func(func() time.Time { return now.Add(authorityLife + time.Hour) })
			}
			seoul := &Link{cfg: Config{Credentials: mine}, ctx: t.Context()}
			called, calling := handshake(t, seoul, c.credentials)
			for who, err := range map[string]error{"called": called, "calling": calling} {
				switch {
				case name == "another site" && who == "calling": // it may call
					if err != nil {
						t.Errorf("%s: %v", who, err)
					}
				case c.words == "" && err != nil, c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)):
					t.Errorf("%s: %v; want %q", who, err, c.words)
				}
			}
		})
	}
}

// forged are credentials of a site that the cluster does not have, signed by its authority.
func forged(n *net3, site string) *Credentials {
	c := n.credentials(n.authority, "busan", time.Now())
	cert, key, err := n.authority.Issue(site, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	if c.own, err = tls.X509KeyPair(cert, key); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// handshake lets theirs be called by l as busan, and then call l. The results are what l made of it.
func handshake(t *testing.T, l *Link, theirs *Credentials) (called, calling error) {
	t.Helper()
	lax := theirs.tls(nil) // whatever we are
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			_ = tls.Server(conn, lax).HandshakeContext(t.Context())
			_ = conn.Close()
		}
	}()
	transport := l.newTransport(Peer{"busan", ln.Addr().String()})
	conn, called := transport.DialTLSContext(t.Context(), "tcp", "")
	if called == nil {
		_ = conn.Close()
	}
	go func() {
		if conn, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			c := tls.Client(conn, lax)
			_ = c.Handshake()
			_, _ = c.Read(make([]byte, 1)) // the verdict on a client's certificate comes after its handshake
			_ = conn.Close()
		}
	}()
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	return called, tls.Server(accepted, l.cfg.Credentials.TLS()).HandshakeContext(t.Context())
}

// TestEngineRoutes uses the configuration as an engine does: cloned, with a server name, on both ends.
func TestEngineRoutes(t *testing.T) {
	n := newNet(t)
	seoul, busan := n.credentials(n.authority, "seoul", time.Now()).TLS(), n.credentials(n.authority, "busan", time.Now()).TLS()
	client, server := pair(t)
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, busan.Clone()).Handshake() }()
	cfg := seoul.Clone()
	cfg.ServerName = "10.0.0.7"
	if err := errors.Join(tls.Client(client, cfg).Handshake(), <-done); err != nil {
		t.Error(err)
	}
	// Without a certificate nobody gets in.
	client, server = pair(t)
	go func() {
		c := tls.Client(client, &tls.Config{InsecureSkipVerify: true})
		_ = c.Handshake()
		_, _ = c.Read(make([]byte, 1))
	}()
	if err := tls.Server(server, busan).Handshake(); err == nil {
		t.Error("a caller without a certificate was let in")
	}
}

func TestNewCredentialsRefuses(t *testing.T) {
	n := newNet(t)
	now := time.Now()
	cert, key, _ := n.authority.Issue("seoul", now)
	old, oldKey, _ := n.authority.Issue("seoul", now.Add(-certificateLife-backdated))
	other, _ := NewAuthority("c1", now)
	ca := n.authority.Certificate()
	for words, c := range map[string]struct {
		ca, cert, key []byte
		sites         []string
	}{
		"holds no certificate":       {[]byte("?"), cert, key, names},
		"private key does not match": {ca, cert, oldKey, names},
		"failed to find":             {ca, key, key, names},
		"not signed by this cluster": {other.Certificate(), cert, key, names},
		"expired at":                 {ca, old, oldKey, names},
		`is for site "seoul", and`:   {ca, cert, key, []string{"a", "b", "c"}},
		"names no site":              {ca, ca, authorityKey(t, n.authority), names},
	} {
		if _, err := NewCredentials(c.ca, c.cert, c.key, c.sites, nil); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	again, err := ReadAuthority(ca, authorityKey(t, n.authority))
	if err != nil || again.Cluster != "c1" {
		t.Fatalf("%+v %v", again, err)
	}
	n.credentials(again, "busan", now)
	for words, c := range map[string][2][]byte{
		"not PEM":                     {[]byte("?"), key},
		"not that of a cluster's":     {cert, key},
		"does not belong to its":      {ca, key},
		"the authority's key: ":       {ca, cert},
		"the authority's certificate": {key, key},
	} {
		if _, err := ReadAuthority(c[0], c[1]); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
}

func authorityKey(t *testing.T, a *Authority) []byte {
	t.Helper()
	key, err := a.Key()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestRefusalIsLoggedOnce: a caller of another cluster tries every half second, and is logged once, at both ends.
func TestRefusalIsLoggedOnce(t *testing.T) {
	n := newNet(t)
	other, err := NewAuthority("c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	seoul := n.open("seoul")
	busan := n.open("busan", func(c *Config) { // it believes us, and shows a certificate of another authority
		c.Credentials = n.credentials(other, "busan", time.Now())
		c.Credentials.ca = n.credentials(n.authority, "busan", time.Now()).ca
	})
	calls := 0
	eventually(t, "some attempts", func() bool {
		_, _, err := get(t, busan, "seoul", "/")
		calls++
		return err != nil && calls > 5
	})
	if got := n.logs["seoul"].count("a connection from another site was refused"); got != 1 {
		t.Errorf("logged %d times", got)
	}
	if seoul.hears("busan") {
		t.Error("a site of another cluster is heard")
	}
	if _, _, err := get(t, seoul, "busan", "/"); err == nil || !strings.Contains(err.Error(), "its files are from another bundle") {
		t.Errorf("%v", err)
	}
	// One that we believe and that does not believe us: only it knows why.
	chuncheon := n.open("chuncheon", func(c *Config) {
		mine := n.credentials(n.authority, "chuncheon", time.Now())
		mine.ca = n.credentials(other, "busan", time.Now()).ca
		c.Credentials = mine
	})
	_ = chuncheon
	if _, _, err := get(t, seoul, "chuncheon", "/"); err == nil || !strings.Contains(err.Error(), "refuses this site's certificate, and its log says why") {
		t.Errorf("%v", err)
	}
}

// TestUnlinkedSite: a certificate of the cluster is not enough, the site must be among the peers.
func TestUnlinkedSite(t *testing.T) {
	n := newNet(t)
	n.open("seoul", func(c *Config) { c.Peers = c.Peers[1:] }) // without busan
	busan := n.open("busan")
	if code, text, err := get(t, busan, "seoul", "/"); code != http.StatusForbidden || err != nil {
		t.Errorf("%d %q %v", code, text, err)
	}
}
