package main

import (
	"context"
	"fmt"
	"time"

	"bongsu/api/admin"
)

// reportsCmd shows what users reported, whether or not the server runs.
type reportsCmd struct {
	Data string `required:"" placeholder:"DIR" help:"The server's data directory."`

	List    listReportsCmd   `cmd:"" default:"1" help:"List the reports that wait, the oldest first."`
	Dismiss dismissReportCmd `cmd:"" help:"Take a report off the list."`
}

type listReportsCmd struct{}

// Run lists the reports.
func (listReportsCmd) Run(ctx context.Context, r *reportsCmd, d deps) error {
	return d.administer(ctx, r.Data, func(a *admin.Client) error {
		all, err := a.Reports(ctx)
		if err != nil {
			return err
		}
		for _, rep := range all {
			about := fmt.Sprintf("user %s", rep.User)
			switch {
			case rep.Event != "":
				about = fmt.Sprintf("event %s of %s in room %s", rep.Event, rep.User, rep.Room)
			case rep.Room != "":
				about = fmt.Sprintf("room %s", rep.Room)
			}
			// What others have written is quoted: it may hold anything, terminal codes included.
			if _, err := fmt.Fprintf(d.stdout, "%s  %s  %s reports %s: %q\n", rep.ID, time.UnixMilli(rep.Time).UTC().Format(time.RFC3339),
				rep.By, about, rep.Reason); err != nil {
				return err
			}
			if len(rep.Shown) > 0 {
				if _, err := fmt.Fprintf(d.stdout, "    %+q\n", rep.Shown); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

type dismissReportCmd struct {
	ID string `arg:"" help:"The report's id, the first column of the list."`
}

// Run dismisses a report.
func (c *dismissReportCmd) Run(ctx context.Context, r *reportsCmd, d deps) error {
	return d.administer(ctx, r.Data, func(a *admin.Client) error { return a.DismissReport(ctx, c.ID) })
}
