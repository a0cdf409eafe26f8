// Package config holds every setting of Bongsu in one documented struct.
//
// A setting has one name in four places: the flag --disk-reserve, the environment's BONGSU_DISK_RESERVE, the file's
// disk-reserve = "1GiB" (or reserve under [disk]), and the struct's field. A flag wins over the environment, the environment
// over the file, the file over the default. A key in the file that is no setting is an error that names it.
//
// Invariant: a Config that came from Load, or from a command line with kong, has passed Validate.
//
// Limits: nothing is read again while the process runs. The struct tags are those of kong, which prints the help from them.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"bongsu/id"
)

// Config is every setting of a server.
type Config struct {
	File `embed:""`

	Data       string `placeholder:"DIR" help:"Directory for all data. It belongs to one running server. Required."`
	Listen     string `placeholder:"HOST:PORT" default:"127.0.0.1:8008" help:"Address to serve HTTP on; port 0 takes a free one. Default ${default}."`
	ServerName string `placeholder:"NAME" help:"Name of the server, the part of @user:NAME after the colon. It can never be changed. Required."`
	PublicURL  string `name:"public-url" placeholder:"URL" help:"Base URL by which clients reach the server, told in /.well-known/matrix/client. Default: not told."`
	Site       string `placeholder:"NAME" default:"main" help:"Name of this site, of a-z, 0-9 and '-'. Default ${default}."`

	OpenRegistration bool   `help:"Let everybody make an account."`
	UserDirectory    string `enum:"met,all,off" default:"met" placeholder:"met|all|off" help:"Whom users find by name: met, those who share a room or are in a room that is open to all; all; or off, nobody. Default ${default}."`

	Accounts Accounts `embed:"" group:"Accounts"`
	Support  Support  `embed:"" prefix:"support-" group:"Support"`

	Mail    Mail    `embed:"" prefix:"mail-" group:"Mail"`
	API     API     `embed:"" group:"Requests"`
	Disk    Disk    `embed:"" group:"Storage"`
	Cluster Cluster `embed:"" group:"Sites"`
	Log     Log     `embed:"" prefix:"log-" group:"Logs"`
}

// Accounts is what holds for people's accounts.
type Accounts struct {
	RegistrationTokens bool          `help:"Let those make an account who have a registration token. See bongsu token."`
	RegistrationEmail  string        `enum:"off,optional,required" default:"off" placeholder:"off|optional|required" help:"Whether an e-mail address is confirmed for a new account. Default ${default}."`
	Terms              []string      `sep:"," placeholder:"TERM,…" help:"Documents to accept for a new account, each 'ID VERSION LANGUAGE URL NAME': 'privacy_policy 1.2 en https://example.org/privacy.html Privacy policy'. Default none."`
	TokenLifetime      time.Duration `default:"1h" placeholder:"TIME" help:"How long an access token is good, where the client can refresh it. Default ${default}."`
}

// Support is where people get help with the server, told in /.well-known/matrix/support.
type Support struct {
	Page     string   `placeholder:"URL" help:"Page with help for the users of this server, told in /.well-known/matrix/support. Default none."`
	Contacts []string `sep:"," placeholder:"CONTACT,…" help:"Who runs the server, each 'ROLE ADDRESS', with a user id, an e-mail address or both: 'admin @amy:example.org amy@example.org'. Roles are admin and security. Default none."`
}

// Mail is how messages to e-mail addresses are sent. Without a server none are, and addresses cannot be added to accounts.
type Mail struct {
	Server   string `placeholder:"HOST:PORT" help:"Mail server that messages are handed to. Default none: no mail is sent."`
	From     string `placeholder:"ADDRESS" help:"Sender of messages, 'Example <no-reply@example.org>'. Required with a mail server. Default none."`
	User     string `placeholder:"NAME" help:"User name at the mail server. Default none: it is not logged in."`
	Password string `placeholder:"SECRET" help:"Password at the mail server. Better in the file or the environment than on the command line. Default none."`
	Security string `enum:"starttls,tls,none" default:"starttls" placeholder:"HOW" help:"starttls, tls, or none for a mail server on this machine. Default ${default}."`
}

