package main

import (
	"context"
	"fmt"

	"bongsu/drill"
)

// drillCmd burns sites under load and checks every promise; see drill.Config.
type drillCmd struct {
	drill.Config
}

// Help says what a drill does.
func (drillCmd) Help() string {
	return "The drill starts a cluster of its own on this machine, in a directory of its own, and touches no other: sites as processes " +
		"on loopback, live load through clients that roam, faults. In the end it checks from the outside that nothing acknowledged " +
		"was lost, doubled or reordered, that all sites agree, and that service came back in time. It fails if a promise was broken. " +
		"Three processes on one machine are not three data centres: what is shown is the program, not a network."
}

// Run drills and fails if a promise was broken.
func (c *drillCmd) Run(ctx context.Context, d deps) error {
	report, err := drill.Run(ctx, c.Config, d.stdout)
	if err != nil {
		return err
	}
	if n := len(report.Findings); n > 0 {
		return fmt.Errorf("promises were broken in %d places", n)
	}
	return nil
}
