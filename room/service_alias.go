package room

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// submitAlias proposes something to the slot of an alias.
func (s *Service) submitAlias(ctx context.Context, kind string, b aliasBody) error {
	_, err := s.cfg.Replica.Submit(ctx, replica.Proposal{
		Kind: kind, Slot: id.SlotOf(b.Alias), Body: replica.Marshal(&b), Lane: string(b.User),
	})
	return err
}

// SetAlias gives an alias of this server to a room that the user is in.
//
// Errors: Invalid with InvalidParam for an alias that cannot be; Conflict for one that is taken; Forbidden.
func (s *Service) SetAlias(ctx context.Context, by By, alias id.RoomAlias, room id.RoomID) error {
	const op = "room.SetAlias"
	if err := s.checkAlias(alias); err != nil {
		return err
	}
	if v, ok := Open(s.cfg.Replica.Rows(), room); !ok || !v.IsJoined(by.User) {
		return errs.New(op, errs.Forbidden, "", "you are not in the room, or it does not exist")
	}
	return s.submitAlias(ctx, kindAlias, aliasBody{Alias: alias, Room: room, User: by.User})
}

// DeleteAlias takes an alias away: for whoever made it, members of the room with the power to name its aliases, and administrators of
// the server. The room's m.room.canonical_alias follows, if the user may change it.
//
// Errors: NotFound; Forbidden.
func (s *Service) DeleteAlias(ctx context.Context, by By, alias id.RoomAlias) error {
	const op = "room.DeleteAlias"
	rows := s.cfg.Replica.Rows()
	room, ok := Resolve(rows, alias)
	if !ok {
		return noAlias(op, alias)
	}
	v, ok := Open(rows, room)
	b := aliasBody{Alias: alias, Room: room, User: by.User, Allowed: ok && v.mayName(by.User) || s.admin(rows, by.User)}
	if err := s.submitAlias(ctx, kindUnalias, b); err != nil {
		return err
	}
	err := s.dropCanonical(ctx, by, room, alias)
	if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Forbidden) {
		return nil // the alias is gone, which is what was asked for
	}
	return err
}

// dropCanonical takes an alias out of the room's m.room.canonical_alias.
func (s *Service) dropCanonical(ctx context.Context, by By, room id.RoomID, alias id.RoomAlias) error {
	v, ok := Open(s.cfg.Replica.Rows(), room)
	if !ok {
		return nil
	}
	content := v.canonicalAliases()
	if !slices.Contains(namedAliases(content), string(alias)) {
		return nil
	}
	if a, _ := content.String("alias"); a == string(alias) {
		content = content.Without("alias")
	}
	var rest []string
	for e := range event.Elements(content.Field("alt_aliases")) {
		if a, ok := event.Text(e); ok && a != string(alias) {
			rest = append(rest, a)
		}
	}
	if content = content.Without("alt_aliases"); len(rest) > 0 {
		content = content.With("alt_aliases", replica.Marshal(rest))
	}
	body := sendBody{Room: room, Sender: by.User, Device: by.Device, Type: event.TypeCanonicalAlias, Content: json.RawMessage(content)}
	_, err := s.submitEvent(ctx, kindState, room, by.User, replica.Key{}, &body)
	return err
}

// admin reports whether the user administers this server.
func (s *Service) admin(r kv.Reader, user id.UserID) bool {
	return s.cfg.Admin != nil && s.cfg.Admin(r, user)
}

// Resolve is the room that an alias stands for. Errors: NotFound.
func (s *Service) Resolve(alias id.RoomAlias) (id.RoomID, error) {
	room, ok := Resolve(s.cfg.Replica.Rows(), alias)
	if !ok {
		return "", noAlias("room.Resolve", alias)
	}
	return room, nil
}

// Aliases are the aliases of a room, for its members; for everybody if its history is.
//
// Errors: Forbidden.
func (s *Service) Aliases(user id.UserID, room id.RoomID) ([]id.RoomAlias, error) {
	rows := s.cfg.Replica.View()
	defer rows.Close()
	v, ok := Open(rows, room)
	if !ok || !v.IsJoined(user) && v.visibility() != worldReadable {
		return nil, errs.New("room.Aliases", errs.Forbidden, "", "you are not in the room, or it does not exist")
	}
	all := []id.RoomAlias{}
	return slices.AppendSeq(all, Aliases(rows, s.cfg.Replica.Partitions(), room)), nil
}

