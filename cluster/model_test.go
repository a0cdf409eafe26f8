package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

// TestModel lets sites vote, replicate, crash, freeze, burn and come back from old copies, in random order, with messages that are lost,
// late and out of order; a site that comes back passes decide, the very rule of the program. Whoever becomes leader must hold every
// record that was acknowledged in earlier terms, and what is acknowledged must never differ from what was: that is the whole promise.
// It holds however many sites burn, for with too few left nobody leads.
func TestModel(t *testing.T) {
	t.Parallel()
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 200
	}
	if s := os.Getenv("BONGSU_MODEL_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = n
	}
	for _, sites := range []int{3, 5} {
		acked, refills := 0, 0
		for seed := range seeds {
			m := newModel(sites, seed)
			if err := m.run(2000); err != nil {
				t.Fatalf("%d sites, seed %d: %v", sites, seed, err)
			}
			acked += len(m.acked)
			refills += m.refills
		}
		t.Logf("%d sites: %d schedules, %d records acknowledged, %d refills", sites, seeds, acked, refills)
		if acked < 20*int(seeds) || refills < int(seeds)/4 {
			t.Errorf("%d sites: the schedules do too little to prove anything", sites)
		}
	}
}

// TestModelFindsPlantedRules weakens the rule, each time by something that one might think superfluous, and wants a loss to be found.
func TestModelFindsPlantedRules(t *testing.T) {
	for name, c := range map[string]struct {
		first uint64 // the seeds before find nothing, and cost seconds
		plant func(*model)
	}{
		"an emptied site joins at once":      {0, func(m *model) { m.plant.noBarrier = true }},
		"a barrier from before the burn":     {900, func(m *model) { m.plant.oldBarrier = true }},
		"stale copies are not looked for":    {0, func(m *model) { m.plant.noBoots, m.plant.noAges = true, true }},
		"copies of the last run are not":     {0, func(m *model) { m.plant.noAges = true }},
		"routes are open during the barrier": {8000, func(m *model) { m.plant.openEarly = true }},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := c.first; seed < c.first+5000; seed++ {
				m := newModel(3, seed)
				c.plant(m)
				if err := m.run(2000); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("no loss was found")
		})
	}
}

// mEntry is a record. Barriers are records too.
type mEntry struct{ term, id int }

// mDisk is what a node keeps.
type mDisk struct {
	term, vote int // vote: node + 1
	log        []mEntry
	state      State
	rec        record // what it remembers of boots
	boot       uint64
}

func (d mDisk) clone() mDisk {
	d.log = slices.Clone(d.log)
	d.rec = d.rec.clone()
	return d
}

// mNode is a site.
type mNode struct {
	mDisk
	older  *mDisk // a copy that somebody made of the disk
	run    int    // of the process; messages to another run are never delivered, since its connections died with it
	routes bool
	frozen bool
	commit int // what it knows to be committed
	// as candidate or leader
	leads, campaigns bool
	votes            map[int]bool
	match            []int
	// while it is refilled
	need     int         // it vouches for others when it holds this record
	barriers map[int]int // peer -> id of the record that it must hold
	passed   map[int]bool
}

// mMessage is on its way. Requests for votes are sent once in a term and only to those who are connected, as the engine does.
type mMessage struct {
	kind      string
	from, to  int
	run       int // of the receiver
	term      int
	log       []mEntry
	commit, n int
}

type model struct {
	rng     *rand.Rand
	names   []string
	nodes   []*mNode
	wire    []mMessage
	acked   []mEntry    // what was acknowledged, in order
	within  map[int]int // id -> term in which it was
	nextID  int
	refills int
	trace   func(string, ...any)
	stale   int // node whose disk was put back and that is not yet in again, or -1
	plant   struct {
		noBarrier, oldBarrier, noBoots, noAges, openEarly bool
	}
}

func newModel(sites int, seed uint64) *model {
	m := &model{rng: rand.New(rand.NewPCG(seed, uint64(sites))), within: map[int]int{}, stale: -1}
	for i := range sites {
		m.names = append(m.names, fmt.Sprint("site", i))
	}
	boots := map[string]uint64{}
	for _, name := range m.names {
		boots[name] = 1 << 16
	}
	for range sites {
		m.nodes = append(m.nodes, &mNode{routes: true, mDisk: mDisk{boot: 1 << 16, state: Formed,
			rec: record{Founded: true, Admitted: 1 << 16, Boots: maps.Clone(boots), Ages: map[string]uint64{}}}})
	}
	return m
}

