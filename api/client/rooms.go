package client

import (
	"context"
	"slices"
	"strings"

	"bongsu/account"
	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/room"
	"bongsu/roomstate"
)

// Rooms are the endpoints about rooms: making them, who is in them, what is said in them and who has read it.
type Rooms struct {
	Rooms   *room.Service    // required
	Account *account.Service // keeps the m.fully_read marker; required
	People  People           // whom users find in the directory of users; default PeopleMet
	// SyncPlace is the place, in a room's partition, of a token from /sync, which may stand where a page token may.
	// Nil: such tokens are malformed.
	SyncPlace func(token string, r id.RoomID) (room.Place, error)
}

// Routes are the endpoints about rooms.
func (a Rooms) Routes() []Route {
	const v3, in, v1 = "/_matrix/client/v3/", "/_matrix/client/v3/rooms/{roomId}/", "/_matrix/client/v1/rooms/{roomId}/"
	return slices.Concat(a.directoryRoutes(), a.spaceRoutes(), a.upgradeRoutes(), a.reportRoutes(), a.delayedRoutes(), []Route{
		{Op: "createRoom", Class: Text, Method: "POST", Path: v3 + "createRoom", Limit: LimitSend, Handle: a.createRoom},
		{Op: "joinRoom", Class: Text, Method: "POST", Path: v3 + "join/{roomIdOrAlias}", Limit: LimitSend, Handle: a.joinRoom},
		{Op: "knockRoom", Class: Text, Method: "POST", Path: v3 + "knock/{roomIdOrAlias}", Limit: LimitSend, Handle: a.knockRoom},
		{Op: "joinRoomById", Class: Text, Method: "POST", Path: in + "join", Limit: LimitSend, Handle: a.joinRoomByID},
		{Op: "leaveRoom", Class: Text, Method: "POST", Path: in + "leave", Limit: LimitSend, Handle: a.leaveRoom},
		{Op: "forgetRoom", Method: "POST", Path: in + "forget", Limit: LimitSend, Handle: a.forgetRoom},
		{Op: "inviteUser", Class: Text, Method: "POST", Path: in + "invite", Limit: LimitSend, Handle: a.inviteUser},
		{Op: "kick", Class: Text, Method: "POST", Path: in + "kick", Limit: LimitSend, Handle: a.target(a.Rooms.Kick)},
		{Op: "ban", Class: Text, Method: "POST", Path: in + "ban", Limit: LimitSend, Handle: a.target(a.Rooms.Ban)},
		{Op: "unban", Class: Text, Method: "POST", Path: in + "unban", Limit: LimitSend, Handle: a.target(a.Rooms.Unban)},
		{Op: "getJoinedRooms", Class: Reading, Method: "GET", Path: v3 + "joined_rooms", Handle: a.getJoinedRooms},
		{Op: "getJoinedMembersByRoom", Class: Reading, Method: "GET", Path: in + "joined_members", Handle: a.getJoinedMembers},
		{Op: "getMembersByRoom", Class: Reading, Method: "GET", Path: in + "members", Handle: a.getMembers},

		{Op: "searchUserDirectory", Class: Reading, Method: "POST", Path: v3 + "user_directory/search", Local: true, Limit: LimitSend, Handle: a.searchUserDirectory},
		{Op: "getMutualRooms", Class: Reading, Method: "GET", Path: "/_matrix/client/v1/mutual_rooms", Limit: LimitSend, Handle: a.getMutualRooms},

		{Op: "getRoomState", Class: Reading, Method: "GET", Path: in + "state", Handle: a.getRoomState},
		{Op: "getRoomStateWithKey", Class: Reading, Method: "GET", Path: in + "state/{eventType}/{stateKey}",
			Also: []string{in + "state/{eventType}", in + "state/{eventType}/{$}"}, Handle: a.getRoomStateWithKey},
		{Op: "setRoomStateWithKey", Class: Text, Method: "PUT", Path: in + "state/{eventType}/{stateKey}",
			Also: []string{in + "state/{eventType}", in + "state/{eventType}/{$}"}, Limit: LimitSend, Handle: a.setRoomStateWithKey},
		{Op: "sendMessage", Class: Text, Method: "PUT", Path: in + "send/{eventType}/{txnId}", Limit: LimitSend, Handle: a.sendMessage},
		{Op: "redactEvent", Class: Text, Method: "PUT", Path: in + "redact/{eventId}/{txnId}", Limit: LimitSend, Handle: a.redactEvent},
		{Op: "getRoomEvents", Class: Reading, Method: "GET", Path: in + "messages", Handle: a.getRoomEvents},
		{Op: "getOneRoomEvent", Class: Reading, Method: "GET", Path: in + "event/{eventId}", Handle: a.getOneRoomEvent},
		{Op: "getEventContext", Class: Reading, Method: "GET", Path: in + "context/{eventId}", Handle: a.getEventContext},

		{Op: "getRelatingEvents", Class: Reading, Method: "GET", Path: v1 + "relations/{eventId}", Handle: a.getRelatingEvents},
		{Op: "getRelatingEventsWithRelType", Class: Reading, Method: "GET", Path: v1 + "relations/{eventId}/{relType}", Handle: a.getRelatingEvents},
		{Op: "getRelatingEventsWithRelTypeAndEventType", Class: Reading, Method: "GET",
			Path: v1 + "relations/{eventId}/{relType}/{eventType}", Handle: a.getRelatingEvents},
		{Op: "getThreadRoots", Class: Reading, Method: "GET", Path: v1 + "threads", Handle: a.getThreadRoots},
		{Op: "getEventByTimestamp", Class: Reading, Method: "GET", Path: v1 + "timestamp_to_event", Handle: a.getEventByTimestamp},

		{Op: "postReceipt", Class: Receipts, Method: "POST", Path: in + "receipt/{receiptType}/{eventId}", Handle: a.postReceipt},
		{Op: "setReadMarker", Class: Receipts, Method: "POST", Path: in + "read_markers", Handle: a.setReadMarker},
	})
}

