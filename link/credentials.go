package link

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"bongsu/clock"
)

// Credentials are a site's certificate and key, and the authority that signs those of all sites. They are right for one cluster
// and one site, and do not change.
type Credentials struct {
	Cluster, Site string    // as the certificate has them
	Until         time.Time // when the certificate ends

	own   tls.Certificate
	ca    *x509.CertPool
	sites []string
	clock clock.Clock
}

// Identity is the URI by which a certificate names a site of a cluster.
func Identity(cluster, site string) *url.URL {
	return &url.URL{Scheme: "bongsu", Host: cluster, Path: "/" + site}
}

// NewCredentials reads PEM: the cluster's authority, the site's certificate and its key. sites are all sites of the cluster, for a
// certificate of any other is refused. A nil clock is the machine's.
func NewCredentials(ca, certificate, key []byte, sites []string, clk clock.Clock) (*Credentials, error) {
	if clk == nil {
		clk = clock.System{}
	}
	c := &Credentials{ca: x509.NewCertPool(), sites: slices.Clone(sites), clock: clk}
	if !c.ca.AppendCertsFromPEM(ca) {
		return nil, errors.New("link: the authority's file holds no certificate")
	}
	var err error
	if c.own, err = tls.X509KeyPair(certificate, key); err != nil {
		return nil, fmt.Errorf("link: this site's certificate and key: %w", err)
	}
	leaf, err := x509.ParseCertificate(c.own.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("link: this site's certificate: %w", err)
	}
	c.own.Leaf, c.Until = leaf, leaf.NotAfter
	if c.Cluster, c.Site, err = identify(leaf); err != nil {
		return nil, fmt.Errorf("link: this site's certificate: %w", err)
	}
	if err := c.trust(leaf); err != nil {
		return nil, fmt.Errorf("link: this site's certificate: %w", err)
	}
	if !slices.Contains(sites, c.Site) {
		return nil, fmt.Errorf("link: the certificate is for site %q, and the cluster has %s", c.Site, strings.Join(sites, ", "))
	}
	return c, nil
}

// TLS is for both ends of a connection with another site, of any protocol. It verifies the other end by itself: its certificate
// must be signed by the cluster's authority for this cluster and for another of its sites. Names of hosts are not looked at. The
// result may be cloned, and its ServerName set.
func (c *Credentials) TLS() *tls.Config {
	return c.tls(func(state tls.ConnectionState) error {
		_, err := c.peer(state)
		return err
	})
}

// tls is a configuration with the given check of the other end.
func (c *Credentials) tls(verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.own},
		// The usual verification wants a host name, which proves nothing here. VerifyConnection is called in every handshake
		// on both sides, and checks more.
		InsecureSkipVerify:     true, //nolint:gosec // see above
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true, // so that every connection shows its certificate
		VerifyConnection:       verify,
		Time:                   c.clock.Now,
	}
}

// refusal is why the other end of a connection is not believed, in words for the operator.
type refusal string

func (r refusal) Error() string { return string(r) }

func refuse(format string, args ...any) error { return refusal(fmt.Sprintf(format, args...)) }

// peer is the site at the other end of a connection.
func (c *Credentials) peer(state tls.ConnectionState) (site string, err error) {
	if len(state.PeerCertificates) == 0 {
		return "", refuse("it shows no certificate: it is no site of a cluster")
	}
	leaf := state.PeerCertificates[0]
	if err := c.trust(leaf); err != nil {
		return "", err
	}
	cluster, site, err := identify(leaf)
	switch {
	case err != nil:
		return "", err
	case cluster != c.Cluster:
		return "", refuse("its certificate is for cluster %s, and this is cluster %s: its files are from another bundle", cluster, c.Cluster)
	case site == c.Site:
		return "", refuse("it has the certificate of site %q, which is this one: two processes were given the same site's files, "+
			"or an address of a peer is this site's own", site)
	case !slices.Contains(c.sites, site):
		return "", refuse("its certificate is for site %q, and the cluster has %s", site, strings.Join(c.sites, ", "))
	}
	return site, nil
}

// trust checks that the cluster's authority signed a certificate that is valid now.
func (c *Credentials) trust(leaf *x509.Certificate) error {
	now := c.clock.Now()
	_, err := leaf.Verify(x509.VerifyOptions{Roots: c.ca, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return refuse("its certificate was not signed by this cluster's authority: its files are from another bundle")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(invalid.Cert.NotBefore):
		return refuse("its certificate is valid from %s on, and this machine's clock says %s: set the clocks of both machines right",
			stamp(invalid.Cert.NotBefore), stamp(now))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return refuse("its certificate expired at %s, and this machine's clock says %s: renew it with bongsu cluster certificate, "+
			"or set the clock right", stamp(invalid.Cert.NotAfter), stamp(now))
	}
	return refuse("its certificate is not valid: %v", err)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// identify reads cluster and site out of a certificate.
func identify(leaf *x509.Certificate) (cluster, site string, err error) {
	for _, u := range leaf.URIs {
		if u.Scheme == "bongsu" && u.Host != "" && len(u.Path) > 1 {
			return u.Host, u.Path[1:], nil
		}
	}
	return "", "", refuse("its certificate names no site of a cluster")
}
