package roomstate

import (
	"maps"
	"math"
	"strconv"
	"strings"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

// Infinite is the level of the creators of rooms from version 12 on: above every level that can be written down.
const Infinite = math.MaxInt64

// levels is the content of a power-levels event, with its defaults. Source: m.room.power_levels.
type levels struct {
	usersDefault  int64
	eventsDefault int64
	stateDefault  int64
	ban           int64
	redact        int64
	kick          int64
	invite        int64
	users         map[string]int64
	events        map[string]int64
	notifications map[string]int64
	given         map[string]int64 // those of the seven above that are in the content, by name
}

// named are the levels that stand in the content under a name of their own, in the order of the rules.
var named = [...]string{"users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"}

// maps in the content of a power-levels event, in the order of the rules.
var mapped = [...]string{"events", "notifications", "users"}

func defaultLevels() levels { return levels{stateDefault: 50, ban: 50, redact: 50, kick: 50} }

func (l *levels) level(name string) *int64 {
	switch name {
	case "users_default":
		return &l.usersDefault
	case "events_default":
		return &l.eventsDefault
	case "state_default":
		return &l.stateDefault
	case "ban":
		return &l.ban
	case "redact":
		return &l.redact
	case "kick":
		return &l.kick
	}
	return &l.invite
}

func (l *levels) table(name string) *map[string]int64 {
	switch name {
	case "events":
		return &l.events
	case "notifications":
		return &l.notifications
	}
	return &l.users
}

// parseLevels reads the content of a power-levels event: integers (rules 9.1 to 9.3, in version 12 10.1 to 10.3), and up to
// version 9 strings of them.
func parseLevels(v event.RoomVersion, content event.Object) (levels, *errs.Error) {
	integer := event.Integer
	if !v.Features().IntegerLevels {
		integer = integerOrText
	}
	l := defaultLevels()
	l.given = make(map[string]int64, len(named))
	for _, name := range named {
		v := content.Field(name)
		if v == nil {
			continue
		}
		n, ok := integer(v)
		if !ok {
			return l, forbid("the power level %s is not an integer", name)
		}
		*l.level(name), l.given[name] = n, n
	}
	for _, name := range mapped {
		v := content.Field(name)
		if v == nil {
			continue
		}
		if v[0] != '{' {
			return l, forbid("the power levels %s are not an object", name)
		}
		table := make(map[string]int64)
		for key, v := range event.Object(v).All() {
			n, ok := integer(v)
			if !ok {
				return l, forbid("the power level of %q is not an integer", key)
			}
			table[key] = n
		}
		*l.table(name) = table
	}
	for user := range l.users {
		if _, err := id.ParseUserID(user); err != nil {
			return l, forbid("the power levels have a malformed user id")
		}
	}
	return l, nil
}

// integerOrText reads an integer, or a string of one as early room versions allow it: white space around it, a sign, leading
// zeros.
//
// Source: rooms/v6, "m.room.power_levels events accept values as strings".
func integerOrText(v []byte) (int64, bool) {
	s, ok := event.Text(v)
	if !ok {
		return event.Integer(v)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return n, err == nil && -event.MaxInt <= n && n <= event.MaxInt
}

// UserLevel is the power level of a user: Infinite for the creators of a room from version 12 on.
func (r *Rules) UserLevel(user id.UserID) int64 {
	if r.version.Features().CreatorPower {
		if r.isCreator(user) {
			return Infinite
		}
	} else if !r.hasPower && user == r.creators[0] {
		return 100
	}
	if n, ok := r.power.users[string(user)]; ok {
		return n
	}
	return r.power.usersDefault
}

func (r *Rules) isCreator(user id.UserID) bool {
	for _, c := range r.creators {
		if c == user {
			return true
		}
	}
	return false
}

// EventLevel is the level required to send an event of type typ that is not state.
func (r *Rules) EventLevel(typ string) int64 {
	if n, ok := r.power.events[typ]; ok {
		return n
	}
	return r.power.eventsDefault
}

// StateLevel is the level required to send state of type typ.
func (r *Rules) StateLevel(typ string) int64 {
	if n, ok := r.power.events[typ]; ok {
		return n
	}
	return r.power.stateDefault
}

// NotificationLevel is the level required to notify in the way key ("room" for @room); 50 unless the room says otherwise.
func (r *Rules) NotificationLevel(key string) int64 {
	if n, ok := r.power.notifications[key]; ok {
		return n
	}
	return 50
}

// InviteLevel is the level required to invite.
func (r *Rules) InviteLevel() int64 { return r.power.invite }

// KickLevel is the level required to remove a member of a lower level.
func (r *Rules) KickLevel() int64 { return r.power.kick }

// BanLevel is the level required to ban a user of a lower level and to lift a ban.
func (r *Rules) BanLevel() int64 { return r.power.ban }

// RedactLevel is the level required to redact the events of others.
func (r *Rules) RedactLevel() int64 { return r.power.redact }

// MayRedact reports whether a redaction by user of an event of author takes effect here: one's own events, or with the
// redact level. Check does not ask this, for the rules allow redactions like any event.
// Source: client-server API, "Redactions"; m.room.power_levels.
func (r *Rules) MayRedact(user, author id.UserID) bool {
	return user == author || r.UserLevel(user) >= r.power.redact
}

// checkLevels is the rule for power-levels events: 9, in version 12 10.
func (r *Rules) checkLevels(d *event.Draft) *errs.Error {
	next, err := parseLevels(r.version, d.Content)
	if err != nil {
		return err
	}
	if r.version.Features().CreatorPower {
		for _, c := range r.creators {
			if _, ok := next.users[string(c)]; ok {
				return forbid("%s is a creator of the room and has no power level to set", c)
			}
		}
	}
	if !r.hasPower {
		return nil
	}
	own := r.UserLevel(d.Sender)
	for _, change := range []struct {
		old, new map[string]int64
		users    bool
	}{
		{r.power.given, next.given, false},
		{r.power.events, next.events, false},
		{r.power.notifications, next.notifications, false},
		{r.power.users, next.users, true},
	} {
		if maps.Equal(change.old, change.new) {
			continue
		}
		if key, ok := firstForbidden(change.old, change.new, own, d.Sender, change.users); ok {
			return forbid("your power level does not reach to change the level of %q", key)
		}
	}
	return nil
}

// firstForbidden finds the first key, in the order of keys, whose change needs more than the level own: one may neither
// touch nor set a level above one's own, nor touch that of another user at one's own.
func firstForbidden(old, next map[string]int64, own int64, sender id.UserID, users bool) (string, bool) {
	first, found := "", false
	forbid := func(key string) {
		if !found || key < first {
			first, found = key, true
		}
	}
	for key, was := range old {
		is, still := next[key]
		if still && is == was {
			continue
		}
		if was > own || users && was >= own && key != string(sender) {
			forbid(key)
		}
	}
	for key, is := range next {
		if was, before := old[key]; before && is == was {
			continue
		}
		if is > own {
			forbid(key)
		}
	}
	return first, found
}
