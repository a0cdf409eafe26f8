package cluster

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bongsu/clock"
	"bongsu/link"
)

// The files of a site's bundle.
const (
	fileSettings    = "site.toml"
	fileAuthority   = "ca.pem"
	fileCertificate = "site.pem"
	fileKey         = "site-key.pem"
	fileSeed        = "cluster.key"
)

// seedSize is the size of what all sites share, in bytes.
const seedSize = 32

// Site is how a site is reached. Its text form is "seoul link=10.0.0.1:7008 routes=10.0.0.1:7009 url=https://seoul.example.org".
type Site struct {
	Name   string // 1 to 32 characters of a-z, 0-9 and '-'
	Link   string // host:port for the other sites
	Routes string // host:port for the other sites' journal engines
	URL    string // base URL for clients; "" if there is none of its own
}

func (s Site) String() string {
	text := s.Name + " link=" + s.Link + " routes=" + s.Routes
	if s.URL != "" {
		text += " url=" + s.URL
	}
	return text
}

// ParseSite reads the text form of a Site. An error says what is wrong with it.
func ParseSite(text string) (Site, error) {
	wrong := func(format string, args ...any) (Site, error) {
		return Site{}, fmt.Errorf("%q: %s", text, fmt.Sprintf(format, args...))
	}
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return wrong("name a site, for example seoul link=10.0.0.1:7008 routes=10.0.0.1:7009")
	}
	s := Site{Name: fields[0]}
	if !validName(s.Name) {
		return wrong("a site's name is 1 to 32 characters of a-z, 0-9 and '-'")
	}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		into := map[string]*string{"link": &s.Link, "routes": &s.Routes, "url": &s.URL}[key]
		switch {
		case into == nil:
			return wrong("%q is not link=, routes= or url=", f)
		case *into != "":
			return wrong("%s= stands there twice", key)
		}
		*into = value
	}
	switch {
	case !validAddress(s.Link):
		return wrong("link=HOST:PORT is needed")
	case !validAddress(s.Routes):
		return wrong("routes=HOST:PORT is needed")
	}
	if s.URL != "" && !validURL(s.URL) {
		return wrong("url=%s is not a URL such as https://seoul.example.org", s.URL)
	}
	return s, nil
}