// API is how requests are served.
type API struct {
	RateLimits      string        `enum:"on,off" default:"on" placeholder:"on|off" help:"Limit how often one user or address may log in, register and send. Default ${default}."`
	Presence        string        `enum:"on,off" default:"on" placeholder:"on|off" help:"Tell users who share a room whether the others are there. Default ${default}."`
	TrustedProxies  []string      `default:"127.0.0.0/8,::1/128" placeholder:"CIDR" help:"Proxies whose X-Forwarded-For is believed. Default ${default}."`
	RequestTimeout  time.Duration `default:"10s" placeholder:"TIME" help:"After this a request is answered 503; long polls are apart. Default ${default}."`
	MaxRequests     int           `default:"1024" placeholder:"N" help:"Requests at work at a time; more are answered 503; long polls are apart. Default ${default}."`
	MaxUpload       Bytes         `default:"50MiB" placeholder:"SIZE" help:"Largest file that may be uploaded. Default ${default}."`
	ShutdownTimeout time.Duration `default:"10s" placeholder:"TIME" help:"How long requests in flight may take to finish when the server stops. Default ${default}."`
}

// Disk is what is kept and how.
type Disk struct {
	Partitions  int   `default:"4" placeholder:"N" help:"Partitions of the journal, 1 to 64. Fixed when the data directory is made. Default ${default}."`
	DiskReserve Bytes `default:"256MiB" placeholder:"SIZE" help:"Free space below which writes are refused; reads go on. Default ${default}."`
	DiskBudget  Bytes `default:"0" placeholder:"SIZE" help:"Size of the journal above which writes are refused; 0 is no bound. Default ${default}."`
	Queue       Bytes `default:"8MiB" placeholder:"SIZE" help:"Writes that may wait for one partition; more are answered 503. Default ${default}."`
	Cache       Bytes `default:"32MiB" placeholder:"SIZE" help:"Memory for the cache of stored rows. Default ${default}."`
}

// Cluster is this site's place among others; all of it is empty on a single node. "bongsu cluster init" writes it.
type Cluster struct {
	ID           string   `name:"cluster" placeholder:"ID" help:"The cluster that this site belongs to; none: a single node. Fixed when the data directory is made."`
	ClusterDir   string   `placeholder:"DIR" help:"Directory of the site's certificate and keys; where the file with the settings is, if not said."`
	ClusterSites []string `placeholder:"SITE,…" help:"All sites, this one too: 'seoul link=10.0.0.1:7008 routes=10.0.0.1:7009 url=https://seoul.example.org'. Required in a cluster."`
	LinkListen   string   `placeholder:"HOST:PORT" help:"Address for the other sites' requests. Required in a cluster."`
	RoutesListen string   `placeholder:"HOST:PORT" help:"Address for the other sites' journals. Required in a cluster."`
}

// Log is what is logged, on standard error.
type Log struct {
	Level  string `enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"debug, info, warn or error. Default ${default}."`
	Format string `enum:"auto,text,json" default:"auto" placeholder:"FORMAT" help:"text, json, or auto: text on a terminal, else JSON. Default ${default}."`
}

// EnvPrefix begins the name of every setting in the environment.
const EnvPrefix = "BONGSU"

// Options are what a kong parser of a struct with a Config in it needs.
func Options() []kong.Option {
	return []kong.Option{kong.DefaultEnvars(EnvPrefix)}
}

// Load reads the settings from args, the environment and the file that one of them names.
func Load(args []string) (Config, error) {
	var c Config
	parser, err := kong.New(&c, append(Options(), kong.NoDefaultHelp())...)
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	if _, err := parser.Parse(args); err != nil {
		return Config{}, err
	}
	return c, nil
}

