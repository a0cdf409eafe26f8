package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"bongsu/api/admin"
)

// tokenCmd manages registration tokens, whether or not the server runs.
type tokenCmd struct {
	Data string `required:"" placeholder:"DIR" help:"The server's data directory."`

	Add    addTokenCmd    `cmd:"" help:"Make a registration token and print it. It is not shown again."`
	List   listTokensCmd  `cmd:"" help:"List all registration tokens."`
	Remove removeTokenCmd `cmd:"" help:"Remove a registration token."`
}

type addTokenCmd struct {
	Name  string        `arg:"" help:"A name for the token, for you."`
	Uses  uint32        `placeholder:"N" help:"How many accounts may be made with it. Default: any number."`
	Life  time.Duration `placeholder:"TIME" help:"How long it is good, for example 48h. Default: for ever."`
	Token string        `placeholder:"TOKEN" help:"The token, 1 to 64 characters of A-Z, a-z, 0-9 and . _ ~ - Default: a random one."`
}

// Run makes the token.
func (c *addTokenCmd) Run(ctx context.Context, p *tokenCmd, d deps) error {
	return d.administer(ctx, p.Data, func(a *admin.Client) error {
		t, err := a.AddToken(ctx, admin.NewToken{Name: c.Name, Token: c.Token, Uses: c.Uses, LifeMS: c.Life.Milliseconds()})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(d.stdout, t.Token)
		return err
	})
}

type listTokensCmd struct{}

// Run lists the tokens.
func (listTokensCmd) Run(ctx context.Context, p *tokenCmd, d deps) error {
	return d.administer(ctx, p.Data, func(a *admin.Client) error {
		tokens, err := a.Tokens(ctx)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(d.stdout, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(w, "NAME\tCREATED\tENDS\tUSED\tOF") // errors show at Flush
		for _, t := range tokens {
			ends, of := "never", "any"
			if t.ExpiresMS != 0 {
				ends = day(t.ExpiresMS)
			}
			if t.Uses != 0 {
				of = fmt.Sprint(t.Uses)
			}
			_, err = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", t.Name, day(t.CreatedMS), ends, t.Completed, of)
		}
		return errors.Join(err, w.Flush())
	})
}

// day is a time in Unix milliseconds as tables show it.
func day(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

type removeTokenCmd struct {
	Name string `arg:"" help:"The token's name."`
}

// Run removes the token.
func (c *removeTokenCmd) Run(ctx context.Context, p *tokenCmd, d deps) error {
	return d.administer(ctx, p.Data, func(a *admin.Client) error { return a.RemoveToken(ctx, c.Name) })
}
