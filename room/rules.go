package room

import (
	"container/list"
	"sync"

	"bongsu/id"
	"bongsu/roomstate"
)

// rulesKey names the rules of a room at a point of its history. The events do not change, except by redaction, which edits
// counts; so the key determines the rules, and what is kept under it at one site is what another reads from its rows.
type rulesKey struct {
	create, powerLevels, joinRules id.EventID
	edits                          uint64
}

func (h *Head) rulesKey() rulesKey {
	return rulesKey{h.Create.ID, h.PowerLevels.ID, h.JoinRules.ID, h.edits}
}

// maxRules is how many rooms' rules are kept: some 2 KiB each.
const maxRules = 4096

// rulesCache keeps the rules of the rooms that were used last, so that a message needs no event to be read and parsed. It is
// shared by the partitions.
type rulesCache struct {
	mu     sync.Mutex
	byKey  map[rulesKey]*list.Element
	recent list.List // of cachedRules, the one used last in front
}

type cachedRules struct {
	key   rulesKey
	rules *roomstate.Rules
}

func newRulesCache() *rulesCache { return &rulesCache{byKey: map[rulesKey]*list.Element{}} }

// of are the rules of a room, read if they are not kept.
func (c *rulesCache) of(v *View) *roomstate.Rules {
	key := v.rulesKey()
	c.mu.Lock()
	if e, ok := c.byKey[key]; ok {
		c.recent.MoveToFront(e)
		rules := e.Value.(cachedRules).rules //nolint:errcheck // the list has nothing else
		c.mu.Unlock()
		return rules
	}
	c.mu.Unlock()
	rules := v.Rules()
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[key]; ok {
		return rules
	}
	c.byKey[key] = c.recent.PushFront(cachedRules{key, rules})
	if c.recent.Len() > maxRules {
		oldest := c.recent.Remove(c.recent.Back()).(cachedRules) //nolint:errcheck // as above
		delete(c.byKey, oldest.key)
	}
	return rules
}
