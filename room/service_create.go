package room

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
)

// maxCreated is the most events that a room begins with.
const maxCreated = 1000

// maxInvited is the most users that are invited when a room is made.
const maxInvited = 200

// Creation is what a new room shall be. Source: client-server API, createRoom.
type Creation struct {
	Visibility      string            `json:"visibility"`
	Alias           string            `json:"room_alias_name"`
	Name            string            `json:"name"`
	Topic           string            `json:"topic"`
	Invite          []id.UserID       `json:"invite"`
	Invite3PID      []json.RawMessage `json:"invite_3pid"`
	Version         event.RoomVersion `json:"room_version"`
	CreationContent json.RawMessage   `json:"creation_content"`
	InitialState    []InitialState    `json:"initial_state"`
	Preset          string            `json:"preset"`
	IsDirect        bool              `json:"is_direct"`
	PowerLevels     json.RawMessage   `json:"power_level_content_override"`
}

// InitialState is a state event of a new room.
type InitialState struct {
	Type    string          `json:"type"`
	Key     string          `json:"state_key"`
	Content json.RawMessage `json:"content"`
}

// Presets of new rooms.
const (
	presetPrivate = "private_chat"
	presetTrusted = "trusted_private_chat"
	presetPublic  = "public_chat"
)

// Create makes a room with everything that is asked for, or nothing.
//
// Errors: Invalid with InvalidRoomState, BadJSON or InvalidParam; Unsupported with UnsupportedVersion; NotFound for an invited
// user who does not exist.
func (s *Service) Create(ctx context.Context, by By, c Creation) (id.RoomID, error) {
	if err := s.complete(by, &c); err != nil {
		return "", err
	}
	create, err := s.createEvent(by.User, &c)
	if err != nil {
		return "", invalidState("room.Create", err)
	}
	b := builder{s: s, c: &c, creator: by.User}
	if c.Alias != "" {
		if b.alias, err = s.newAlias(c.Alias); err != nil {
			return "", err
		}
	}
	b.build()
	if b.err != nil {
		return "", b.err
	}
	if len(b.items) >= maxCreated {
		return "", errs.New("room.Create", errs.Invalid, errs.InvalidParam, "a room begins with at most %d events", maxCreated)
	}
	body := createBody{Version: c.Version, Device: by.Device, Create: json.RawMessage(create.Raw), State: b.items}
	if b.alias == "" && c.Visibility != "public" {
		_, err = s.submit(ctx, kindCreate, create.RoomID, by.User, replica.Key{}, &body)
		return create.RoomID, err
	}
	return create.RoomID, s.found(ctx, by, create.RoomID, foundBody{createBody: body, Alias: b.alias, Public: c.Visibility == "public"})
}

// found makes a room with an alias, or a published one.
func (s *Service) found(ctx context.Context, by By, room id.RoomID, body foundBody) (err error) {
	settle := func(error) {}
	if body.Alias != "" {
		if settle, err = s.reserve(ctx, by, body.Alias, room); err != nil {
			return err
		}
	}
	_, err = s.submit(ctx, kindFound, room, by.User, replica.Key{}, &body)
	settle(err)
	return err
}

// complete checks the request and fills in the defaults.
func (s *Service) complete(by By, c *Creation) error {
	bad := func(code errs.Code, format string, args ...any) error {
		return errs.New("room.Create", errs.Invalid, code, format, args...)
	}
	for _, raw := range []*json.RawMessage{&c.CreationContent, &c.PowerLevels} {
		if len(*raw) == 0 || string(*raw) == "null" {
			*raw = json.RawMessage("{}")
		}
	}
	if c.Version == "" {
		c.Version = s.cfg.Version
	}
	if !c.Version.Known() {
		return errs.New("room.Create", errs.Unsupported, errs.UnsupportedVersion, "room version %q is not offered", c.Version)
	}
	if len(c.Invite3PID) > 0 {
		return errs.New("room.Create", errs.Unsupported, "", "invitations by e-mail or telephone are not offered")
	}
	switch c.Visibility {
	case "", "private", "public":
	default:
		return bad(errs.InvalidParam, "visibility is public or private")
	}
	switch c.Preset {
	case "":
		c.Preset = presetPrivate
		if c.Visibility == "public" {
			c.Preset = presetPublic
		}
	case presetPrivate, presetTrusted, presetPublic:
	default:
		return bad(errs.InvalidParam, "%q is not a preset", c.Preset)
	}
	slices.Sort(c.Invite)
	if c.Invite = slices.Compact(c.Invite); len(c.Invite) > maxInvited {
		return bad(errs.InvalidParam, "a room begins with at most %d invites; the others can follow", maxInvited)
	}
	for _, u := range c.Invite {
		if _, err := id.ParseUserID(string(u)); err != nil {
			return err
		}
		if err := s.invitable(by.User, u); err != nil {
			return err
		}
	}
	return nil
}

