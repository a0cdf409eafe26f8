package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"bongsu/disk"
	"bongsu/id"
	"bongsu/link"
)

// Default ports of a site. Where a client port is given, the other two are the next ones.
const (
	portClients = 8008
	portLink    = 7008
	portRoutes  = 7009
)

// dirAuthority is the directory of the authority, beside those of the sites.
const dirAuthority = "ca"

// fileAuthorityKey is in no site's directory.
const fileAuthorityKey = "ca-key.pem"

// Plan is a cluster to be made.
type Plan struct {
	ServerName string     // the same at all sites
	Sites      []SitePlan // 3 or 5
	Partitions int        // of the journal; 0 leaves the default
	Data       string     // data directory of a site; {site} stands for its name; "" is /var/lib/bongsu
}

// SitePlan is a site to be made.
type SitePlan struct {
	Name    string
	Host    string // by which the other sites reach it: an address or a name
	Clients int    // ports; 0 is the default
	Link    int
	Routes  int
	URL     string // base URL for clients; "" is http://Host:Clients
}

// ParseSitePlan reads NAME=HOST or NAME=HOST:PORT. The port is the one for clients, and the next two are for link and routes: so
// that several sites fit on one machine.
func ParseSitePlan(text string) (SitePlan, error) {
	name, host, ok := strings.Cut(text, "=")
	p := SitePlan{Name: name, Host: host}
	if h, port, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || n > 65533 {
			return p, fmt.Errorf("%q: %q is not a port from 1 to 65533", text, port)
		}
		p.Host, p.Clients, p.Link, p.Routes = h, int(n), int(n)+1, int(n)+2
	}
	p.Host = strings.Trim(p.Host, "[]") // an IPv6 address
	switch {
	case !ok || p.Host == "" || strings.ContainsAny(p.Host, " /,"):
		return p, fmt.Errorf("%q is not NAME=HOST or NAME=HOST:PORT, such as seoul=10.0.0.1", text)
	case !validName(p.Name) || p.Name == dirAuthority:
		return p, fmt.Errorf("%q: a site's name is 1 to 32 characters of a-z, 0-9 and '-', and not %q", text, dirAuthority)
	}
	return p, nil
}

// listen is where the site listens on a port: on the address by which it is known, or everywhere if it is known by a name.
func (p SitePlan) listen(port int) string {
	if _, err := netip.ParseAddr(p.Host); err != nil {
		return ":" + strconv.Itoa(port)
	}
	return p.address(port)
}

func (p SitePlan) address(port int) string { return net.JoinHostPort(p.Host, strconv.Itoa(port)) }

func (p SitePlan) site() Site {
	return Site{Name: p.Name, Link: p.address(p.Link), Routes: p.address(p.Routes), URL: p.URL}
}

// withDefaults fills in ports and URLs.
func (p Plan) withDefaults() Plan {
	if p.Data == "" {
		p.Data = "/var/lib/bongsu"
	}
	sites := make([]SitePlan, len(p.Sites))
	for i, s := range p.Sites {
		for _, port := range []struct {
			to  *int
			def int
		}{{&s.Clients, portClients}, {&s.Link, portLink}, {&s.Routes, portRoutes}} {
			if *port.to == 0 {
				*port.to = port.def
			}
		}
		if s.URL == "" {
			s.URL = "http://" + s.address(s.Clients)
		}
		sites[i] = s
	}
	p.Sites = sites
	return p
}

// check returns the sites of a plan that can be carried out.
func (p Plan) check() ([]Site, error) {
	if _, err := id.ParseServerName(p.ServerName); err != nil {
		return nil, fmt.Errorf("server name: %q is not a host name with an optional port", p.ServerName)
	}
	var sites []Site
	hosts := map[string]string{}
	for _, s := range p.Sites {
		site, err := ParseSite(s.site().String())
		if err != nil {
			return nil, err
		}
		sites = append(sites, site)
		if other, taken := hosts[s.Host]; taken && !strings.Contains(p.Data, "{site}") {
			return nil, fmt.Errorf("sites %s and %s are on one machine and need data directories of their own: "+
				"put {site} into the path, as in /var/lib/bongsu/{site}", other, s.Name)
		}
		hosts[s.Host] = s.Name
	}
	return sites, validSites(sites)
}

