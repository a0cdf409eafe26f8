package event

// RoomVersion names the rules that a room was created with: the format of its events, their hashes, redaction and
// authorisation. A room keeps its version for ever.
type RoomVersion string

// The room versions that are known here.
const (
	V6  RoomVersion = "6"
	V7  RoomVersion = "7"
	V8  RoomVersion = "8"
	V9  RoomVersion = "9"
	V10 RoomVersion = "10"
	V11 RoomVersion = "11"
	V12 RoomVersion = "12"
)

// Versions lists the known room versions, oldest first.
func Versions() []RoomVersion { return []RoomVersion{V6, V7, V8, V9, V10, V11, V12} }

// Features is what differs between the known room versions. What they have in common has no flag: event ids that are
// URL-safe hashes, strict canonical JSON. An older version adds a line to Features and flags for what it lacks.
//
// Source: rooms/v6 to rooms/v12.
type Features struct {
	CreatorInContent bool // up to v10: m.room.create names the creator in its content
	Knocking         bool // v7: the join rule and the membership "knock"
	Restricted       bool // v8: the join rule "restricted", whose rooms redactions keep
	KeepsAuthorised  bool // v9: redactions keep who let a member in
	KnockRestricted  bool // v10: the join rule "knock_restricted"
	IntegerLevels    bool // v10: power levels are integers, never strings of them
	RedactsInContent bool // v11: m.room.redaction has redacts in its content, not beside it
	KeepsMore        bool // v11: the later redaction rules
	RoomIDIsHash     bool // v12: the room id is the id of m.room.create, which has no room_id
	CreatorPower     bool // v12: creators stand above all power levels
}

// Features of v; the zero value if v is not known.
func (v RoomVersion) Features() Features {
	n := v.number()
	return Features{
		CreatorInContent: 6 <= n && n <= 10,
		Knocking:         n >= 7,
		Restricted:       n >= 8,
		KeepsAuthorised:  n >= 9,
		KnockRestricted:  n >= 10,
		IntegerLevels:    n >= 10,
		RedactsInContent: n >= 11,
		KeepsMore:        n >= 11,
		RoomIDIsHash:     n >= 12,
		CreatorPower:     n >= 12,
	}
}

// number orders the known versions; 0 if v is not known.
func (v RoomVersion) number() int {
	switch v {
	case V6, V7, V8, V9:
		return int(v[0] - '0')
	case V10:
		return 10
	case V11:
		return 11
	case V12:
		return 12
	}
	return 0
}

// Known reports whether rooms of version v can exist here.
func (v RoomVersion) Known() bool { return v.number() > 0 }
