package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"bongsu/api/admin"
)

// userCmd manages accounts, whether or not the server runs.
type userCmd struct {
	Data string `required:"" placeholder:"DIR" help:"The server's data directory."`

	Add    addUserCmd   `cmd:"" help:"Make an account. The password is asked for, or read from standard input."`
	Passwd passwdCmd    `cmd:"" help:"Set an account's password. It is asked for, or read from standard input."`
	List   listUsersCmd `cmd:"" help:"List all accounts."`

	Admin   switchCmd `cmd:"" help:"Make a user an administrator, or with --off an ordinary user again."`
	Lock    switchCmd `cmd:"" help:"Lock an account: it can do nothing, and loses nothing. --off unlocks it."`
	Suspend switchCmd `cmd:"" help:"Suspend an account: it can read and leave rooms, not take part. --off ends that."`
	Close   closeCmd  `cmd:"" help:"Close an account for good. It leaves its rooms; its name is not given away again."`
}

// switchCmd is a state of an account that is on or off.
type switchCmd struct {
	Name string `arg:"" help:"User name or user id."`
	Off  bool   `help:"End it."`
}

// Run sets the state that the command is named for.
func (c *switchCmd) Run(ctx context.Context, k *kong.Context, u *userCmd, d deps) error {
	on := !c.Off
	change := map[string]admin.Change{"admin": {Admin: &on}, "lock": {Locked: &on}, "suspend": {Suspended: &on}}[k.Selected().Name]
	return d.administer(ctx, u.Data, func(a *admin.Client) error { return a.ChangeUser(ctx, c.Name, change) })
}

type closeCmd struct {
	Name  string `arg:"" help:"User name or user id."`
	Erase bool   `help:"Note that the user wants what they said hidden from whoever comes later; that is not done yet."`
}

// Run closes the account.
func (c *closeCmd) Run(ctx context.Context, u *userCmd, d deps) error {
	return d.administer(ctx, u.Data, func(a *admin.Client) error {
		return a.ChangeUser(ctx, c.Name, admin.Change{Close: true, Erase: c.Erase})
	})
}

type addUserCmd struct {
	Name  string `arg:"" help:"User name, the part before the colon: a-z, 0-9 and . _ = - / +"`
	Admin bool   `help:"Make the user an administrator."`
}

// Run makes the account.
func (c *addUserCmd) Run(ctx context.Context, u *userCmd, d deps) error {
	password, err := d.password()
	if err != nil {
		return err
	}
	return d.administer(ctx, u.Data, func(a *admin.Client) error {
		user, err := a.AddUser(ctx, admin.NewUser{Name: c.Name, Password: password, Admin: c.Admin})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(d.stdout, user.ID)
		return err
	})
}

type passwdCmd struct {
	Name   string `arg:"" help:"User name or user id."`
	Logout bool   `help:"Log out all of the user's devices."`
}

// Run sets the password.
func (c *passwdCmd) Run(ctx context.Context, u *userCmd, d deps) error {
	password, err := d.password()
	if err != nil {
		return err
	}
	return d.administer(ctx, u.Data, func(a *admin.Client) error {
		return a.SetPassword(ctx, c.Name, admin.NewPassword{Password: password, Logout: c.Logout})
	})
}

type listUsersCmd struct{}

// Run lists the accounts.
func (listUsersCmd) Run(ctx context.Context, u *userCmd, d deps) error {
	return d.administer(ctx, u.Data, func(a *admin.Client) error {
		w := tabwriter.NewWriter(d.stdout, 0, 8, 2, ' ', 0)
		_, _ = fmt.Fprintln(w, "USER\tCREATED\tSTATE") // errors show at Flush
		err := a.Users(ctx, func(user admin.User) error {
			state := "active"
			switch {
			case user.Deactivated:
				state = "deactivated"
			case user.Locked:
				state = "locked"
			case user.Suspended:
				state = "suspended"
			case user.Admin:
				state = "admin"
			}
			_, err := fmt.Fprintf(w, "%s\t%s\t%s\n", user.ID, time.UnixMilli(user.CreatedMS).UTC().Format(time.RFC3339), state)
			return err
		})
		return errors.Join(err, w.Flush())
	})
}

// password asks for a password on a terminal, twice, or reads the first line of standard input.
func (d deps) password() (string, error) {
	if !term.IsTerminal(d.stdinFD) {
		line, err := bufio.NewReader(d.stdin).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", errors.New("standard input has no password in its first line")
		}
		return line, nil
	}
	ask := func(prompt string) (string, error) {
		_, _ = fmt.Fprint(d.stderr, prompt)
		b, err := term.ReadPassword(d.stdinFD)
		_, _ = fmt.Fprintln(d.stderr)
		return string(b), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", err
	}
	second, err := ask("Again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}
