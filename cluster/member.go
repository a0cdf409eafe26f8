// Package cluster is what makes sites a cluster: their certificates and settings (bundle.go, settings.go), and the rule by which a
// site is let in (rule.go, member.go).
//
// Invariant: a site takes part in the journal (opens its routes) only when that cannot cost an acknowledged record.
package cluster

import (
	"context"
	"log/slog"

	"bongsu/clock"
	"bongsu/link"
)

// State is what a site's journal directory is.
type State string

// The states. Their names travel between sites.
const (
	Unknown State = ""        // not looked at yet
	Empty   State = "empty"   // nothing in it that ever took part
	Forming State = "forming" // took part, and has not seen all of the cluster's partitions
	Formed  State = "formed"  // has all partitions
	Damaged State = "damaged" // what it holds cannot be trusted; treated as Empty, and not deleted before it can be replaced
)

// Config says what a Member is made of. All but SeenBoot, Clock and Log are required.
type Config struct {
	Link  *link.Link
	Site  string
	Sites []string // all, this one included
	Dir   string   // existing directory for the member's own file, in the site's data directory
	Epoch uint64   // of the cluster, as this site's data has it; raised by a recovery

	Boot      func() uint64                      // number of this run
	RaiseBoot func(above uint64) (uint64, error) // takes and keeps a number above the given one; before anything was written under Boot
	Wipe      func() error                       // makes the journal directory Empty, on stable storage, and discards what was made from it
	SeenBoot  func(site string) uint64           // newest boot of a site that the own journal shows; nil: none
	Barrier   func(ctx context.Context) error    // see Answers
	Routed    func(site string) bool             // whether the own engine has a route to site now; nil: no
	Clock     clock.Clock
	Log       *slog.Logger
}

// Member is this site's standing in its cluster.
type Member struct{ cfg Config }

// Open reads what the site remembers and answers the peers' questions from now on.
func Open(c Config) (*Member, error) { return &Member{c}, nil }

// Admit blocks until this site's journal engine may open its routes.
func (m *Member) Admit(ctx context.Context, s State) error { return nil }

// Found waits until formed returns and every site has its part of the new cluster.
func (m *Member) Found(ctx context.Context, formed func(context.Context) error) error { return nil }

// Close ends what runs.
func (m *Member) Close() error { return nil }
