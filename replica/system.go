package replica

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/kv"
)

// The replica's own kinds of proposal.
const (
	kindGenesis = "sys.genesis" // the first record of a partition
	kindRules   = "sys.rules"   // switches a rules version on
	kindDeliver = "sys.deliver" // messages from another partition's outbox
	kindAck     = "sys.ack"     // a receiver has them
)

func isSystem(kind string) bool { return strings.HasPrefix(kind, "sys.") }

// maxStep is how far the wall time moves at once on one site's word, in milliseconds; maxLive how far the live time.
const (
	maxStep = 60_000
	maxLive = 5_000
)

// system is a partition's own state.
type system struct {
	wall, live int64  // milliseconds
	rules      uint16 // in force
	epoch      uint64 // changes when a cluster is recovered or restored
	partitions int    // how many there are; fixed at genesis

	forgotten journal.Position // refusals up to here are no longer kept; since rules 2
}

func (s system) encode() []byte {
	out := binary.AppendVarint(nil, s.wall)
	out = binary.AppendVarint(out, s.live)
	out = binary.AppendUvarint(out, uint64(s.rules))
	out = binary.AppendUvarint(out, s.epoch)
	out = binary.AppendUvarint(out, uint64(s.partitions))
	if s.forgotten > 0 {
		out = binary.AppendUvarint(out, uint64(s.forgotten))
	}
	return out
}

func decodeSystem(v []byte) (s system, ok bool) {
	d := decoder{data: v}
	s = system{wall: d.varint(), live: d.varint(), rules: uint16(d.uvarint()), epoch: d.uvarint(), partitions: int(d.uvarint())}
	if len(d.data) > 0 {
		s.forgotten = journal.Position(d.uvarint())
	}
	return s, !d.bad
}

// siteRow is what a partition knows of a site.
type siteRow struct {
	stamp int64  // its clock as it told last, Unix milliseconds; before rules 2 the highest that it told
	rules uint16 // the newest rules version that its build knows
}

func (s siteRow) encode() []byte {
	return binary.AppendUvarint(binary.AppendVarint(nil, s.stamp), uint64(s.rules))
}

func decodeSite(v []byte) siteRow {
	d := decoder{data: v}
	return siteRow{stamp: d.varint(), rules: uint16(d.uvarint())}
}

// advance moves the two times by the record's stamp. A leap of more than a minute needs the word of a majority of sites.
func (pt *partition) advance(rec *Record) {
	s := pt.sites[rec.Site]
	stamp := max(s.stamp, rec.Stamp)
	if pt.sys.rules >= rulesRefusals && rec.Stamp != 0 {
		stamp = rec.Stamp // a clock that was wrong once has no say any more
	}
	if stamp != s.stamp || rec.Rules != s.rules {
		s = siteRow{stamp: stamp, rules: rec.Rules}
		pt.sites[rec.Site] = s
		pt.write(write{key: kv.Str(partitionRow(pt.n, tableSite), rec.Site), value: s.encode()})
	}
	to := rec.Stamp
	if to > pt.sys.wall+maxStep {
		to = min(to, pt.agreed())
	}
	if to <= pt.sys.wall {
		return
	}
	if pt.sys.wall > 0 { // the very first stamp sets the time, it does not advance it
		pt.sys.live += min(to-pt.sys.wall, maxLive)
	}
	pt.sys.wall = to
}

// agreed is the latest time that the clocks of a majority of sites have reached.
func (pt *partition) agreed() int64 {
	stamps := make([]int64, 0, len(pt.sites))
	for _, s := range pt.sites {
		stamps = append(stamps, s.stamp)
	}
	slices.Sort(stamps)
	return stamps[(len(stamps)-1)/2]
}

// system decides the replica's own proposals.
func (pt *partition) system(tx *Tx, kind string, body []byte) verdict {
	switch kind {
	case kindGenesis:
		return pt.genesis(tx, body)
	case kindRules:
		return pt.switchRules(body)
	case kindDeliver:
		return pt.receive(tx, body)
	case kindAck:
		return pt.acknowledged(tx, body)
	case kindRenew:
		return pt.renewSlot(tx, body)
	case kindEpoch:
		return pt.goneOn(tx, body)
	}
	return verdict{err: errs.New("replica.apply", errs.Unsupported, "", "unknown kind %s", kind)}
}

// genesis is the body of the first record: how many partitions there are, the rules in force, and the sites.
type genesis struct {
	partitions int
	rules      uint16
	sites      []string
}

func (g genesis) encode() []byte {
	out := binary.AppendUvarint(nil, uint64(g.partitions))
	out = binary.AppendUvarint(out, uint64(g.rules))
	for _, s := range g.sites {
		out = putString(out, s)
	}
	return out
}

func decodeGenesis(body []byte) (genesis, bool) {
	d := decoder{data: body}
	g := genesis{partitions: int(d.uvarint()), rules: uint16(d.uvarint())}
	for len(d.data) > 0 {
		g.sites = append(g.sites, d.string())
	}
	return g, !d.bad
}

