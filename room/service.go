package room

import (
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"strings"
	"time"

	"bongsu/clock"
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// Config says what the service works on. Replica, Server and Profile are required.
type Config struct {
	Replica *replica.Replica // has Machine among its machines
	Server  id.ServerName    // of all users
	// Profile is what a user is called; ok is false for one who does not exist.
	Profile func(r kv.Reader, user id.UserID) (p Profile, ok bool)
	// Admin says who administers the server; nil: nobody.
	Admin func(r kv.Reader, user id.UserID) bool
	// MayInvite refuses an invitation that the invited user does not want. Nil: everybody wants all.
	MayInvite    func(r kv.Reader, by, user id.UserID) error
	Version      event.RoomVersion // of new rooms; default 12
	ReceiptDelay time.Duration     // how long receipts wait for each other; default 250 ms
	Clock        clock.Clock       // default the system's
	Log          *slog.Logger      // default discards
}

// Profile is what member events say of a user; an empty field is left out.
type Profile struct{ DisplayName, AvatarURL string }

// By is who does something, and on which device.
type By struct {
	User   id.UserID
	Device id.DeviceID
}

// Service does in rooms what users ask for. It is safe for concurrent use.
type Service struct {
	cfg      Config
	receipts *receiptQueue
	cards    cards
}

// New makes the service and starts its goroutine, which Close ends.
func New(cfg Config) *Service {
	if cfg.Version == "" {
		cfg.Version = event.V12
	}
	if cfg.ReceiptDelay == 0 {
		cfg.ReceiptDelay = 250 * time.Millisecond
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MayInvite == nil {
		cfg.MayInvite = func(kv.Reader, id.UserID, id.UserID) error { return nil }
	}
	s := &Service{cfg: cfg}
	s.receipts = newReceiptQueue(s)
	return s
}

// Server is whose users these are.
func (s *Service) Server() id.ServerName { return s.cfg.Server }

// View is a consistent reading of all rooms. Close it soon.
func (s *Service) View() *replica.View { return s.cfg.Replica.View() }

// Memberships are the rooms that the user has anything to do with.
func (s *Service) Memberships(user id.UserID) iter.Seq[Membership] {
	return Memberships(s.cfg.Replica.Rows(), s.cfg.Replica.Partitions(), user)
}

// reachWait is how long a place that this site has not got to is waited for.
const reachWait = 2 * time.Second

// Reach returns when this site has all that happened in a room up to a place, which another site may have named: errs.Unavailable when
// it does not get there within two seconds.
func (s *Service) Reach(ctx context.Context, room id.RoomID, p Place) error {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	return errs.Wrap("room.Reach", s.cfg.Replica.WaitFor(ctx, s.Partition(room), p.Pos))
}

// Partition is where a room's events have their order.
func (s *Service) Partition(room id.RoomID) journal.Partition {
	return replica.PartitionOf(id.SlotOf(room), s.cfg.Replica.Partitions())
}

// Now is the time of day in Unix milliseconds, for the age of events.
func (s *Service) Now() int64 { return s.cfg.Clock.Now().UnixMilli() }

// Close writes the receipts that wait, and ends.
func (s *Service) Close() {
	s.receipts.close()
}

// submit proposes a change to a room and returns the verdict's body.
func (s *Service) submit(ctx context.Context, kind string, room id.RoomID, lane id.UserID, key replica.Key, body any) (
	event.Object, error) {
	return s.cfg.Replica.Submit(ctx, replica.Proposal{
		Kind: kind, Slot: id.SlotOf(room), Key: key, Body: replica.Marshal(body), Lane: string(lane),
	})
}

// submitEvent is submit for the kinds that answer with an event id.
func (s *Service) submitEvent(ctx context.Context, kind string, room id.RoomID, lane id.UserID, key replica.Key, body any) (
	id.EventID, error) {
	res, err := s.submit(ctx, kind, room, lane, key, body)
	if err != nil {
		return "", err
	}
	e, _ := res.String("event_id")
	return id.EventID(e), nil
}

// maxTxn is the longest transaction id, in bytes.
const maxTxn = 255

// writeKey names a client's write: the same endpoint, with all that its path says, and transaction id.
func writeKey(by By, txn string, path ...string) (replica.Key, error) {
	if txn == "" || len(txn) > maxTxn {
		return replica.Key{}, errs.New("room.Send", errs.Invalid, errs.InvalidParam, "a transaction id has 1 to %d bytes", maxTxn)
	}
	return replica.NewKey(by.User, by.Device, strings.Join(path, "\x00"), txn), nil
}

// canonical checks the content of an event and makes it canonical. It is refused here when it cannot fit into an event.
func canonical(content []byte) (event.Object, error) {
	const op = "room.Send"
	out, err := event.Canonical(make([]byte, 0, len(content)), content)
	switch {
	case err != nil:
		return nil, err
	case out[0] != '{':
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "the content of an event is an object")
	case len(out) > event.MaxSize:
		return nil, errs.New(op, errs.TooLarge, "", "the event is larger than %d bytes", event.MaxSize)
	}
	return out, nil
}

// Send sends an event that is not state. The same user, device, room, type and txn have one effect and get the same answer.
//
// Errors: Forbidden, TooLarge, Invalid with BadJSON for content that cannot be canonical.
//
// path 3/7: the message becomes a proposal to the room's state machine.
func (s *Service) Send(ctx context.Context, by By, room id.RoomID, typ, txn string, content []byte) (id.EventID, error) {
	c, err := canonical(content)
	if err != nil {
		return "", err
	}
	key, err := writeKey(by, txn, "send", string(room), typ)
	if err != nil {
		return "", err
	}
	body := sendBody{Room: room, Sender: by.User, Device: by.Device, Txn: txn, Type: typ, Content: json.RawMessage(c)}
	if typ == event.TypeRedaction {
		target, _ := c.String("redacts")
		body.Redacts = id.EventID(target)
	}
	if r, ok := relationOf(c); ok && r.Type == relAnnotation {
		if v, ok := Open(s.cfg.Replica.Rows(), room); ok {
			body.Annotated = v.annotated(by.User, typ, r)
		}
	}
	return s.submitEvent(ctx, kindSend, room, by.User, key, &body)
}

// Redact takes away the content of an event: one's own, or anybody's with the power to.
//
// Errors: Forbidden; NotFound if the room has no such event.
func (s *Service) Redact(ctx context.Context, by By, room id.RoomID, target id.EventID, txn, reason string) (id.EventID, error) {
	key, err := writeKey(by, txn, "redact", string(room), string(target))
	if err != nil {
		return "", err
	}
	content := event.Object("{}")
	if reason != "" {
		content = content.With("reason", event.AppendString(nil, reason))
	}
	body := sendBody{Room: room, Sender: by.User, Device: by.Device, Txn: txn, Type: event.TypeRedaction, Redacts: target,
		Content: json.RawMessage(content)}
	return s.submitEvent(ctx, kindSend, room, by.User, key, &body)
}

// SendState sets a piece of state. Setting what is set already makes no new event: the id is that of the event that set it.
//
// Errors: Forbidden, TooLarge, Invalid.
func (s *Service) SendState(ctx context.Context, by By, room id.RoomID, typ, key string, content []byte) (id.EventID, error) {
	c, err := canonical(content)
	if err != nil {
		return "", err
	}
	if err := s.checkState(by.User, typ, key, c); err != nil {
		return "", err
	}
	if typ == event.TypeCanonicalAlias && key == "" {
		if err := s.checkCanonical(ctx, room, c); err != nil {
			return "", err
		}
	}
	body := sendBody{Room: room, Sender: by.User, Device: by.Device, Type: typ, Key: key, Content: json.RawMessage(c)}
	return s.submitEvent(ctx, kindState, room, by.User, replica.Key{}, &body)
}

// checkState refuses state that the rules of rooms would let through and that would make no sense.
func (s *Service) checkState(by id.UserID, typ, key string, content event.Object) error {
	const op = "room.SendState"
	if typ != event.TypeMember {
		return nil
	}
	user, err := id.ParseUserID(key)
	if err != nil {
		return err
	}
	switch m, ok := content.String("membership"); {
	case !ok:
		return errs.New(op, errs.Invalid, errs.BadJSON, "a member event has a membership")
	case m == "invite":
		return s.invitable(by, user)
	}
	return nil
}

// invitable refuses to invite who cannot come, users of other servers and users who do not exist, and who does not want to be invited.
func (s *Service) invitable(by, user id.UserID) error {
	const op = "room.Invite"
	if user.Server() != s.cfg.Server {
		return errs.New(op, errs.Forbidden, "", "%s is on another server, and this one does not federate", user)
	}
	rows := s.cfg.Replica.Rows()
	if _, ok := s.cfg.Profile(rows, user); !ok {
		return errs.New(op, errs.NotFound, "", "there is no user %s", user)
	}
	return s.cfg.MayInvite(rows, by, user)
}
