package feed

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"bongsu/journal"
	"bongsu/journal/mem"
	"bongsu/replica"
	"bongsu/room"
)

// plant is a fault that the simulation must find. The product has no switch for it: it sits between the feed and what tells it of
// commits, its clients, or the replica and its journal. The zero plant is none.
type plant struct {
	dozes   bool // one site's feed wakes nobody for some events
	deaf    bool // one site's feed is not told of some changes
	tooFar  bool // tokens say that more was read than was
	repeats bool // tokens say that fewer messages to the device were handed out
	stale   bool // what a page hides is not looked at again when the site has caught up
	loses   bool // one site's journal loses a record now and then
}

// The simulation finds what it is for: each of these faults shows in some seed.
func TestSimulationOfFeedFindsPlantedFaults(t *testing.T) {
	for name, p := range map[string]plant{
		"a wake-up is skipped":               {dozes: true},
		"a change is not told":               {deaf: true},
		"a position is read too far":         {tooFar: true},
		"messages are handed out again":      {repeats: true},
		"a page is of a site that is behind": {stale: true},
		"a record is lost at one site":       {loses: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 60; seed++ {
				if _, faults := simulate(t, seed, p); len(faults) > 0 {
					t.Logf("seed %d: %s", seed, faults[0])
					return
				}
			}
			t.Error("it was not found")
		})
	}
}

// plantedAt is the site that faults of one site are planted at.
const plantedAt = "jeju"

// sink is what is told of commits.
func (p plant) sink(site string, f *Feed) func(replica.Commit) {
	if site != plantedAt || !p.deaf && !p.dozes {
		return f.Committed
	}
	var n atomic.Uint64
	return func(c replica.Commit) {
		var notes []any
		for _, note := range c.Notes {
			changed, ok := note.(room.Changed)
			if !ok || changed.Change != room.ChangeEvent || n.Add(1)%3 != 0 {
				notes = append(notes, note)
				continue
			}
			if p.dozes {
				f.hub.mu.Lock()
				if w := f.hub.rooms[changed.Room]; w != nil {
					w.event.Store(uint64(c.Pos))
				}
				f.hub.mu.Unlock()
			}
		}
		c.Notes = notes
		f.Committed(c)
	}
}

// answer changes an answer on its way to the client.
func (p plant) answer(rng *rand.Rand, res *response) {
	if !p.tooFar && !p.repeats {
		return
	}
	t, err := ParseToken(res.NextBatch)
	if err != nil || rng.IntN(3) > 0 {
		return
	}
	if p.tooFar {
		t.Positions[rng.IntN(len(t.Positions))]++
	}
	if p.repeats {
		t.Inbox = replica.Place{}
	}
	res.NextBatch = t.String()
}

// journal is what a site follows.
func (p plant) journal(site string, j *mem.Journal) journal.Journal {
	if site != plantedAt || !p.loses {
		return j
	}
	return lossy{j}
}

// lossy is a journal that has nothing in some records of other sites.
type lossy struct{ *mem.Journal }

func (l lossy) Follow(ctx context.Context, p journal.Partition, after journal.Position, fn func(journal.Entry) error) error {
	return l.Journal.Follow(ctx, p, after, func(e journal.Entry) error { return fn(lose(e)) })
}

func (l lossy) Read(ctx context.Context, p journal.Partition, pos journal.Position) (journal.Entry, error) {
	e, err := l.Journal.Read(ctx, p, pos)
	return lose(e), err
}

func lose(e journal.Entry) journal.Entry {
	rec, err := replica.DecodeRecord(e.Data)
	if err != nil || e.Pos%29 != 0 || rec.Site == plantedAt {
		return e
	}
	rec.Proposals = nil
	return journal.Entry{Pos: e.Pos, Data: rec.Encode(nil)}
}
