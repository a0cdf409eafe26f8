package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"bongsu/app"
)

// clusterCmd is what an operator does with sites: makes their files, looks at them, takes one out.
type clusterCmd struct {
	Init        initCmd        `cmd:"" help:"Make the files of a new cluster of three or five sites."`
	Grow        growCmd        `cmd:"" help:"Turn a single node into the sites of a cluster."`
	Recover     recoverCmd     `cmd:"" help:"Save what a site has when a majority of the sites is gone for good."`
	Unseal      unsealCmd      `cmd:"" help:"Take back a single node whose cluster was never started."`
	Certificate certificateCmd `cmd:"" help:"Make a new certificate for a site."`
	Status      sitesStatusCmd `cmd:"" help:"Show how all sites are."`
	Drain       drainCmd       `cmd:"" help:"Make a site give up what it leads and send clients away, before it is stopped."`
	Undrain     undrainCmd     `cmd:"" help:"Let a drained site take part again."`
}

type initCmd struct {
	ServerName string   `required:"" placeholder:"NAME" help:"Name of the server, the part of @user:NAME after the colon. It can never be changed."`
	Site       []string `required:"" sep:"none" placeholder:"NAME=HOST[:PORT]" help:"A site and the address by which the others reach it; three or five times. With PORT, clients are served there, and the other sites on the next two ports."`
	Out        string   `required:"" placeholder:"DIR" help:"New directory for the files."`
	Data       string   `placeholder:"DIR" default:"/var/lib/bongsu" help:"Data directory of a site; {site} stands for its name. Default ${default}."`
	Partitions int      `placeholder:"N" help:"Partitions of the journal, 1 to 64. Default: as the server's."`
	PublicURL  []string `name:"public-url" sep:"none" placeholder:"NAME=URL" help:"Base URL by which clients reach a site. Default: http, its host and its port."`
	ClientPort int      `placeholder:"PORT" default:"8008" help:"Where a site without a PORT of its own serves clients. Default ${default}."`
	LinkPort   int      `placeholder:"PORT" default:"7008" help:"Where such a site listens for the other sites. Default ${default}."`
	RoutesPort int      `placeholder:"PORT" default:"7009" help:"Where such a site's journal listens for the other sites. Default ${default}."`
}

// Help says what is made.
func (initCmd) Help() string {
	return "DIR gets a directory for each site, with its settings (site.toml), its certificate and key, and what all sites share; and the directory " +
		"ca with the authority that signs certificates. Nothing is sent anywhere. Three sites on one machine, to try it: " +
		"--site a=127.0.0.1:8108 --site b=127.0.0.1:8208 --site c=127.0.0.1:8308 --data DIR/{site}"
}

// Run makes the files and says what to do with them.
func (c *initCmd) Run(d deps) error {
	plan, err := c.plan()
	if err != nil {
		return err
	}
	cluster, err := app.InitCluster(c.Out, plan)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Made cluster %s in %s.\n\nCopy each site's directory to its machine, over a channel that you trust, and start it there:\n\n", cluster, c.Out)
	for _, s := range plan.Sites {
		fmt.Fprintf(&b, "  %-12s bongsu serve --config %s\n", s.Name, filepath.Join(c.Out, s.Name, "site.toml"))
	}
	fmt.Fprintf(&b, "\nThe cluster begins when all its sites are there. Each site's keys should be at that site only. Keep %s offline: whoever has it\n"+
		"can make sites of this cluster. You need it to renew or replace a site's certificate (bongsu cluster certificate).\n", filepath.Join(c.Out, "ca"))
	_, err = fmt.Fprint(d.stdout, b.String())
	return err
}

// plan puts the flags together.
func (c *initCmd) plan() (app.ClusterPlan, error) {
	plan := app.ClusterPlan{ServerName: c.ServerName, Partitions: c.Partitions, Data: c.Data}
	if c.Partitions < 0 || c.Partitions > 64 {
		return plan, errors.New("--partitions: must be 1 to 64")
	}
	urls := map[string]string{}
	for _, text := range c.PublicURL {
		name, url, ok := strings.Cut(text, "=")
		if !ok {
			return plan, fmt.Errorf("--public-url: %q is not NAME=URL", text)
		}
		urls[name] = url
	}
	for _, text := range c.Site {
		s, err := app.ParseClusterSite(text)
		if err != nil {
			return plan, fmt.Errorf("--site: %w", err)
		}
		if s.Clients == 0 {
			s.Clients, s.Link, s.Routes = c.ClientPort, c.LinkPort, c.RoutesPort
		}
		s.URL = urls[s.Name]
		delete(urls, s.Name)
		plan.Sites = append(plan.Sites, s)
	}
	for name := range urls {
		return plan, fmt.Errorf("--public-url: there is no site %q", name)
	}
	return plan, nil
}

type certificateCmd struct {
	CA   string `required:"" name:"ca" placeholder:"DIR" help:"The directory ca that bongsu cluster init made."`
	Site string `required:"" placeholder:"NAME" help:"The site."`
	Out  string `required:"" placeholder:"DIR" help:"Directory for the certificate and its key."`
}

// Run makes the certificate.
func (c *certificateCmd) Run(d deps) error {
	if err := app.RenewCertificate(c.CA, c.Site, c.Out); err != nil {
		return err
	}
	_, err := fmt.Fprintf(d.stdout, "Made a certificate for site %s in %s. Put site.pem and site-key.pem in place of the site's own, and start the site again.\n",
		c.Site, c.Out)
	return err
}