func (m *model) run(steps int) error {
	for range steps {
		i := m.rng.IntN(len(m.nodes))
		n := m.nodes[i]
		var err error
		switch dice := m.rng.IntN(1000); {
		case dice < 700:
			err = m.deliver()
		case dice < 780:
			m.replicate(m.leader(i))
		case dice < 860:
			m.append(m.leader(i))
		case dice < 920:
			m.admit(i)
		case dice < 940:
			if !m.led() || m.rng.IntN(8) == 0 {
				m.campaign(i)
			}
		case dice < 960:
			n.frozen = false
		case dice < 965:
			n.frozen = true
		case dice < 970:
			m.restart(i, n.mDisk)
		case dice < 973 && m.stale < 0: // one stale copy and another loss at once is more than is promised
			m.restart(i, mDisk{state: Empty, rec: newRecord()})
		case dice < 976:
			older := n.clone()
			n.older = &older
		case dice < 984:
			m.putBack(i)
		case dice < 990:
			m.grow(i)
		case dice < 991:
			m.wire = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restart starts a process on a disk; it is out until it is admitted.
func (m *model) restart(i int, d mDisk) {
	n := m.nodes[i]
	d.boot += 1 << 16
	older := n.older
	if d.state == Empty {
		older = nil
	}
	m.say("restart %d %s", i, d.state)
	*n = mNode{mDisk: d, run: n.run + 1, frozen: n.frozen, need: n.need, older: older}
	if d.state != Empty {
		n.need = m.nodes[i].need
	}
}

// putBack restarts a site on an older copy of its disk, if every other site can tell.
func (m *model) putBack(i int) {
	n := m.nodes[i]
	if n.older == nil || m.stale >= 0 || !n.routes {
		return
	}
	for _, o := range m.nodes {
		if o != n && o.rec.Boots[m.names[i]] <= n.older.rec.Admitted && o.rec.Ages[m.names[i]] <= n.older.rec.Age {
			return
		}
	}
	m.restart(i, n.older.clone())
	m.stale = i
	m.say("stale %d log %v", i, n.log)
}

func (m *model) say(format string, args ...any) {
	if m.trace != nil {
		m.trace(format, args...)
	}
}

func (m *model) up(i int) bool { return !m.nodes[i].frozen }

// leader is a site that leads, or i.
func (m *model) leader(i int) int {
	for k := range m.nodes {
		if j := (i + k) % len(m.nodes); m.nodes[j].leads && m.in(j) {
			return j
		}
	}
	return i
}

// led reports whether somebody leads and can be heard.
func (m *model) led() bool {
	return slices.ContainsFunc(m.nodes, func(n *mNode) bool { return n.leads && n.routes && !n.frozen })
}

// in reports whether a site takes part now.
func (m *model) in(i int) bool { return m.nodes[i].routes && m.up(i) }

func (m *model) send(msg mMessage) {
	msg.run = m.nodes[msg.to].run
	if m.nodes[msg.to].routes {
		m.wire = append(m.wire, msg)
	}
}

func (m *model) campaign(i int) {
	n := m.nodes[i]
	if !m.in(i) || n.leads {
		return
	}
	n.term++
	n.vote, n.campaigns, n.votes = i+1, true, map[int]bool{i: true}
	for j := range m.nodes {
		if j != i {
			m.send(mMessage{kind: "vote?", from: i, to: j, term: n.term, log: slices.Clone(n.log)})
		}
	}
}

func (m *model) append(i int) {
	n := m.nodes[i]
	if m.in(i) && n.leads {
		m.nextID++
		n.log = append(n.log, mEntry{n.term, m.nextID})
	}
}

func (m *model) replicate(i int) {
	n := m.nodes[i]
	if !m.in(i) || !n.leads {
		return
	}
	for j := range m.nodes {
		if j != i {
			m.send(mMessage{kind: "append", from: i, to: j, term: n.term, log: slices.Clone(n.log), commit: n.commit})
		}
	}
}

// follow takes over a newer term.
func (n *mNode) follow(term int) {
	if term > n.term {
		n.term, n.vote, n.leads, n.campaigns = term, 0, false, false
	}
}

func last(log []mEntry) mEntry {
	if len(log) == 0 {
		return mEntry{}
	}
	return log[len(log)-1]
}

// deliver hands over a message, any of those on their way.
func (m *model) deliver() error {
	if len(m.wire) == 0 {
		return nil
	}
	k := m.rng.IntN(len(m.wire))
	msg := m.wire[k]
	n := m.nodes[msg.to]
	if n.frozen {
		return nil
	}
	m.wire = slices.Delete(m.wire, k, k+1)
	if msg.run != n.run || !n.routes || m.rng.IntN(20) == 0 {
		return nil
	}
	n.follow(msg.term)
	switch msg.kind {
	case "vote?":
		theirs, mine := last(msg.log), last(n.log)
		current := theirs.term > mine.term || theirs.term == mine.term && len(msg.log) >= len(n.log)
		if msg.term == n.term && (n.vote == 0 || n.vote == msg.from+1) && current {
			n.vote = msg.from + 1
			m.send(mMessage{kind: "vote", from: msg.to, to: msg.from, term: n.term})
		}
	case "vote":
		if msg.term == n.term && n.campaigns {
			n.votes[msg.from] = true
			if len(n.votes) >= quorum(len(m.nodes)) {
				return m.lead(msg.to)
			}
		}
	case "append":
		if msg.term < n.term {
			return nil
		}
		n.campaigns = false
		n.take(msg.log)
		n.learn(min(msg.commit, len(msg.log)))
		m.send(mMessage{kind: "ack", from: msg.to, to: msg.from, term: n.term, n: len(msg.log)})
	case "ack":
		if msg.term == n.term && n.leads {
			n.match[msg.from] = max(n.match[msg.from], msg.n)
			return m.acknowledge(n, msg.to)
		}
	}
	return nil
}

// take makes the log agree with the leader's.
func (n *mNode) take(log []mEntry) {
	for i, e := range log {
		if i == len(n.log) || n.log[i] != e {
			n.log = append(slices.Clone(n.log[:i]), log[i:]...)
			return
		}
	}
}

// learn notes what is committed; a refilled site is whole when it holds the barrier.
func (n *mNode) learn(commit int) {
	n.commit = max(n.commit, commit)
	if n.state == Forming && n.holds(n.need) {
		n.state = Formed
	}
}

// holds reports whether a record is committed here, as far as this site knows.
func (n *mNode) holds(id int) bool {
	return id == 0 || slices.ContainsFunc(n.log[:min(n.commit, len(n.log))], func(e mEntry) bool { return e.id == id })
}

// acknowledge commits what a majority has of the leader's own term, and tells the clients.
func (m *model) acknowledge(n *mNode, self int) error {
	n.match[self] = len(n.log)
	sorted := slices.Sorted(slices.Values(n.match))
	at := sorted[len(sorted)-quorum(len(sorted))]
	if at > n.commit && n.log[at-1].term == n.term {
		n.learn(at)
		m.say("commit by %d term %d to %d match %v", self, n.term, at, n.match)
		for i, e := range n.log[:at] {
			switch {
			case i == len(m.acked):
				m.acked = append(m.acked, e)
				m.within[e.id] = n.term
			case m.acked[i] != e:
				return fmt.Errorf("site %d acknowledges %v in place of %v, which was acknowledged", self, e, m.acked[i])
			}
		}
	}
	return nil
}

// lead makes a node leader, which must hold all that was acknowledged.
func (m *model) lead(i int) error {
	n := m.nodes[i]
	n.leads, n.campaigns, n.match = true, false, make([]int, len(m.nodes))
	m.say("lead %d term %d votes %v log %v commit %d", i, n.term, n.votes, n.log, n.commit)
	for k, e := range m.acked {
		if m.within[e.id] < n.term && (k >= len(n.log) || n.log[k] != e) {
			return fmt.Errorf("site %d leads term %d without %v, which was acknowledged in term %d", i, n.term, e, m.within[e.id])
		}
	}
	return nil
}

// admit lets a site try to come in.
func (m *model) admit(i int) {
	n := m.nodes[i]
	if n.routes || n.frozen {
		return
	}
	v := view{self: m.names[i], sites: m.names, state: n.state, rec: n.rec.clone(), peers: map[string]hello{},
		missing: map[string]string{}}
	for j, o := range m.nodes {
		if j == i || o.frozen {
			continue
		}
		h := hello{State: o.state, Founded: o.rec.Founded, Running: o.routes, Boots: o.rec.Boots, Ages: o.rec.Ages}
		if m.plant.noBoots {
			h.Boots = nil
		}
		if m.plant.noAges {
			h.Ages = nil
		}
		v.peers[m.names[j]] = h
	}
	switch s := decide(v); {
	case s.do == open:
		m.join(i, v, false)
	case s.do == barrier || m.plant.noBarrier && v.lost() != "":
		if m.plant.noBarrier || m.barrier(i, s.ask) {
			m.join(i, v, true)
		}
	}
}

// barrier has each of the peers hold a record that was appended after it was asked, and reports whether enough of them do.
func (m *model) barrier(i int, ask []string) bool {
	n := m.nodes[i]
	if n.barriers == nil {
		n.barriers, n.passed = map[int]int{}, map[int]bool{}
	}
	if m.plant.openEarly {
		n.routes = true
		defer func() { n.routes = false }()
		m.wipe(n)
	}
	for _, name := range ask {
		j := slices.Index(m.names, name)
		if !m.in(j) || m.nodes[j].state != Formed {
			continue
		}
		if n.barriers[j] == 0 {
			n.barriers[j] = m.barrierRecord(j)
		}
		if n.barriers[j] != 0 && m.nodes[j].holds(n.barriers[j]) {
			n.passed[j] = true
		}
	}
	return len(n.passed) >= quorum(len(m.nodes))
}

// barrierRecord appends a record for site j, which takes it to whoever it thinks leads.
func (m *model) barrierRecord(j int) int {
	if m.plant.oldBarrier { // what it holds already
		if c := m.nodes[j].commit; c > 0 {
			return m.nodes[j].log[c-1].id
		}
	}
	for _, l := range m.nodes {
		if l.leads && l.routes && !l.frozen && l.term >= m.nodes[j].term {
			m.nextID++
			l.log = append(l.log, mEntry{l.term, m.nextID})
			return m.nextID
		}
	}
	return 0
}

func (m *model) wipe(n *mNode) {
	n.term, n.vote, n.log, n.commit = 0, 0, nil, 0
	n.state = Forming
}

// grow counts a site's age and tells the others.
func (m *model) grow(i int) {
	if n := m.nodes[i]; m.in(i) {
		n.rec.Age++
		n.rec.Ages[m.names[i]] = n.rec.Age
		m.gossip(i)
	}
}

// gossip tells the others what a site remembers, and returns how many heard it.
func (m *model) gossip(i int) (heard int) {
	for j, o := range m.nodes {
		if j != i && !o.frozen {
			o.rec.merge(m.nodes[i].rec.Boots, m.nodes[i].rec.Ages, false)
			heard++
		}
	}
	return heard
}

// join opens a site's routes when enough others have noted its run.
func (m *model) join(i int, v view, empty bool) {
	n := m.nodes[i]
	if newest := v.known(); runNumber(newest) >= runNumber(n.boot) {
		n.boot = (newest>>16 + 1) << 16
	}
	n.rec.Admitted, n.rec.Stale, n.rec.Founded, n.rec.Age = n.boot, false, true, v.age()+1
	n.rec.Boots[m.names[i]], n.rec.Ages[m.names[i]] = n.boot, n.rec.Age
	if m.gossip(i) < quorum(len(m.nodes))-1 {
		return
	}
	if empty {
		m.wipe(n)
		m.refills++
		for _, id := range n.barriers {
			n.need = max(n.need, id)
		}
	}
	n.routes, n.barriers, n.passed = true, nil, nil
	m.say("join %d empty %v need %d", i, empty, n.need)
	if m.stale == i {
		m.stale = -1
	}
}