// Default is every setting at its default, whatever the environment says. It is not valid: Data and ServerName have none.
func Default() Config {
	var c Config
	parser, err := kong.New(&c, kong.NoDefaultHelp())
	if err == nil {
		_, err = parser.Parse([]string{"--data=.", "--server-name=localhost"})
		c.Data, c.ServerName = "", ""
	}
	if err != nil {
		panic(fmt.Sprintf("config: the defaults are wrong: %v", err)) // the struct tags, not the user
	}
	return c
}

// BundleDir is the directory of the site's certificate and keys.
func (c *Config) BundleDir() string {
	if c.Cluster.ClusterDir == "" && c.Path != "" {
		return filepath.Dir(c.Path)
	}
	return c.Cluster.ClusterDir
}

// Validate checks what a type cannot say, and names the setting that is wrong.
func (c *Config) Validate() error {
	wrong := func(name, format string, args ...any) error {
		return fmt.Errorf("--%s: %s", name, fmt.Sprintf(format, args...))
	}
	if c.Data == "" {
		return wrong("data", "name a directory for the data")
	}
	if _, port, err := net.SplitHostPort(c.Listen); err != nil {
		return wrong("listen", "%q is not HOST:PORT", c.Listen)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return wrong("listen", "%q is not a port, 0 to 65535", port)
	}
	if c.ServerName == "" {
		return wrong("server-name", "name the server, for example chat.example.org")
	}
	if _, err := id.ParseServerName(c.ServerName); err != nil {
		return wrong("server-name", "%q is not a host name with an optional port", c.ServerName)
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return wrong("public-url", "%q is not a URL such as https://chat.example.org", c.PublicURL)
		}
	}
	if c.Site == "" || len(c.Site) > 32 || strings.Trim(c.Site, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return wrong("site", "%q is not 1 to 32 characters of a-z, 0-9 and '-'", c.Site)
	}
	if _, err := c.Accounts.Documents(); err != nil {
		return wrong("terms", "%v", err)
	}
	if _, err := c.Support.People(); err != nil {
		return wrong("support-contacts", "%v", err)
	}
	if c.Support.Page != "" && !isURL(c.Support.Page) {
		return wrong("support-page", "%q is not a URL", c.Support.Page)
	}
	if err := c.checkMail(); err != nil {
		return err
	}
	if _, err := c.API.Proxies(); err != nil {
		return wrong("trusted-proxies", "%v", err)
	}
	for _, n := range []struct {
		name        string
		v, min, max int64
		text        string
	}{
		{"partitions", int64(c.Disk.Partitions), 1, 64, "1 to 64"},
		{"token-lifetime", int64(c.Accounts.TokenLifetime), int64(10 * time.Second), int64(8760 * time.Hour), "10s to 8760h"},
		{"max-requests", int64(c.API.MaxRequests), 1, 1 << 20, "1 to 1048576"},
		{"request-timeout", int64(c.API.RequestTimeout), int64(100 * time.Millisecond), int64(10 * time.Minute), "100ms to 10m"},
		{"shutdown-timeout", int64(c.API.ShutdownTimeout), 0, int64(time.Hour), "0s to 1h"},
		{"max-upload", int64(c.API.MaxUpload), 1 << 10, 1 << 40, "1KiB to 1TiB"},
		{"queue", int64(c.Disk.Queue), 1 << 20, 1 << 32, "1MiB to 4GiB"},
		{"cache", int64(c.Disk.Cache), 1 << 20, 1 << 40, "1MiB to 1TiB"},
	} {
		if n.v < n.min || n.v > n.max {
			return wrong(n.name, "must be %s", n.text)
		}
	}
	return nil
}

// Proxies are the trusted proxies; a single address counts as a network of one.
func (a API) Proxies() ([]netip.Prefix, error) {
	nets := make([]netip.Prefix, 0, len(a.TrustedProxies))
	for _, s := range a.TrustedProxies {
		if addr, err := netip.ParseAddr(s); err == nil {
			nets = append(nets, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", s)
		}
		nets = append(nets, p)
	}
	return nets, nil
}
