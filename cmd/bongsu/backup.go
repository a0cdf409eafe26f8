package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"bongsu/api/admin"
	"bongsu/app"
)

// backupCmd writes the whole state of a server to a directory, or checks one.
type backupCmd struct {
	Data     string `placeholder:"DIR" help:"The server's data directory."`
	Out      string `placeholder:"DIR" help:"Where the backup goes: a directory that is empty or absent, of the server's machine."`
	LinkFrom string `placeholder:"DIR" help:"An earlier backup on the same file system: files that are in it already are shared with it instead of copied."`
	Verify   string `placeholder:"DIR" help:"Check the backup in DIR instead: everything is read and compared with its hashes."`
}

// Help says what a backup is.
func (backupCmd) Help() string {
	return "The server may run or not; it serves on meanwhile. The backup holds everything that was acknowledged before it began, all partitions " +
		"of one moment, and the files that users uploaded. It is read back before it counts. Whoever can read it can read what the server can read."
}

// Run makes or checks a backup.
func (c *backupCmd) Run(ctx context.Context, d deps) error {
	if c.Verify != "" {
		if c.Out != "" {
			return errors.New("--verify checks a backup and makes none: leave --out away")
		}
		show := d.progress()
		m, err := app.VerifyBackup(ctx, c.Verify, show)
		show(app.Step{})
		if err != nil {
			return err
		}
		return printSeed(d.stdout, "The backup is sound.", c.Verify, m)
	}
	if c.Data == "" || c.Out == "" {
		return errors.New("name the server's data directory with --data and the backup's with --out")
	}
	m, err := d.backup(ctx, c.Data, admin.BackupOrder{Dir: c.Out, LinkFrom: c.LinkFrom})
	if err != nil {
		return err
	}
	return printSeed(d.stdout, "The backup is made and was read back.", c.Out, m)
}

// backup has the server on a data directory, or one that is opened for it, make a backup.
func (d deps) backup(ctx context.Context, data string, o admin.BackupOrder) (m *app.Seed, err error) {
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if o.LinkFrom != "" {
		if o.LinkFrom, err = filepath.Abs(o.LinkFrom); err != nil {
			return nil, err
		}
	}
	show := d.progress()
	defer show(app.Step{})
	err = d.administer(ctx, data, func(a *admin.Client) error {
		m, err = a.Backup(ctx, o, func(s admin.BackupState) { show(app.Step{Doing: s.Doing, Done: s.Done, Of: s.Of}) })
		return err
	})
	return m, err
}

// progress shows steps on a terminal, each in the place of the one before, and nothing elsewhere. The zero
// Step wipes the last one away.
func (d deps) progress() func(app.Step) {
	f, ok := d.stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) { //nolint:gosec // a file descriptor fits
		return func(app.Step) {}
	}
	return func(s app.Step) {
		text := ""
		if s.Doing != "" {
			text = fmt.Sprintf("%s %d/%d", s.Doing, s.Done, s.Of)
		}
		_, _ = fmt.Fprintf(f, "\r\033[K%s", text) // it is only for the eye
	}
}

// printSeed writes what a seed says of itself.
func printSeed(w io.Writer, headline, dir string, m *app.Seed) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n  directory  %s\n  server     %s, site %s, epoch %d\n  made       %s by %s\n", headline, dir, m.Server, m.Site, m.Epoch,
		time.UnixMilli(m.MadeMS).UTC().Format(time.RFC3339), m.Build)
	for i, p := range m.Partitions {
		fmt.Fprintf(&b, "  partition  %d at %d, digest %.16s, %d rows, %d bytes\n", i, p.Position, p.Digest, p.Rows, p.Bytes)
	}
	fmt.Fprintf(&b, "  files      %d, %d bytes\n", m.Files.Count, m.Files.Bytes)
	if n := len(m.Files.Missing); n > 0 {
		fmt.Fprintf(&b, "\nWARNING: %d files could not be had and are not in it; seed.json lists them.\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