// createEvent makes the event that the room begins with, and so its id: in version 12 the event's hash, to which a nonce
// gives its randomness; before, a random string.
func (s *Service) createEvent(creator id.UserID, c *Creation) (*event.Event, error) {
	content, err := canonical(c.CreationContent)
	if err != nil {
		return nil, err
	}
	f := c.Version.Features()
	content = content.Without("creator").With("room_version", event.AppendString(nil, c.Version))
	if f.CreatorInContent {
		content = content.With("creator", event.AppendString(nil, creator))
	}
	if f.CreatorPower && c.Preset == presetTrusted && len(c.Invite) > 0 {
		content = withCreators(content, creator, c.Invite)
	}
	d := event.Draft{Type: event.TypeCreate, StateKey: new(string), Sender: creator, Depth: 1,
		OriginServerTS: s.cfg.Clock.Now().UnixMilli()}
	if f.RoomIDIsHash {
		content = content.With("bongsu.nonce", event.AppendString(nil, random()))
	} else {
		d.RoomID = id.RoomID(fmt.Sprintf("!%s:%s", random(), s.cfg.Server))
	}
	d.Content = content
	return event.Build(c.Version, d)
}

// randomLen is how many letters random makes.
const randomLen = 18

// random is 18 random letters, digits and similar: 108 bits.
func random() string {
	var b [14]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])[:randomLen]
}

// withCreators makes the invited users of a trusted_private_chat creators, besides those that the request names.
func withCreators(content event.Object, creator id.UserID, invite []id.UserID) event.Object {
	var all []string
	for v := range event.Elements(content.Field("additional_creators")) {
		all = append(all, string(v))
	}
	for _, u := range invite {
		if q := string(event.AppendString(nil, u)); u != creator && !slices.Contains(all, q) {
			all = append(all, q)
		}
	}
	list := []byte{'['}
	for i, q := range all {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, q...)
	}
	return content.With("additional_creators", append(list, ']'))
}

// builder lists the state that follows the create event, in the order that the specification wants.
type builder struct {
	s       *Service
	c       *Creation
	creator id.UserID
	alias   id.RoomAlias
	items   []stateItem
	err     error // the first one
}

func (b *builder) build() {
	b.add(event.TypeMember, string(b.creator), b.s.memberContent("join", b.creator, ""))
	b.add(event.TypePowerLevels, "", b.powerLevels())
	if b.alias != "" {
		b.add(event.TypeCanonicalAlias, "", object("alias", b.alias))
	}
	joinRule, guests := "invite", "can_join"
	if b.c.Preset == presetPublic {
		joinRule, guests = "public", "forbidden"
	}
	b.preset(event.TypeJoinRules, "join_rule", joinRule)
	b.preset(event.TypeHistoryVisibility, "history_visibility", shared)
	b.preset(event.TypeGuestAccess, "guest_access", guests)
	for _, st := range b.c.InitialState {
		if b.overridden(st) {
			continue
		}
		if len(st.Content) == 0 {
			b.fail(errs.New("room.Create", errs.Invalid, errs.BadJSON, "a piece of initial state has no content"))
		}
		content := b.canonical(st.Content)
		if b.err == nil {
			b.err = b.s.checkState(b.creator, st.Type, st.Key, content)
		}
		if b.err == nil && st.Type == event.TypeCanonicalAlias && st.Key == "" {
			b.err = b.checkCanonical(content)
		}
		b.add(st.Type, st.Key, content)
	}
	if b.c.Name != "" {
		b.add(event.TypeName, "", object("name", b.c.Name))
	}
	if b.c.Topic != "" {
		plain := append(append([]byte(`{"m.text":[{"body":`), event.AppendString(nil, b.c.Topic)...), `}]}`...)
		b.add(event.TypeTopic, "", object("topic", b.c.Topic).With("m.topic", plain))
	}
	for _, u := range b.c.Invite {
		content := b.s.memberContent("invite", u, "")
		if b.c.IsDirect {
			content = content.With("is_direct", []byte("true"))
		}
		b.add(event.TypeMember, string(u), content)
	}
}