func (pt *partition) genesis(tx *Tx, body []byte) verdict {
	g, ok := decodeGenesis(body)
	if !ok || pt.sys.partitions != 0 {
		return verdict{err: errs.New("replica.apply", errs.Conflict, "", "the partition has begun")}
	}
	pt.sys.partitions, pt.sys.rules, pt.sys.epoch = g.partitions, g.rules, 1
	if g.rules >= rulesRefusals && len(g.sites) > 1 {
		pt.sys.wall = 0 // so far it is one clock's word; the first time is what a majority of the sites agrees on
	}
	for _, s := range g.sites {
		if _, ok := pt.sites[s]; !ok {
			pt.sites[s] = siteRow{}
			pt.meet(s)
			tx.set(kv.Str(partitionRow(pt.n, tableSite), s), siteRow{}.encode())
		}
	}
	return verdict{}
}

// switchesRules reports the version that a proposal switches on, if it is one that does.
func switchesRules(p *Proposal) (uint16, bool) {
	switch p.Kind {
	case kindGenesis:
		g, ok := decodeGenesis(p.Body)
		return g.rules, ok
	case kindRules:
		d := decoder{data: p.Body}
		v := d.uvarint()
		return uint16(min(v, 1<<16-1)), !d.bad
	}
	return 0, false
}

// switchRules puts a rules version in force, once every site runs a build that knows it. It never goes back.
func (pt *partition) switchRules(body []byte) verdict {
	d := decoder{data: body}
	v := d.uvarint()
	if d.bad || v <= uint64(pt.sys.rules) || v > 1<<16-1 {
		return verdict{err: errs.New("replica.apply", errs.Conflict, "", "rules version %d is in force", pt.sys.rules)}
	}
	for _, name := range slices.Sorted(maps.Keys(pt.sites)) {
		if uint64(pt.sites[name].rules) < v {
			return verdict{err: errs.New("replica.apply", errs.Conflict, "",
				"site %s runs a build that knows rules %d, not %d", name, pt.sites[name].rules, v)}
		}
	}
	pt.sys.rules = uint16(v)
	return verdict{}
}

// load reads the partition's own state from the rows, at start.
func (pt *partition) load() error {
	pt.sys, pt.digest, pt.next = system{}, Digest{}, 0
	pt.sites, pt.due = map[string]siteRow{}, map[Clock]int64{}
	pt.recent, pt.mark = recentDigests{}, claim{}
	pt.oldest, pt.refusedAt, pt.crossed = -1, 0, false
	v := pt.r.db.Get(appliedKey(pt.n))
	if v == nil {
		return nil
	}
	a, ok := decodeApplied(v)
	if !ok {
		return fmt.Errorf("replica: malformed position row of partition %d", pt.n)
	}
	if pt.sys, ok = decodeSystem(pt.r.db.Get(partitionRow(pt.n, tableSystem))); !ok {
		return fmt.Errorf("replica: malformed system row of partition %d", pt.n)
	}
	if pt.sys.partitions != 0 && pt.sys.partitions != pt.of {
		return fmt.Errorf("replica: the journal was begun with %d partitions, not %d", pt.sys.partitions, pt.of)
	}
	if pt.sys.rules > pt.r.rules {
		return fmt.Errorf("replica: partition %d follows rules version %d, this build knows %d: run a newer build", pt.n, pt.sys.rules, pt.r.rules)
	}
	pt.next, pt.digest = a.pos, a.digest
	pt.recent.add(a.pos, a.digest)
	if err := pt.loadSites(); err != nil {
		return err
	}
	pt.loadRefusals()
	for _, c := range [...]Clock{Live, Wall} {
		lo := append(partitionRow(pt.n, tableTimer), byte(c))
		for k := range pt.r.db.Scan(lo, kv.End(lo)) {
			_, pt.due[c] = timerDue(k)
			break
		}
	}
	lo := partitionRow(pt.n, tableOutbox)
	for range pt.r.db.Scan(lo, kv.End(lo)) {
		pt.sends = true
		break
	}
	return nil
}

// loadSites reads what is known of the sites.
func (pt *partition) loadSites() error {
	lo := partitionRow(pt.n, tableSite)
	for k, v := range pt.r.db.Scan(lo, kv.End(lo)) {
		name, _, err := kv.CutStr(k[len(lo):])
		if err != nil {
			return fmt.Errorf("replica: malformed site row of partition %d", pt.n)
		}
		s := decodeSite(v)
		pt.sites[name] = s
		p := pt.meet(name)
		p.Stamp, p.Rules = s.stamp, s.rules
	}
	lo = partitionRow(pt.n, tableBoot)
	for k := range pt.r.db.Scan(lo, kv.End(lo)) {
		name, rest, err := kv.CutStr(k[len(lo):])
		if err != nil || len(rest) != 8 {
			return fmt.Errorf("replica: malformed row of a run in partition %d", pt.n)
		}
		p := pt.meet(name)
		p.Boot = max(p.Boot, binary.BigEndian.Uint64(rest))
	}
	return nil
}
