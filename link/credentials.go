package link

import (
	"crypto/tls"

	"bongsu/clock"
)

// Credentials are a site's certificate and key, and the authority that signs those of all sites.
type Credentials struct {
	Cluster, Site string
}

// NewCredentials reads PEM. sites are all sites of the cluster: certificates of others are refused.
func NewCredentials(ca, certificate, key []byte, sites []string, clk clock.Clock) (*Credentials, error) {
	return nil, nil
}

// TLS is for both ends of a connection with another site, of any protocol.
func (c *Credentials) TLS() *tls.Config { return nil }