// Init makes the files of a new cluster in dir, which must not exist or be empty: the authority's below ca, and a directory for each site
// with all that it needs. It returns the cluster's id.
func Init(dir string, p Plan, now time.Time) (cluster string, err error) {
	p = p.withDefaults()
	sites, err := p.check()
	if err != nil {
		return "", err
	}
	if err := emptyDir(dir); err != nil {
		return "", err
	}
	cluster = strings.ToLower(rand.Text())
	authority, err := link.NewAuthority(cluster, now)
	if err != nil {
		return "", err
	}
	seed := make([]byte, seedSize)
	if _, err := rand.Read(seed); err != nil {
		return "", err
	}
	key, err := authority.Key()
	if err != nil {
		return "", err
	}
	if err := writeFiles(filepath.Join(dir, dirAuthority), map[string][]byte{fileAuthority: authority.Certificate(), fileAuthorityKey: key}); err != nil {
		return "", err
	}
	for i, s := range p.Sites {
		cert, key, err := authority.Issue(s.Name, now)
		if err != nil {
			return "", err
		}
		if err := writeFiles(filepath.Join(dir, s.Name), map[string][]byte{
			fileSettings: settingsFile(cluster, p, i, sites), fileAuthority: authority.Certificate(), fileCertificate: cert, fileKey: key, fileSeed: seed,
		}); err != nil {
			return "", err
		}
	}
	return cluster, nil
}

// Renew makes a new certificate and key for a site in out, signed by the authority in ca.
func Renew(ca, site, out string, now time.Time) error {
	if !validName(site) {
		return fmt.Errorf("%q is not the name of a site", site)
	}
	var files [2][]byte
	for i, name := range []string{fileAuthority, fileAuthorityKey} {
		var err error
		if files[i], err = os.ReadFile(filepath.Join(ca, name)); err != nil {
			return fmt.Errorf("the authority's directory is the one called ca that bongsu cluster init made: %w", err)
		}
	}
	authority, err := link.ReadAuthority(files[0], files[1])
	if err != nil {
		return err
	}
	cert, key, err := authority.Issue(site, now)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	for _, name := range []string{fileCertificate, fileKey} {
		if _, err := os.Lstat(filepath.Join(out, name)); err == nil {
			return fmt.Errorf("%s exists: name another directory, and put the new files in place when they are complete", filepath.Join(out, name))
		}
	}
	return writeFiles(out, map[string][]byte{fileAuthority: files[0], fileCertificate: cert, fileKey: key})
}

// emptyDir makes a directory, or fails if something is in it.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.MkdirAll(dir, 0o700)
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: a cluster is made in a new directory, so that no key of another is overwritten", dir)
	}
	return nil
}

// writeFiles makes a directory of private files, on stable storage.
func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range sorted(files) {
		if err := disk.WriteFile(filepath.Join(dir, name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

// settingsText is site.toml.
const settingsText = `# Site {{.Site.Name}} of a Bongsu cluster. Start it with: bongsu serve --config {{.Name}}
server-name = {{quote .Plan.ServerName}}
site = {{quote .Site.Name}}
data = {{quote .Data}}

# Clients are served here, without TLS: put a reverse proxy in front, and tell its URL in public-url.
listen = {{quote .Listen}}
public-url = {{quote .Site.URL}}
{{- if .Plan.Partitions}}

partitions = {{.Plan.Partitions}}
{{- end}}

# The same at all sites. The files of this directory prove that this is site {{.Site.Name}}; cluster-dir says where they are if they
# are not beside this one.
cluster = {{quote .ID}}
cluster-sites = [
{{- range .Sites}}
  {{quote .String}},
{{- end}}
]

# Where this site listens for the others: link, and the journal's engine.
link-listen = {{quote .Link}}
routes-listen = {{quote .Routes}}
`

// settingsFile is site.toml for the i-th site.
func settingsFile(cluster string, p Plan, i int, sites []Site) []byte {
	s := p.Sites[i]
	t := template.Must(template.New("").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(settingsText))
	var b strings.Builder
	err := t.Execute(&b, map[string]any{"Name": fileSettings, "ID": cluster, "Plan": p, "Site": s, "Sites": sites,
		"Data":   strings.ReplaceAll(p.Data, "{site}", s.Name),
		"Listen": s.listen(s.Clients), "Link": s.listen(s.Link), "Routes": s.listen(s.Routes)})
	if err != nil {
		panic(fmt.Sprintf("cluster: the template of %s is wrong: %v", fileSettings, err)) // ours, not the user's
	}
	return []byte(b.String())
}
