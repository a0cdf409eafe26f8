// Command bongsu is the messenger's server and its tools. It has flags and subcommands only; app wires the server.
//
// Exit status: 0 when it did what was asked, 1 when that failed, 2 when the command line or the settings are wrong. An error is
// one line on standard error.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"bongsu/api/admin"
	"bongsu/app"
	"bongsu/config"
	"bongsu/drill"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], deps{serve: app.Run, administer: app.Administer,
		stdin: os.Stdin, stdinFD: int(os.Stdin.Fd()), stdout: os.Stdout, stderr: os.Stderr})) //nolint:gosec // a file descriptor fits
}

// deps are what the commands use of the world.
type deps struct {
	// serve runs a server until ctx ends. It writes one line to stdout when it is ready.
	serve func(ctx context.Context, cfg config.Config, stdout io.Writer) error
	// administer calls do with a client for the operator's socket of a data directory.
	administer     func(ctx context.Context, dir string, do func(*admin.Client) error) error
	stdin          io.Reader
	stdinFD        int // of stdin
	stdout, stderr io.Writer
}

// commands is the command line.
type commands struct {
	Serve   serveCmd   `cmd:"" help:"Run the server until it is interrupted."`
	User    userCmd    `cmd:"" help:"Manage accounts, whether or not the server runs."`
	Token   tokenCmd   `cmd:"" help:"Manage registration tokens, whether or not the server runs."`
	Reports reportsCmd `cmd:"" help:"Show what users have reported, whether or not the server runs."`
	Backup  backupCmd  `cmd:"" help:"Write the whole state of a server to a directory, or check one."`
	Restore restoreCmd `cmd:"" help:"Make an empty data directory into one that goes on from a backup."`
	Bench   benchCmd   `cmd:"" help:"Measure a running server under load, and check what it promises."`
	Doctor  doctorCmd  `cmd:"" help:"Look at all sites, and say what would be missed if one burned."`
	Cluster clusterCmd `cmd:"" help:"Make and look after the sites of a cluster."`
	Drill   drillCmd   `cmd:"" help:"Burn sites of a cluster under load, and check every promise."`
	Version versionCmd `cmd:"" help:"Print what was built."`
}

// run runs the command that args name and returns the exit status.
func run(ctx context.Context, args []string, d deps) int {
	var cmds commands
	asked := -1 // the status with which kong wants to end, after it printed help
	parser, err := kong.New(&cmds, append([]kong.Option{kong.PostBuild(withoutEnvironment)}, append(config.Options(),
		kong.Name("bongsu"),
		kong.Description("A messenger that keeps what it acknowledges. It speaks the Matrix Client-Server API."),
		kong.Writers(d.stdout, d.stderr),
		kong.Exit(func(code int) { asked = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.ValueFormatter(helpText),
		kong.Vars(drill.Vars()),
	)...)...)
	if err != nil {
		return fail(d.stderr, exitFailed, err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if asked >= 0 {
		return asked
	}
	if err != nil {
		return fail(d.stderr, exitUsage, fmt.Errorf("%w (see bongsu --help)", err))
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	if err := parsed.Run(d); err != nil {
		return fail(d.stderr, exitFailed, err)
	}
	return exitOK
}

// withoutEnvironment keeps the flags of the tools out of the environment, where their names would mean a server's settings; only
// the data directory is the same thing everywhere.
func withoutEnvironment(k *kong.Kong) error {
	for _, command := range k.Model.Children {
		if command.Name == "serve" {
			continue
		}
		flags := command.Flags
		for _, sub := range command.Children {
			flags = append(flags, sub.Flags...)
		}
		for _, flag := range flags {
			if flag.Name != "data" {
				flag.Envs = []string{"-"}
			}
		}
	}
	return nil
}

// helpText is a flag's help with the name that the setting has in the environment.
func helpText(v *kong.Value) string {
	if v.Flag == nil || len(v.Flag.Envs) == 0 {
		return v.Help
	}
	return v.Help + " [$" + v.Flag.Envs[0] + "]"
}

// fail writes err as one line.
func fail(stderr io.Writer, status int, err error) int {
	fmt.Fprintln(stderr, "bongsu: "+strings.Join(strings.Fields(err.Error()), " "))
	return status
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(d deps) error {
	_, err := fmt.Fprintln(d.stdout, "bongsu "+app.Build())
	return err
}