// checkCanonical refuses aliases in the initial state that will not stand for the room.
func (b *builder) checkCanonical(content event.Object) error {
	all, err := parseCanonical(content)
	for _, a := range all {
		if a != string(b.alias) {
			return badAlias(a)
		}
	}
	return err
}

func (b *builder) add(typ, key string, content event.Object) {
	b.items = append(b.items, stateItem{typ, key, json.RawMessage(content)})
}

func (b *builder) canonical(content []byte) event.Object {
	c, err := canonical(content)
	b.fail(err)
	return c
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// preset adds state of the preset, unless the request sets it itself.
func (b *builder) preset(typ, field, value string) {
	for _, st := range b.c.InitialState {
		if st.Type == typ && st.Key == "" {
			return
		}
	}
	b.add(typ, "", object(field, value))
}

// overridden reports whether name or topic of the request stand above a piece of initial state.
func (b *builder) overridden(st InitialState) bool {
	return st.Key == "" && (st.Type == event.TypeName && b.c.Name != "" || st.Type == event.TypeTopic && b.c.Topic != "")
}

// powerLevels are the room's first power levels: the creator may everything (in version 12 by the rules themselves), and
// what the request wants different is put on top.
func (b *builder) powerLevels() event.Object {
	users := event.Object("{}")
	creatorPower := b.c.Version.Features().CreatorPower
	tombstone := "100"
	if creatorPower {
		tombstone = "150" // above all levels that can be given away with state_default in mind
	} else {
		users = users.With(string(b.creator), []byte("100"))
		if b.c.Preset == presetTrusted {
			for _, u := range b.c.Invite {
				users = users.With(string(u), []byte("100"))
			}
		}
	}
	invite := "0"
	if b.c.Preset == presetPublic {
		invite = "50"
	}
	levels := event.Object(`{"ban":50,"events":{"m.room.avatar":50,"m.room.canonical_alias":50,"m.room.encryption":100,`+
		`"m.room.history_visibility":100,"m.room.name":50,"m.room.power_levels":100,"m.room.server_acl":100,"m.room.tombstone":`+
		tombstone+`},"events_default":0,"invite":`+invite+`,"kick":50,"redact":50,"state_default":50,"users_default":0}`).
		With("users", users)
	for key, v := range b.canonical(b.c.PowerLevels).All() {
		levels = levels.With(key, v)
	}
	if creatorPower {
		levels = tombstoneAbove(levels)
	}
	return levels
}

// tombstoneAbove makes replacing the room take more than other state, if what the request put on top says nothing of it.
func tombstoneAbove(levels event.Object) event.Object {
	events := levels.Field("events")
	if len(events) < 2 || events[0] != '{' || event.Object(events).Has(event.TypeTombstone) {
		return levels // what is malformed will be refused
	}
	state, ok := levels.Int("state_default")
	if !ok {
		state = 50
	}
	level := strconv.AppendInt(nil, max(150, min(state, event.MaxInt-1)+1), 10)
	return levels.With("events", event.Object(events).With(event.TypeTombstone, level))
}

// object is {"key":"value"}.
func object[T ~string](key string, value T) event.Object {
	return event.Object("{}").With(key, event.AppendString(nil, value))
}
