package main

import (
	"context"
	"fmt"

	"bongsu/bench"
)

// benchCmd makes load against a running server and measures it; see bench.Config.
type benchCmd struct {
	bench.Config
}

// Help says what a run does and what it changes.
func (benchCmd) Help() string {
	return "The run makes users and rooms of its own on the server, which must have open registration (or a --users-file of an " +
		"earlier run) and --rate-limits=off. It checks from the outside that every acknowledged message is delivered to every " +
		"member once and in order, and fails if one is not. It talks only to the given URLs, and stops by itself."
}

// Run makes the load and fails if the server broke a promise.
func (c *benchCmd) Run(ctx context.Context, d deps) error {
	report, err := bench.Run(ctx, c.Config, d.stdout)
	if err != nil {
		return err
	}
	if n := report.Faults(); n > 0 {
		return fmt.Errorf("the server broke its promises in %d places", n)
	}
	return nil
}
