package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"bongsu/app"
	"bongsu/config"
)

// recoverCmd saves what a site has that is left alone for good.
type recoverCmd struct {
	Config string `required:"" placeholder:"FILE" help:"The site's settings, with which it was run."`
	Out    string `required:"" placeholder:"DIR" help:"Where the state goes: a directory that is empty or absent."`
	Yes    bool   `help:"Do not ask."`
}

// Help says when to use it and when not.
func (recoverCmd) Help() string {
	return "For when a majority of the sites is gone for good, and this one, which is stopped, is what there is. If one of the others can still be brought back, " +
		"bring it back instead: a majority goes on by itself and loses nothing. The site's data is not changed. From what is written, a new cluster is " +
		"made: bongsu cluster init, then bongsu restore for each site. Sites of the old cluster that come back later are refused by it."
}

// Run says what the site has, asks, and writes it.
func (c *recoverCmd) Run(ctx context.Context, d deps) (err error) {
	cfg, err := config.Load([]string{"--config", c.Config})
	if err != nil {
		return err
	}
	out, err := filepath.Abs(c.Out)
	if err != nil {
		return err
	}
	r, err := app.OpenRecovery(ctx, cfg, out+".scratch")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := printRecovery(d.stdout, cfg.Site, r); err != nil {
		return err
	}
	if !c.Yes {
		if err := d.confirm(cfg.Site); err != nil {
			return err
		}
	}
	show := d.progress()
	m, err := r.Write(ctx, out, time.Now(), show)
	show(app.Step{})
	if err != nil {
		return err
	}
	if err := printSeed(d.stdout, "What this site had is saved.", c.Out, m); err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.stdout, "\nMake a new cluster (bongsu cluster init --server-name %s …), and each site's data directory on its machine:\n\n"+
		"  bongsu restore --seed %s --config site.toml\n\nDo not start the old site %s again.\n", cfg.ServerName, c.Out, cfg.Site)
	return err
}

// printRecovery says what a site has.
func printRecovery(w io.Writer, site string, r *app.Recovery) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Site %s has:\n\n", site)
	for i, p := range r.Parts {
		fmt.Fprintf(&b, "  partition %d up to %d", i, p.Used)
		if n := p.Promised(); n > 0 {
			fmt.Fprintf(&b, "; the last %d were promised here and may or may not have been acknowledged: they are kept", n)
		}
		if n := p.LeftOut(); n > 0 {
			fmt.Fprintf(&b, "; %d more rest on what another partition lacks here: they are left out", n)
		}
		b.WriteString("\n")
		if p.Damage != nil {
			fmt.Fprintf(&b, "    it ends there because of damage: %v\n", p.Damage)
		}
	}
	b.WriteString("\nIf the other sites were a majority without this one, they may have acknowledged more, which is lost: this site cannot know.\n\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// confirm asks for the site's name.
func (d deps) confirm(site string) error {
	if _, err := fmt.Fprintf(d.stdout, "The other sites must be gone for good. Type the name of this site to go on: "); err != nil {
		return err
	}
	line, err := bufio.NewReader(d.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != site {
		return errors.New("nothing was written: that is not the name of this site")
	}
	return nil
}