// checkAlias refuses what cannot be an alias of this server.
func (s *Service) checkAlias(alias id.RoomAlias) error {
	const op = "room.SetAlias"
	if _, err := id.ParseRoomAlias(string(alias)); err != nil {
		return err
	}
	if alias.Server() != s.cfg.Server {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "aliases of this server end with :%s", s.cfg.Server)
	}
	if strings.ContainsFunc(string(alias), unicode.IsSpace) {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "an alias has no white space")
	}
	return nil
}

// newAlias is the alias of this server with a local part as createRoom has it.
func (s *Service) newAlias(localpart string) (id.RoomAlias, error) {
	if strings.Contains(localpart, ":") {
		return "", errs.New("room.Create", errs.Invalid, errs.InvalidParam, "room_alias_name is the part before the colon, without it")
	}
	alias := id.RoomAlias("#" + localpart + ":" + string(s.cfg.Server))
	return alias, s.checkAlias(alias)
}

// canonicalAliases is the content of the room's m.room.canonical_alias.
func (v *View) canonicalAliases() event.Object {
	if s, ok := v.StateEvent(event.TypeCanonicalAlias, ""); ok {
		return s.Content
	}
	return event.Object("{}")
}

// namedAliases are the aliases in a content of m.room.canonical_alias, well formed or not.
func namedAliases(content event.Object) []string {
	var all []string
	if a, _ := content.String("alias"); a != "" {
		all = append(all, a)
	}
	for e := range event.Elements(content.Field("alt_aliases")) {
		if a, ok := event.Text(e); ok {
			all = append(all, a)
		}
	}
	return all
}

// parseCanonical reads the aliases of a new m.room.canonical_alias.
func parseCanonical(content event.Object) ([]string, error) {
	bad := func(what string) ([]string, error) {
		return nil, errs.New("room.SendState", errs.Invalid, errs.InvalidParam, "%s", what)
	}
	if a := content.Field("alias"); a != nil && a[0] != '"' && string(a) != "null" {
		return bad("alias is a room alias, or null")
	}
	alt := content.Field("alt_aliases")
	if alt != nil && alt[0] != '[' {
		return bad("alt_aliases is a list of room aliases")
	}
	for e := range event.Elements(alt) {
		if e[0] != '"' {
			return bad("alt_aliases is a list of room aliases")
		}
	}
	all := namedAliases(content)
	for _, a := range all {
		if _, err := id.ParseRoomAlias(a); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func badAlias(alias string) error {
	return errs.New("room.SendState", errs.Invalid, errs.BadAlias, "the alias %s does not stand for this room", alias)
}

// checkCanonical refuses an m.room.canonical_alias with an alias that stands for another room or none. Those that the room names
// already are not asked about: they may have gone since.
func (s *Service) checkCanonical(ctx context.Context, room id.RoomID, content event.Object) error {
	all, err := parseCanonical(content)
	if err != nil {
		return err
	}
	look := func() error {
		rows := s.cfg.Replica.Rows()
		var old []string
		if v, ok := Open(rows, room); ok {
			old = namedAliases(v.canonicalAliases())
		}
		for _, a := range all {
			if in, _ := Resolve(rows, id.RoomAlias(a)); in != room && !slices.Contains(old, a) {
				return badAlias(a)
			}
		}
		return nil
	}
	if err = look(); err == nil {
		return nil
	}
	if behind := s.cfg.Replica.CatchUp(ctx); behind != nil { // another site may have just made the alias
		return errs.Wrap("room.SendState", behind)
	}
	return look()
}

// reserve keeps an alias for a room that is about to be made, and settle ends that when it is not. What it cannot end now ends by
// itself.
func (s *Service) reserve(ctx context.Context, by By, alias id.RoomAlias, room id.RoomID) (settle func(error), err error) {
	b := aliasBody{Alias: alias, Room: room, User: by.User}
	if err := s.submitAlias(ctx, kindAliasReserve, b); err != nil {
		return nil, err
	}
	return func(err error) {
		var refused replica.Refusal
		if errors.As(err, &refused) {
			_ = s.submitAlias(ctx, kindAliasSettle, b)
		}
	}, nil
}
