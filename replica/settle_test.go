package replica_test

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/replica"
)

// behind is a journal whose engine at this site has not got further than a position, for as long as one is set.
type behind struct {
	*mem.Journal
	at *atomic.Uint64
}

func (b *behind) hidden(pos journal.Position) bool {
	at := journal.Position(b.at.Load())
	return at != 0 && pos > at
}

func (b *behind) Bounds(ctx context.Context, p journal.Partition) (first, last journal.Position, err error) {
	first, last, err = b.Journal.Bounds(ctx, p)
	if b.hidden(last) {
		last = journal.Position(b.at.Load())
	}
	return first, last, err
}

func (b *behind) Read(ctx context.Context, p journal.Partition, pos journal.Position) (journal.Entry, error) {
	if b.hidden(pos) {
		return journal.Entry{}, io.EOF
	}
	return b.Journal.Read(ctx, p, pos)
}

func (b *behind) Follow(ctx context.Context, p journal.Partition, after journal.Position, fn func(journal.Entry) error) error {
	return b.Journal.Follow(ctx, p, after, func(e journal.Entry) error {
		for b.hidden(e.Pos) && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		return fn(e)
	})
}

// Rows that are ahead of the engine at their own site, which happens since records are followed before this site has stored them, are
// right if the journal as a quorum knows it goes that far. They are served meanwhile.
func TestRowsAheadOfTheirEngineAreKept(t *testing.T) {
	var at atomic.Uint64
	config := func(site string, cfg *replica.Config) {
		if site == "jeju" {
			cfg.Journal = &behind{Journal: cfg.Journal.(*mem.Journal), at: &at}
		}
	}
	inCluster(t, 1, threeNames, config, func(t *testing.T, c *cluster) {
		for range 5 {
			submit(t, c.sites["seoul"].r, propose("ledger.add", "amy"))
		}
		c.alike()
		c.crash("jeju")
		at.Store(3)
		jeju := c.start("jeju")
		time.Sleep(20 * time.Second)
		if n := count(jeju.r, "amy"); n != 5 || jeju.r.Serving() != nil || jeju.r.Generation() != 0 {
			t.Errorf("amy has %d, %v, generation %d", n, jeju.r.Serving(), jeju.r.Generation())
		}
		at.Store(0)
		c.ready("jeju")
		if jeju.r.Generation() != 0 {
			t.Error("rows that were right were discarded")
		}
		c.alike()
	})
}

// Rows that are ahead of the journal as a quorum knows it, or that hold another record's outcome, are discarded: they are of another
// history.
func TestRowsOfAnotherHistoryAreDiscarded(t *testing.T) {
	for _, more := range []int{0, 40} {
		inCluster(t, 1, threeNames, nil, func(t *testing.T, c *cluster) {
			for range 20 {
				submit(t, c.sites["seoul"].r, propose("ledger.add", "amy"))
			}
			c.alike()
			for _, name := range threeNames {
				c.crash(name)
			}
			c.store.Cut(0, c.last(0)-10)
			c.wipe("seoul")
			c.wipe("busan")
			if more > 0 { // the journal goes on without jeju, past where its rows are
				c.start("seoul")
				c.ready("seoul")
				for range more {
					submit(t, c.sites["seoul"].r, propose("ledger.add", "bob"))
				}
			}
			jeju := c.start("jeju")
			c.until("jeju has discarded its rows", func() bool { return jeju.r.Generation() > 0 && jeju.r.Serving() == nil })
			c.ready("jeju")
			if n := count(jeju.r, "amy"); n < 8 || n > 12 || count(jeju.r, "bob") != int64(more) {
				t.Errorf("amy has %d, bob %d", n, count(jeju.r, "bob"))
			}
			c.alike()
		})
	}
}

// An emptied site whose engine is as empty as its rows is not in service before it has what the others have acknowledged.
func TestEmptyEngineIsNoEmptyJournal(t *testing.T) {
	var at atomic.Uint64
	config := func(site string, cfg *replica.Config) {
		if site == "jeju" {
			cfg.Journal = &behind{Journal: cfg.Journal.(*mem.Journal), at: &at}
		}
	}
	inCluster(t, 1, threeNames, config, func(t *testing.T, c *cluster) {
		for range 5 {
			submit(t, c.sites["seoul"].r, propose("ledger.add", "amy"))
		}
		c.crash("jeju")
		c.wipe("jeju")
		at.Store(1)
		jeju := c.start("jeju")
		time.Sleep(20 * time.Second)
		if jeju.r.Serving() == nil {
			t.Errorf("it serves %d of 5", count(jeju.r, "amy"))
		}
		at.Store(0)
		c.until("jeju serves", func() bool { return jeju.r.Serving() == nil })
		if n := count(jeju.r, "amy"); n != 5 {
			t.Errorf("it serves %d of 5", n)
		}
		c.alike()
	})
}

// A checkpoint of newer rules is not for this build, however often it is loaded: the site stops and says what to do.
func TestCheckpointOfNewerRulesStops(t *testing.T) {
	dir := t.TempDir()
	var file *replica.CheckpointFile
	old := false
	config := func(site string, cfg *replica.Config) {
		cfg.Checkpoint = func(context.Context, journal.Partition, journal.Position) (*replica.CheckpointFile, error) {
			return file, nil
		}
		if old && site == "jeju" {
			cfg.Rules = 1
		}
	}
	inCluster(t, 1, threeNames, config, func(t *testing.T, c *cluster) {
		submit(t, c.sites["seoul"].r, propose("ledger.add", "amy"))
		c.crash("jeju")
		c.wipe("jeju")
		var err error
		if file, err = c.sites["seoul"].r.SaveCheckpoint(0, dir); err != nil {
			t.Fatal(err)
		}
		if err := c.sites["seoul"].j.Trim(t.Context(), 0, file.Info.Pos); err != nil {
			t.Fatal(err)
		}
		old = true
		jeju := c.start("jeju")
		c.until("jeju has stopped", func() bool { return jeju.r.Status(0).Err != nil })
		if err := jeju.r.Status(0).Err; !strings.Contains(err.Error(), "run a newer build") {
			t.Error(err)
		}
	})
}