func by(r *Request) room.By { return room.By{User: r.User(), Device: r.Device()} }

type roomIDAnswer struct {
	RoomID id.RoomID `json:"room_id"`
}

func (a Rooms) createRoom(ctx context.Context, r *Request) (any, error) {
	var c room.Creation
	if err := r.Decode(&c); err != nil {
		return nil, err
	}
	created, err := a.Rooms.Create(ctx, by(r), c)
	if err != nil {
		return nil, errs.Wrap("api.createRoom", err)
	}
	return roomIDAnswer{created}, nil
}

// reason is the body of the endpoints that take nothing else.
type reason struct {
	Reason string `json:"reason"`
}

// roomAndReason reads what most endpoints about one room take.
func roomAndReason(r *Request) (id.RoomID, string, error) {
	in, err := r.RoomID("roomId")
	return withReason(r, in, err)
}

// withReason adds the body's reason to the room that the path was read to name.
func withReason(r *Request, in id.RoomID, err error) (id.RoomID, string, error) {
	if err != nil {
		return "", "", err
	}
	var body reason
	err = r.DecodeOptional(&body)
	return in, body.Reason, err
}

func (a Rooms) joinRoomByID(ctx context.Context, r *Request) (any, error) {
	in, why, err := roomAndReason(r)
	if err != nil {
		return nil, err
	}
	return roomIDAnswer{in}, errs.Wrap("api.joinRoomById", a.Rooms.Join(ctx, by(r), in, why))
}

// roomOrAlias is the room that a path names by its id or an alias.
func (a Rooms) roomOrAlias(r *Request) (id.RoomID, error) {
	name := r.Path("roomIdOrAlias")
	if !strings.HasPrefix(name, "#") {
		return id.ParseRoomID(name)
	}
	alias, err := id.ParseRoomAlias(name)
	if err != nil {
		return "", err
	}
	return a.Rooms.Resolve(alias)
}