func validName(name string) bool {
	return name != "" && len(name) <= 32 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func validAddress(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	return err == nil && host != "" && validPort(port) && port != "0"
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

func validURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil
}

// Settings are a site's settings as part of a cluster.
type Settings struct {
	ID           string // of the cluster
	Dir          string // where the files of the site's bundle are
	Site         string // this one
	Sites        []Site // all, this one included
	LinkListen   string // host:port to listen on for other sites
	RoutesListen string // host:port to listen on for other sites' journal engines
}

// ParseSettings reads the settings from the text forms of sites, and checks them.
func ParseSettings(s Settings, sites []string) (Settings, error) {
	s.Sites = nil
	for _, text := range sites {
		site, err := ParseSite(text)
		if err != nil {
			return s, err
		}
		s.Sites = append(s.Sites, site)
	}
	return s, s.validate()
}

func (s Settings) validate() error {
	if err := validSites(s.Sites); err != nil {
		return err
	}
	switch {
	case s.ID == "" || strings.Trim(s.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return fmt.Errorf("the cluster's id %q is not of a-z, 0-9 and '-': take it from the file that bongsu cluster init wrote", s.ID)
	case !slices.Contains(s.Names(), s.Site):
		return fmt.Errorf("this is site %q, and the cluster has %s", s.Site, strings.Join(s.Names(), ", "))
	case s.Dir == "":
		return errors.New("name the directory with the site's certificate")
	case !validListen(s.LinkListen):
		return fmt.Errorf("the address to listen on for link, %q, is not HOST:PORT", s.LinkListen)
	case !validListen(s.RoutesListen):
		return fmt.Errorf("the address to listen on for routes, %q, is not HOST:PORT", s.RoutesListen)
	}
	return nil
}

func validListen(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return err == nil && validPort(port)
}

// validSites checks what must differ between sites, and how many there are.
func validSites(sites []Site) error {
	if len(sites) != 3 && len(sites) != 5 {
		return fmt.Errorf("a cluster has 3 or 5 sites, not %d: with an even number one more may not be lost than with one less", len(sites))
	}
	addresses := map[string]string{}
	names := map[string]bool{}
	for _, s := range sites {
		if names[s.Name] {
			return fmt.Errorf("two sites are called %s", s.Name)
		}
		names[s.Name] = true
		for _, addr := range []string{s.Link, s.Routes} {
			if other, taken := addresses[addr]; taken {
				return fmt.Errorf("the address %s stands for %s and for %s", addr, other, s.Name)
			}
			addresses[addr] = s.Name
		}
	}
	return nil
}

// Names are the names of all sites, in the order of the settings.
func (s Settings) Names() []string {
	names := make([]string, len(s.Sites))
	for i, site := range s.Sites {
		names[i] = site.Name
	}
	return names
}

// Peers are the links of the other sites.
func (s Settings) Peers() []link.Peer {
	var peers []link.Peer
	for _, site := range s.Sites {
		if site.Name != s.Site {
			peers = append(peers, link.Peer{Site: site.Name, Addr: site.Link})
		}
	}
	return peers
}

// Routes are the addresses of the other sites' journal engines.
func (s Settings) Routes() []string {
	var routes []string
	for _, site := range s.Sites {
		if site.Name != s.Site {
			routes = append(routes, site.Routes)
		}
	}
	return routes
}

// Credentials reads the site's certificate and key. A nil clock is the machine's.
func (s Settings) Credentials(clk clock.Clock) (*link.Credentials, error) {
	var files [3][]byte
	for i, name := range []string{fileAuthority, fileCertificate, fileKey} {
		var err error
		if files[i], err = os.ReadFile(filepath.Join(s.Dir, name)); err != nil {
			return nil, fmt.Errorf("cluster: %w; it is part of the directory that bongsu cluster init made for this site", err)
		}
	}
	c, err := link.NewCredentials(files[0], files[1], files[2], s.Names(), clk)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cluster: the files in %s do not serve: %w; take all of them from the directory that bongsu cluster init made for this site",
			s.Dir, err)
	case c.Cluster != s.ID:
		return nil, fmt.Errorf("cluster: the certificate in %s is for cluster %s, and the settings say %s", s.Dir, c.Cluster, s.ID)
	case c.Site != s.Site:
		return nil, fmt.Errorf("cluster: the certificate in %s is for site %s, and the settings say %s", s.Dir, c.Site, s.Site)
	}
	return c, nil
}

// Secret is derived from what all sites of the cluster share, for one purpose: the same 32 bytes at every site, and of no use for
// learning those of another purpose.
func (s Settings) Secret(purpose string) ([]byte, error) {
	path := filepath.Join(s.Dir, fileSeed)
	seed, err := os.ReadFile(path) //nolint:gosec // the operator says where
	if err != nil {
		return nil, fmt.Errorf("cluster: %w; it is part of the directory that bongsu cluster init made for this site", err)
	}
	if len(seed) != seedSize {
		return nil, fmt.Errorf("cluster: %s has %d bytes, not %d: copy it from another site", path, len(seed), seedSize)
	}
	return hkdf.Key(sha256.New, seed, nil, "bongsu "+s.ID+" "+purpose, 32)
}

// expiresSoon is how long before the end of a certificate it is time to renew it.
const expiresSoon = 30 * 24 * time.Hour

// CheckCertificates looks at the site's files without a running server, and returns what an operator should see to.
func CheckCertificates(s Settings, clk clock.Clock) (findings []string) {
	c, err := s.Credentials(clk)
	if err != nil {
		return []string{err.Error()}
	}
	if left := c.Until.Sub(clk.Now()); left < expiresSoon {
		findings = append(findings, fmt.Sprintf("the certificate of site %s ends in %d days: renew it with bongsu cluster certificate",
			s.Site, int(left.Hours()/24)))
	}
	if _, err := s.Secret(""); err != nil {
		findings = append(findings, err.Error())
	}
	for _, name := range []string{fileKey, fileSeed} {
		if info, err := os.Stat(filepath.Join(s.Dir, name)); err == nil && info.Mode().Perm()&0o077 != 0 {
			findings = append(findings, fmt.Sprintf("%s can be read by others: chmod 600 it", filepath.Join(s.Dir, name)))
		}
	}
	return findings
}
