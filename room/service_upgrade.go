package room

import (
	"context"
	"encoding/json"
	"slices"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/replica"
)

// maxAdditional is the most creators that an upgrade names besides whoever upgrades.
const maxAdditional = 100

// Upgrade replaces a room by one of another version, and returns when that is there, the old one ended, and its aliases moved. The
// same request again, at any site, leads to the same room; so does one after an answer that was lost.
//
// Errors: Unsupported with UnsupportedVersion; Forbidden; Invalid with InvalidParam; Conflict if it came to nothing, for a loss of power
// meanwhile; Unavailable when it is not done in time, which it may be
// later.
func (s *Service) Upgrade(ctx context.Context, by By, room id.RoomID, version event.RoomVersion, additional []id.UserID) (id.RoomID, error) {
	const op = "room.Upgrade"
	if !version.Known() {
		return "", errs.New(op, errs.Unsupported, errs.UnsupportedVersion, "room version %q is not offered", version)
	}
	rows := s.cfg.Replica.Rows()
	v, ok := Open(rows, room)
	if !ok || !v.IsJoined(by.User) {
		return "", errs.New(op, errs.Forbidden, "", "you are not in the room, or it does not exist")
	}
	create, err := s.successor(&v, by.User, version, additional)
	if err != nil {
		return "", err
	}
	body := upgradeBody{Room: room, User: by.User, Device: by.Device, Version: version, Create: json.RawMessage(create.Raw),
		Join: json.RawMessage(s.memberContent("join", by.User, "")), Aliases: slices.Collect(Aliases(rows, s.cfg.Replica.Partitions(), room))}
	res, err := s.submit(ctx, kindUpgrade, room, by.User, replica.Key{}, &body)
	if err != nil {
		return "", err
	}
	to, _ := res.String("replacement_room")
	return id.RoomID(to), s.awaitUpgrade(ctx, room, id.RoomID(to))
}

// successor makes the create event of the room that takes the place of v.
func (s *Service) successor(v *View, creator id.UserID, version event.RoomVersion, additional []id.UserID) (*event.Event, error) {
	const op = "room.Upgrade"
	predecessor := object("room_id", v.ID)
	if len(v.Extremities) > 0 {
		predecessor = predecessor.With("event_id", event.AppendString(nil, v.Extremities[0]))
	}
	content := event.Object("{}").With("predecessor", predecessor)
	old, _ := v.StateEvent(event.TypeCreate, "")
	for _, key := range [...]string{"type", "m.federate"} {
		if value := old.Content.Field(key); value != nil {
			content = content.With(key, value)
		}
	}
	if version.Features().CreatorPower && len(additional) > 0 {
		if len(additional) > maxAdditional {
			return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "a room has at most %d additional creators", maxAdditional)
		}
		for _, u := range additional {
			if _, err := id.ParseUserID(string(u)); err != nil {
				return nil, err
			}
		}
		content = withCreators(content, creator, additional)
	}
	return s.createEvent(creator, &Creation{Version: version, CreationContent: json.RawMessage(content)})
}

// awaitUpgrade returns when a room has been replaced as far as this site can see.
func (s *Service) awaitUpgrade(ctx context.Context, room, to id.RoomID) error {
	rows := s.cfg.Replica.Rows()
	var row upgradeRow
	gone := false
	err := s.until(ctx, id.SlotOf(room), func() bool {
		v, ok := Open(rows, room)
		if ok {
			row, ok = v.upgrading()
		}
		gone = !ok || row.To != to
		return gone || row.Done
	})
	switch {
	case err != nil:
		return err
	case gone:
		return errs.New("room.Upgrade", errs.Conflict, "", "the room could not be replaced: you may have lost the power to; try again")
	}
	if err := s.cfg.Replica.WaitFor(ctx, s.Partition(to), row.At); err != nil {
		return err
	}
	for _, alias := range row.Aliases {
		err := s.until(ctx, id.SlotOf(alias), func() bool {
			a, ok := findAlias(rows, alias)
			return !ok || a.room != room
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// until returns when ok, which is asked whenever something has changed in the partition of a slot.
func (s *Service) until(ctx context.Context, slot id.Slot, ok func() bool) error {
	p := replica.PartitionOf(slot, s.cfg.Replica.Partitions())
	for {
		at := s.cfg.Replica.Status(p).Applied
		if ok() {
			return nil
		}
		if err := s.cfg.Replica.WaitFor(ctx, p, at+1); err != nil {
			return errs.Wrap("room.until", err)
		}
	}
}