func (a Rooms) joinRoom(ctx context.Context, r *Request) (any, error) {
	in, err := a.roomOrAlias(r)
	in, why, err := withReason(r, in, err)
	if err != nil {
		return nil, err
	}
	return roomIDAnswer{in}, errs.Wrap("api.joinRoom", a.Rooms.Join(ctx, by(r), in, why))
}

func (a Rooms) knockRoom(ctx context.Context, r *Request) (any, error) {
	in, err := a.roomOrAlias(r)
	in, why, err := withReason(r, in, err)
	if err != nil {
		return nil, err
	}
	return roomIDAnswer{in}, errs.Wrap("api.knockRoom", a.Rooms.Knock(ctx, by(r), in, why))
}

func (a Rooms) leaveRoom(ctx context.Context, r *Request) (any, error) {
	in, why, err := roomAndReason(r)
	if err != nil {
		return nil, err
	}
	return nil, errs.Wrap("api.leaveRoom", a.Rooms.Leave(ctx, by(r), in, why))
}

func (a Rooms) forgetRoom(ctx context.Context, r *Request) (any, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	return nil, errs.Wrap("api.forgetRoom", a.Rooms.Forget(ctx, by(r), in))
}

// targetBody is the body of the endpoints that do something to somebody.
type targetBody struct {
	UserID *id.UserID `json:"user_id"`
	Reason string     `json:"reason"`

	// Of an invite by e-mail address or telephone number.
	Medium  string `json:"medium"`
	Address string `json:"address"`
}

func (b *targetBody) user() (id.UserID, error) {
	if b.UserID == nil {
		return "", errs.New("api.target", errs.Invalid, errs.MissingParam, "user_id is missing")
	}
	return id.ParseUserID(string(*b.UserID))
}

// target makes the handler of an endpoint that does something to somebody.
func (a Rooms) target(do func(context.Context, room.By, id.RoomID, id.UserID, string) error) Handler {
	return func(ctx context.Context, r *Request) (any, error) {
		in, err := r.RoomID("roomId")
		if err != nil {
			return nil, err
		}
		var body targetBody
		if err := r.Decode(&body); err != nil {
			return nil, err
		}
		user, err := body.user()
		if err != nil {
			return nil, err
		}
		return nil, errs.Wrap("api."+r.Op(), do(ctx, by(r), in, user, body.Reason))
	}
}

func (a Rooms) inviteUser(ctx context.Context, r *Request) (any, error) {
	var body targetBody
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.UserID == nil && body.Medium != "" {
		return nil, errs.New("api.inviteUser", errs.Unsupported, "", "invitations by e-mail or telephone are not offered")
	}
	return a.target(a.Rooms.Invite)(ctx, r)
}

func (a Rooms) getJoinedRooms(_ context.Context, r *Request) (any, error) {
	out := struct {
		Rooms []id.RoomID `json:"joined_rooms"`
	}{[]id.RoomID{}}
	for m := range a.Rooms.Memberships(r.User()) {
		if m.State == roomstate.Join {
			out.Rooms = append(out.Rooms, m.Room)
		}
	}
	return out, nil
}

// reading is a room as the one who asks may see it.
type reading struct {
	room.View
	user  id.UserID
	to    room.Viewer
	close func()
}

// look says that the answer shows events with what belongs to them: what relates to them, and what the user was in the room then. It
// returns what the user may see.
func (v *reading) look() room.Sight {
	sight := v.Sight(v.user)
	v.to.Sight, v.to.Membership = &sight, v.to.Erasure.Was
	return sight
}

// shown is the event of a state row, as the user may see it.
func (v *reading) shown(row room.StateRow) room.Stored { return v.to.Erasure.Shown(v.Load(row)) }

// heard is wanted without the messages of those whom the user ignores. What they do to the state is shown.
//
// Specification: "Ignoring Users".
func (v *reading) heard(wanted func(*event.Event) bool) func(*event.Event) bool {
	if len(v.to.Ignored) == 0 {
		return wanted
	}
	return func(ev *event.Event) bool {
		return (ev.StateKey != nil || !v.to.Ignored[ev.Sender]) && (wanted == nil || wanted(ev))
	}
}

