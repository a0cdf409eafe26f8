package event

// Event types that the rules of rooms and their state know by name.
const (
	TypeCreate            = "m.room.create"
	TypeMember            = "m.room.member"
	TypePowerLevels       = "m.room.power_levels"
	TypeJoinRules         = "m.room.join_rules"
	TypeThirdPartyInvite  = "m.room.third_party_invite"
	TypeHistoryVisibility = "m.room.history_visibility"
	TypeRedaction         = "m.room.redaction"
	TypeMessage           = "m.room.message"
	TypeEncrypted         = "m.room.encrypted"
	TypeEncryption        = "m.room.encryption"
	TypeName              = "m.room.name"
	TypeTopic             = "m.room.topic"
	TypeAvatar            = "m.room.avatar"
	TypeCanonicalAlias    = "m.room.canonical_alias"
	TypeGuestAccess       = "m.room.guest_access"
	TypeTombstone         = "m.room.tombstone"
)
