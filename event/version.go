package event

// RoomVersion names the rules that a room was created with: the format of its events, their hashes, redaction and
// authorisation. A room keeps its version for ever.
type RoomVersion string

// The room versions that are known here.
const (
	V10 RoomVersion = "10"
	V11 RoomVersion = "11"
	V12 RoomVersion = "12"
)

// Versions lists the known room versions, oldest first.
func Versions() []RoomVersion { return []RoomVersion{V10, V11, V12} }

// Features is what differs between the known room versions. What they have in common has no flag: event ids that are
// URL-safe hashes, strict canonical JSON, knocking, restricted joins. An older version adds a line to Features and flags
// for what it lacks.
//
// Source: rooms/v10, rooms/v11, rooms/v12.
type Features struct {
	CreatorInContent bool // v10: m.room.create names the creator in its content
	RedactsInContent bool // v11: m.room.redaction has redacts in its content, not beside it
	KeepsMore        bool // v11: the later redaction rules
	RoomIDIsHash     bool // v12: the room id is the id of m.room.create, which has no room_id
	CreatorPower     bool // v12: creators stand above all power levels
}

// Features of v; the zero value if v is not known.
func (v RoomVersion) Features() Features {
	switch v {
	case V10:
		return Features{CreatorInContent: true}
	case V11:
		return Features{RedactsInContent: true, KeepsMore: true}
	case V12:
		return Features{RedactsInContent: true, KeepsMore: true, RoomIDIsHash: true, CreatorPower: true}
	}
	return Features{}
}

// Known reports whether rooms of version v can exist here.
func (v RoomVersion) Known() bool { return v == V10 || v == V11 || v == V12 }