// read opens a room for reading. Whoever may see neither its state nor any event is told nothing, not even whether there is such a
// room. The caller closes it.
func (a Rooms) read(r *Request) (*reading, error) {
	in, err := r.RoomID("roomId")
	if err != nil {
		return nil, err
	}
	rows := a.Rooms.View()
	v, ok := room.Open(rows, in)
	if !ok {
		rows.Close()
		return nil, notIn()
	}
	ignored, _ := account.Ignored(rows, r.User())
	to := room.Viewer{User: r.User(), Device: r.Device(), Now: a.Rooms.Now(), Ignored: ignored,
		Erasure: v.Erasure(r.User(), account.ErasedIn(rows))}
	return &reading{View: v, user: r.User(), to: to, close: rows.Close}, nil
}

func notIn() error {
	return errs.New("api.rooms", errs.Forbidden, "", "you are not in the room, or it does not exist")
}

// readAt is read, when this site has what the tokens in some query parameters stand for; see reach.
func (a Rooms) readAt(ctx context.Context, r *Request, names ...string) (*reading, error) {
	if err := a.reach(ctx, r, names...); err != nil {
		return nil, err
	}
	return a.read(r)
}

// place reads a token of a page or of /sync.
func (a Rooms) place(token string, in id.RoomID) (room.Place, error) {
	if strings.HasPrefix(token, "s") && a.SyncPlace != nil {
		return a.SyncPlace(token, in)
	}
	return room.ParsePageToken(token)
}

// reach waits until this site has what the tokens in some query parameters stand for: another site may have given them a moment
// ago, and what is between would be missing for good.
func (a Rooms) reach(ctx context.Context, r *Request, names ...string) error {
	in, err := r.RoomID("roomId")
	if err != nil {
		return err
	}
	for _, name := range names {
		token, err := r.Query(name)
		if err != nil {
			return err
		}
		if token == "" {
			continue
		}
		p, err := a.place(token, in)
		if err == nil {
			err = a.Rooms.Reach(ctx, in, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a Rooms) getJoinedMembers(_ context.Context, r *Request) (any, error) {
	v, err := a.read(r)
	if err != nil {
		return nil, err
	}
	defer v.close()
	if !v.IsJoined(v.user) {
		return nil, notIn()
	}
	type profile struct {
		DisplayName *string `json:"display_name,omitempty"`
		AvatarURL   *string `json:"avatar_url,omitempty"`
	}
	out := struct {
		Joined map[string]profile `json:"joined"`
	}{map[string]profile{}}
	for m := range v.Members() {
		if m.Membership == roomstate.Join {
			content := v.shown(m).Content
			out.Joined[m.Key] = profile{optional(content, "displayname"), optional(content, "avatar_url")}
		}
	}
	return out, nil
}

func optional(o event.Object, key string) *string {
	if s, ok := o.String(key); ok {
		return &s
	}
	return nil
}

func (a Rooms) getMembers(ctx context.Context, r *Request) (any, error) {
	v, err := a.readAt(ctx, r, "at")
	if err != nil {
		return nil, err
	}
	defer v.close()
	all := []string{"join", "invite", "knock", "leave", "ban"}
	only, err := r.QueryOneOf("membership", "", all...)
	if err != nil {
		return nil, err
	}
	not, err := r.QueryOneOf("not_membership", "", all...)
	if err != nil {
		return nil, err
	}
	at, ok := v.StateSight(v.user)
	if !ok {
		return nil, notIn()
	}
	token, err := r.Query("at")
	if err == nil && token != "" {
		var then room.Place
		if then, err = a.place(token, v.ID); then.Before(at) {
			at = then
		}
	}
	if err != nil {
		return nil, err
	}
	out := newChunk(`{"chunk":[`)
	for row := range v.StateAt(at) {
		m := string(row.Membership)
		if row.Type == event.TypeMember && (only == "" || m == only) && (not == "" || m != not) {
			out.add(v, v.Load(row))
		}
	}
	return out.end("]}"), nil
}
