package main

import (
	"context"

	"bongsu/config"
)

// serveCmd is every setting of a server; see config.Config.
type serveCmd struct {
	config.Config
}

// Help says where settings come from.
func (serveCmd) Help() string {
	return "A setting is taken from its flag, else from the environment, else from the file that --config names, else it has " +
		"its default. In the file --disk-reserve=1GiB is disk-reserve = \"1GiB\". When the server is ready it says so in one " +
		"line on standard output; logs go to standard error."
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, d deps) error {
	return d.serve(ctx, c.Config, d.stdout)
}
