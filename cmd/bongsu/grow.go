package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"bongsu/api/admin"
	"bongsu/app"
)

// growCmd turns a single node into the sites of a cluster.
type growCmd struct {
	Data    string `required:"" placeholder:"DIR" help:"Data directory of the single node, which may run or not."`
	Bundles string `placeholder:"DIR" help:"What bongsu cluster init has made: the sites' data directories are made on this machine."`
	SeedOut string `required:"" placeholder:"DIR" help:"Where the node's state goes: a directory that is empty or absent."`
}

// Help says what happens to the node.
func (growCmd) Help() string {
	return "The node is sealed: from then on it refuses writes, and its state is written to --seed-out. Reads go on until it is stopped, at the end. Nothing " +
		"is lost: people stay logged in, and their apps go on where they were. The node's directory is not changed but for a mark that " +
		"keeps it from being started again. Without --bundles, take the seed to each site's machine and make its directory there with " +
		"bongsu restore --continue --seed DIR --config site.toml."
}

// Run grows the node.
func (c *growCmd) Run(ctx context.Context, d deps) error {
	show := d.progress()
	g, err := app.Grow(ctx, app.GrowPlan{Data: c.Data, Seed: c.SeedOut, Bundles: c.Bundles, Report: show, Now: time.Now,
		Backup: func(ctx context.Context, o admin.BackupOrder) (*app.Seed, error) {
			m, err := d.backup(ctx, c.Data, o)
			if err != nil {
				return nil, err
			}
			err = d.administer(ctx, c.Data, func(a *admin.Client) error { return a.Stop(ctx) })
			return m, ignoreSealed(err)
		}})
	show(app.Step{})
	if err != nil {
		return err
	}
	if err := printSeed(d.stdout, "The node is sealed, and its state is taken.", c.SeedOut, g.Seed); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nWrites have been refused for %.1f seconds so far, and are until the cluster has begun. Start its sites:\n\n", g.Pause.Seconds())
	for _, s := range g.Sites {
		fmt.Fprintf(&b, "  %-12s bongsu serve --config %s\n", s.Name, s.Settings)
	}
	if len(g.Sites) == 0 {
		fmt.Fprintf(&b, "  on each machine  bongsu restore --continue --seed %s --config site.toml && bongsu serve --config site.toml\n", c.SeedOut)
	}
	fmt.Fprintf(&b, "\nIf the cluster is never started, the node can be taken back: bongsu cluster unseal --data %s\n", c.Data)
	_, err = fmt.Fprint(d.stdout, b.String())
	return err
}

// ignoreSealed passes over that a node which did not run cannot be opened again to be stopped.
func ignoreSealed(err error) error {
	if errors.Is(err, app.ErrSealed) {
		return nil
	}
	return err
}

// unsealCmd takes back a node whose cluster was never started.
type unsealCmd struct {
	Data string `required:"" placeholder:"DIR" help:"Data directory of the node."`
}

// Run removes the mark.
func (c *unsealCmd) Run(d deps) error {
	if err := app.Unseal(c.Data); err != nil {
		return err
	}
	_, err := fmt.Fprintf(d.stdout, "%s can be started again. Do not start what was made from its seed: both would go on from one state.\n", c.Data)
	return err
}
