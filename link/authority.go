package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// How long certificates are valid. All sites of a cluster get theirs on one day, so they also end on one day: far away, and watched
// by those who check certificates. They begin a day early, for clocks that are behind.
const (
	certificateLife = 10 * 365 * 24 * time.Hour
	authorityLife   = 30 * 365 * 24 * time.Hour
	backdated       = 24 * time.Hour
)

// Authority signs the certificates of a cluster's sites. Its key is needed for nothing else and should be kept apart from the sites.
type Authority struct {
	Cluster string // id

	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM []byte
}

// NewAuthority makes the authority of the cluster with the given id.
func NewAuthority(cluster string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	template, err := certificate("Bongsu cluster "+cluster, now, authorityLife, &url.URL{Scheme: "bongsu", Host: cluster})
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return readAuthority(der, key)
}

// ReadAuthority reads what Certificate and Key have written.
func ReadAuthority(certificate, key []byte) (*Authority, error) {
	cert, _ := pem.Decode(certificate)
	private, _ := pem.Decode(key)
	if cert == nil || private == nil {
		return nil, errors.New("link: the authority's files are not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(private.Bytes)
	if err != nil {
		return nil, fmt.Errorf("link: the authority's key: %w", err)
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("link: the authority's key is of another kind")
	}
	return readAuthority(cert.Bytes, k)
}

func readAuthority(der []byte, key *ecdsa.PrivateKey) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	switch {
	case err != nil:
		return nil, fmt.Errorf("link: the authority's certificate: %w", err)
	case !cert.IsCA || len(cert.URIs) != 1 || cert.URIs[0].Scheme != "bongsu" || cert.URIs[0].Host == "":
		return nil, errors.New("link: the authority's certificate is not that of a cluster's authority")
	case !key.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("link: the authority's key does not belong to its certificate")
	}
	return &Authority{Cluster: cert.URIs[0].Host, cert: cert, key: key, certPEM: encodePEM("CERTIFICATE", der)}, nil
}

// Certificate is the authority's certificate as PEM; every site has it.
func (a *Authority) Certificate() []byte { return a.certPEM }

// Key is the authority's private key as PEM.
func (a *Authority) Key() ([]byte, error) { return encodeKey(a.key) }

// Issue makes a certificate and a key for a site, as PEM.
func (a *Authority) Issue(site string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("link: %w", err)
	}
	template, err := certificate(site, now, certificateLife, Identity(a.Cluster, site))
	if err != nil {
		return nil, nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("link: %w", err)
	}
	key, err = encodeKey(private)
	return encodePEM("CERTIFICATE", der), key, err
}

// certificate is what all certificates have.
func certificate(name string, now time.Time, life time.Duration, who *url.URL) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdated),
		NotAfter: now.Add(life), URIs: []*url.URL{who}}, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return encodePEM("PRIVATE KEY", der), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
