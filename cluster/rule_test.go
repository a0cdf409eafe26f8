package cluster

import (
	"maps"
	"strings"
	"testing"
)

const boot3 = 3<<16 | 7 // run 3

// TestDecide is the table of the rule, seen from seoul.
func TestDecide(t *testing.T) {
	up := hello{State: Formed, Running: true, Founded: true, Boots: map[string]uint64{"seoul": boot3}}
	change := func(h hello, f func(*hello)) hello { h.Boots = maps.Clone(h.Boots); f(&h); return h }
	starting := change(up, func(h *hello) { h.Running = false })
	empty := hello{State: Empty}
	forming := hello{State: Forming}
	damaged := change(up, func(h *hello) { h.State, h.Running = Damaged, false })
	refilling := change(up, func(h *hello) { h.State = Forming })
	newer := change(up, func(h *hello) { h.Boots["seoul"] = 5 << 16 })
	older := change(up, func(h *hello) { h.Ages = map[string]uint64{"seoul": 7} })
	three, five := []string{"busan", "chuncheon", "seoul"}, []string{"busan", "chuncheon", "daegu", "jeju", "seoul"}
	type peers = map[string]hello
	for name, c := range map[string]struct {
		v     view
		want  verb
		words string // all of these, separated by |
	}{
		"restart":                     {view{state: Formed, peers: peers{"busan": starting}}, open, ""},
		"restart after power loss":    {view{state: Formed, peers: peers{"busan": starting, "chuncheon": starting}}, open, ""},
		"alone":                       {view{state: Formed, missing: map[string]string{"busan": "no route"}}, wait, "a majority of the sites is needed: waiting for busan (no route), chuncheon"},
		"restart while forming":       {view{state: Forming, peers: peers{"busan": forming}}, open, ""},
		"new":                         {view{state: Empty, peers: peers{"busan": empty, "chuncheon": empty}}, found, ""},
		"new, others are ahead":       {view{state: Empty, peers: peers{"busan": forming, "chuncheon": empty}}, found, ""},
		"new, one is missing":         {view{state: Empty, peers: peers{"busan": empty}}, wait, "a new cluster begins when all its sites are there: waiting for chuncheon"},
		"new, one is starting":        {view{state: Empty, peers: peers{"busan": empty, "chuncheon": {}}}, wait, "waiting for chuncheon (it is starting)"},
		"burned":                      {view{state: Empty, peers: peers{"busan": up, "chuncheon": up}}, barrier, "this site has no journal"},
		"burned, founded unknown":     {view{state: Empty, peers: peers{"busan": {State: Formed, Running: true}, "chuncheon": forming}}, wait, "waiting for chuncheon (it has not all of the journal yet)"},
		"burned, one of two":          {view{state: Empty, peers: peers{"busan": up}}, wait, "both other sites are needed until this one has caught up: waiting for chuncheon"},
		"burned, other starts":        {view{state: Empty, peers: peers{"busan": up, "chuncheon": starting}}, wait, "waiting for chuncheon (it does not take part yet)"},
		"burned while one refills":    {view{state: Empty, peers: peers{"busan": up, "chuncheon": refilling}}, wait, "waiting for chuncheon (it has not all of the journal yet)"},
		"burned, all know, all empty": {view{state: Empty, rec: record{Founded: true}, peers: peers{"busan": empty, "chuncheon": empty}}, wait, "no majority is left|must be recovered"},
		"two burned":                  {view{state: Empty, peers: peers{"busan": up, "chuncheon": empty}}, wait, "no majority is left that knows all|waiting for chuncheon (it has no journal)"},
		"damaged":                     {view{state: Damaged, peers: peers{"busan": up, "chuncheon": up}}, barrier, "damaged"},
		"all damaged":                 {view{state: Damaged, peers: peers{"busan": damaged, "chuncheon": damaged}}, wait, "no majority is left|busan (its journal is damaged)"},
		"damaged before it began":     {view{state: Damaged, peers: peers{"busan": forming, "chuncheon": empty}}, found, ""},
		"stale":                       {view{state: Formed, rec: record{Admitted: boot3}, peers: peers{"busan": newer, "chuncheon": up}}, barrier, "it took part last in run 3, and a site remembers run 5"},
		"stale, one of two":           {view{state: Formed, rec: record{Admitted: boot3}, peers: peers{"busan": newer}}, wait, "stale copy|both other sites are needed"},
		"stale, same number":          {view{state: Formed, rec: record{Admitted: boot3 - 1}, peers: peers{"busan": up, "chuncheon": up}}, barrier, "stale copy"},
		"a copy of the last run":      {view{state: Formed, rec: record{Age: 6}, peers: peers{"busan": up, "chuncheon": older}}, barrier, "when the site had counted to 6, and a site remembers that it counted to 7"},
		"stale, told by gossip":       {view{state: Formed, rec: record{Boots: map[string]uint64{"seoul": 5 << 16}}, peers: peers{"busan": starting}}, wait, "stale copy"},
		"stale, found out late":       {view{state: Formed, rec: record{Stale: true}, peers: peers{"busan": up, "chuncheon": up}}, barrier, "stale copy"},
		"all stale copies":            {view{state: Formed, rec: record{Admitted: 1}, peers: peers{"busan": starting, "chuncheon": starting}}, wait, "both other sites"},
		"stale, others new":           {view{state: Formed, rec: record{Stale: true}, peers: peers{"busan": empty, "chuncheon": empty}}, wait, "no majority is left"},
		"one of five":                 {view{sites: five, state: Formed, peers: peers{"busan": up}}, wait, "waiting for chuncheon, daegu, jeju"},
		"two of five":                 {view{sites: five, state: Formed, peers: peers{"busan": up, "jeju": starting}}, open, ""},
		"burned of five, two answer":  {view{sites: five, state: Empty, peers: peers{"busan": up, "jeju": up}}, wait, "3 of the other sites are needed|waiting for chuncheon, daegu"},
		"burned of five, three":       {view{sites: five, state: Empty, peers: peers{"busan": up, "jeju": up, "daegu": up, "chuncheon": empty}}, barrier, ""},
		"burned of five, two more":    {view{sites: five, state: Empty, peers: peers{"busan": up, "jeju": up, "daegu": damaged, "chuncheon": empty}}, wait, "no majority is left"},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.v
			v.self = "seoul"
			if v.sites == nil {
				v.sites = three
			}
			if v.rec.Admitted == 0 {
				v.rec.Admitted = boot3
			}
			if v.missing == nil {
				v.missing = map[string]string{}
			}
			got := decide(v)
			if got.do != c.want {
				t.Errorf("step %d %q, want %d", got.do, got.words, c.want)
			}
			for words := range strings.SplitSeq(c.words, "|") {
				if !strings.Contains(got.words, words) {
					t.Errorf("%q lacks %q", got.words, words)
				}
			}
			if got.do == barrier && len(got.ask) < quorum(len(v.sites)) {
				t.Errorf("asks %v", got.ask)
			}
		})
	}
}
