package roomstate

import (
	"maps"
	"slices"
	"strconv"

	"bongsu/event"
	"bongsu/id"
)

// CarryLevels is the content of the power levels of a room of version v with these creators that takes the place of the room of r,
// whose own content is given: the same levels, all of them integers. Whoever was above all levels as a creator and is no more gets
// the highest level that there is, 100 at least.
//
// The result may be put into the new room by its creator as its first power levels.
func (r *Rules) CarryLevels(v event.RoomVersion, creators []id.UserID, content event.Object) event.Object {
	users := maps.Clone(r.power.users)
	if users == nil {
		users = map[string]int64{}
	}
	if old := r.version.Features().CreatorPower; old || !r.hasPower {
		for _, c := range r.creators {
			users[string(c)] = r.highest()
		}
	}
	if v.Features().CreatorPower {
		for _, c := range creators {
			delete(users, string(c))
		}
	}
	if len(content) < 2 {
		content = event.Object("{}")
	}
	for _, name := range named {
		if n, ok := r.power.given[name]; ok {
			content = content.With(name, strconv.AppendInt(nil, n, 10))
		}
	}
	for name, table := range map[string]map[string]int64{"events": r.power.events, "notifications": r.power.notifications, "users": users} {
		if table != nil {
			content = content.With(name, appendTable(table))
		}
	}
	return content
}

// highest is the highest level that the room speaks of, 100 at least.
func (r *Rules) highest() int64 {
	n := int64(100)
	for _, table := range []map[string]int64{r.power.given, r.power.events, r.power.notifications, r.power.users} {
		for _, level := range table {
			n = max(n, level)
		}
	}
	return n
}

// appendTable is a table of levels as canonical JSON.
func appendTable(table map[string]int64) []byte {
	o := event.Object("{}")
	for _, key := range slices.Sorted(maps.Keys(table)) {
		o = o.With(key, strconv.AppendInt(nil, table[key], 10))
	}
	return o
}

// CarryJoinRule is the join rule of a room of version v that takes the place of one with this rule: the same if the version has it, and
// else the nearest that lets in nobody whom the old one would not have.
func CarryJoinRule(v event.RoomVersion, rule string) string {
	nearest := map[string][]string{
		JoinKnockRestricted: {JoinRestricted, JoinKnock, JoinInvite}, JoinRestricted: {JoinInvite}, JoinKnock: {JoinInvite},
	}
	if HasJoinRule(v, rule) {
		return rule
	}
	for _, other := range nearest[rule] {
		if HasJoinRule(v, other) {
			return other
		}
	}
	return rule // no version's: nobody joins by it here or there
}

// RestrictedLevels is content with the levels raised so far that ordinary members neither send messages nor invite any more.
//
// Source: client-server API, "Room Upgrades".
func (r *Rules) RestrictedLevels(content event.Object) event.Object {
	least := max(50, min(r.power.usersDefault, event.MaxInt-1)+1)
	for name, level := range map[string]int64{"events_default": r.power.eventsDefault, "invite": r.power.invite} {
		content = content.With(name, strconv.AppendInt(nil, max(least, level), 10))
	}
	return content
}
