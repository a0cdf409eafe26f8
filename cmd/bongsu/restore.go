package main

import (
	"context"
	"fmt"

	"bongsu/app"
)

// restoreCmd makes an empty data directory into one that goes on from a backup.
type restoreCmd struct {
	Seed     string `required:"" placeholder:"DIR" help:"The backup."`
	Config   string `placeholder:"FILE" help:"Settings of the server, or of one site of a cluster: its name, data directory, and the other sites."`
	Data     string `placeholder:"DIR" help:"Data directory to make: empty or absent. Default: as in the settings."`
	Continue bool   `help:"Go on in the same epoch: nothing was acknowledged since. For the seed of a server that was sealed (bongsu cluster grow)."`
	Link     bool   `help:"Share files with the backup instead of copying them; on one file system."`
	NoFiles  bool   `help:"Leave the files of users away, since another site of the cluster has them and this one will fetch them."`
}

// Help says what it means.
func (restoreCmd) Help() string {
	return "The server's name and number of partitions must be those of the backup. In a cluster, every site's directory is made from the " +
		"same backup, with the settings of that site; the cluster begins when all sites are there."
}

// Run makes the directory and says what it means for people.
func (c *restoreCmd) Run(ctx context.Context, d deps) error {
	cfg, err := app.RestoreSettings(c.Seed, c.Config, c.Data)
	if err != nil {
		return err
	}
	show := d.progress()
	m, epoch, err := app.Restore(ctx, app.RestorePlan{Seed: c.Seed, Config: cfg, Continue: c.Continue, Share: c.Link, NoFiles: c.NoFiles, Report: show})
	show(app.Step{})
	if err != nil {
		return err
	}
	if err := printSeed(d.stdout, fmt.Sprintf("%s is ready to be started. It goes on from this backup:", cfg.Data), c.Seed, m); err != nil {
		return err
	}
	words := "\nNothing was acknowledged since: clients go on where they were.\n"
	if epoch != m.Epoch {
		words = fmt.Sprintf("\nIt begins epoch %d. What people will see: they stay logged in if they were at the time of the backup. Their apps fetch everything\n"+
			"anew once, and make new one-time keys. What was sent after the backup is gone from the server; it may still be in the apps that sent or\n"+
			"received it. Start no other server from the same state.\n", epoch)
	}
	_, err = fmt.Fprint(d.stdout, words)
	return err
}
