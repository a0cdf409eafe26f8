package model

// Visible says of each event of the room whether the user may see it.
//
// Source: client-server API, "Room History Visibility". Who has forgotten the room is a stranger to it, which is what forgetRoom wants;
// that a stranger sees what the world may read is left open there.
func (r *Room) Visible(user string) []bool {
	out := make([]bool, len(r.Events))
	stranger := r.Forgotten[user]
	lastJoin := -1
	for i, e := range r.Events {
		if !stranger && e.isMember(user) && e.text("membership") == "join" {
			lastJoin = i
		}
	}
	visibility, membership := "shared", ""
	for i, e := range r.Events {
		seen := allows(visibility, membership, lastJoin > i)
		switch {
		case !stranger && e.isMember(user):
			// Judged by both what was before and what is after.
			membership = e.text("membership")
		case e.Type == "m.room.history_visibility" && e.StateKey != nil && *e.StateKey == "":
			visibility = e.text("history_visibility")
		}
		out[i] = seen || allows(visibility, membership, lastJoin > i)
	}
	return out
}

// allows is the table of the specification. What is not known is read as shared.
func allows(visibility, membership string, joinsLater bool) bool {
	switch {
	case visibility == "world_readable":
		return true
	case membership == "join":
		return true
	case visibility == "invited":
		return membership == "invite"
	case visibility == "joined":
		return false
	}
	return joinsLater
}

// StateSight is how many events make up the state that the user may read, from one to another where the specification leaves it
// open; ok is false where the user must be refused.
//
// Source: getRoomState: members read the current state, and those who have left the state when they left. Somebody who has left and
// is now invited or knocking was "previously a member", and yet has not left last: such a user may be answered either way (may).
func (r *Room) StateSight(user string) (n int, must, may bool) {
	now := r.Now()
	if r.Membership(user) == "join" {
		return len(r.Events), true, true
	}
	if e := now[Key{"m.room.history_visibility", ""}]; e != nil && e.text("history_visibility") == "world_readable" {
		return len(r.Events), true, true
	}
	left := r.leftAt(user)
	if r.Forgotten[user] || left < 0 {
		return 0, false, false
	}
	m := r.Membership(user)
	return left + 1, m == "leave" || m == "ban", true
}
