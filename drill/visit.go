package drill

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"bongsu/errs"
	"bongsu/harness"
)

// visit looks who is at the base URLs of a cluster that is somebody else's. Errors say what to do: they are Invalid if the URLs cannot be
// those of the sites of one cluster, and Unavailable if a site does not answer.
func visit(ctx context.Context, urls []string) (*Cluster, error) {
	c := &Cluster{}
	servers := map[string]string{} // URL by what the site says that it belongs to
	sites := map[string]string{}   // URL by name
	for _, base := range urls {
		s, err := place(base)
		if err != nil {
			return nil, err
		}
		st, err := s.introduce(ctx)
		if err != nil {
			return nil, err
		}
		if other, ok := sites[s.Name]; ok {
			return nil, invalid("%s and %s are both the site %s: give each site's own address, once, and not that of a load balancer", other, s.url, s.Name)
		}
		sites[s.Name] = s.url
		if st != nil {
			servers[st.Server+", cluster "+st.Cluster] = s.url
		}
		c.Sites = append(c.Sites, s)
	}
	if len(servers) > 1 {
		var all []string
		for what, base := range servers {
			all = append(all, base+" belongs to "+what)
		}
		return nil, invalid("these sites are not of one cluster: %s", strings.Join(all, "; "))
	}
	return c, nil
}

func invalid(text string, args ...any) error {
	return errs.New("drill", errs.Invalid, "M_INVALID_PARAM", text, args...)
}

// place is the site at a base URL, by the name of its host.
func place(base string) (*Site, error) {
	u, err := url.Parse(strings.TrimRight(strings.TrimSpace(base), "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, invalid("%q is no base URL of a site, such as https://seoul.example.org", base)
	}
	return &Site{Name: u.Host, url: u.String()}, nil
}

// introduce asks a site what it is: its status, or nil if it answers and does not tell that.
func (s *Site) introduce(ctx context.Context) (*Status, error) {
	var versions struct{ Versions []string }
	if err := s.ask(ctx, versionsPath, &versions); err != nil || len(versions.Versions) == 0 {
		return nil, errs.New("drill", errs.Unavailable, "", "no Matrix server answers at %s: %v. Is the address right, and does the site run?", s.url, err)
	}
	s.setUp(true)
	s.alive = healthPath
	if s.Healthy(ctx) != nil { // a proxy may keep that to itself
		s.alive = versionsPath
	}
	st, err := s.Status(ctx)
	if err == nil && st.Server != "" && len(st.Partitions) > 0 {
		if st.Site != "" {
			s.Name = st.Site
		}
		return st, nil
	}
	s.opaque = true
	if s.ask(ctx, "/_bongsu/sites", &struct{}{}) != nil {
		return nil, invalid("%s is a Matrix server and does not look like a Bongsu. If it is one, let its proxy pass on what is below /_bongsu/", s.url)
	}
	return nil, nil //nolint:nilnil // it answers, and does not tell
}

const versionsPath = "/_matrix/client/versions"

// welcome registers a first guest and has every site know the guest's token.
func (d *drill) welcome(ctx context.Context) error {
	name := d.guests.prefix + "visitor"
	c, _, err := d.guests.register(ctx, name, d.guests.urls[0])
	var e *harness.Error
	switch {
	case errors.As(err, &e) && e.Code == "M_USER_IN_USE":
		return invalid("there is an account %s already: choose another --user-prefix", name)
	case errors.As(err, &e) && e.Code == "M_INVALID_USERNAME":
		return invalid("the cluster takes no account %s: choose another --user-prefix", name)
	case errors.As(err, &e) && denies(e.Status):
		return errs.New("drill", errs.Forbidden, "", "the cluster does not let the drill make accounts (%v): open the registration at all sites while "+
			"the drill runs (serve --open-registration)", e)
	case err != nil:
		return err
	}
	for _, s := range d.cluster.Sites {
		there := c.As(s.url)
		err := there.Do(ctx, http.MethodGet, harness.Path("v3", "account", "whoami"), nil, nil)
		there.Close()
		switch {
		case errors.As(err, &e) && denies(e.Status):
			return invalid("%s does not know an account that %s has just made: they are not of one cluster", s.url, d.guests.urls[0])
		case err != nil:
			return errs.New("drill", errs.Unavailable, "", "%s does not serve: %v. Begin when all sites are well", s.url, err)
		}
	}
	return nil
}
