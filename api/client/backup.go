package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/keys"
)

// maxBackupBody is the longest upload of keys to a backup, in bytes: a client that starts a backup brings some hundreds at a time.
const maxBackupBody = 4 << 20

// backupRoutes are the endpoints of key backups.
func (k Keys) backupRoutes() []Route {
	const version, all = "/_matrix/client/v3/room_keys/version", "/_matrix/client/v3/room_keys/keys"
	const room, session = all + "/{roomId}", all + "/{roomId}/{sessionId}"
	return []Route{
		{Op: "postRoomKeysVersion", Method: "POST", Path: version, Limit: LimitSend, Handle: k.postRoomKeysVersion},
		{Op: "getRoomKeysVersionCurrent", Method: "GET", Path: version, Handle: k.getRoomKeysVersionCurrent},
		{Op: "getRoomKeysVersion", Method: "GET", Path: version + "/{version}", Handle: k.getRoomKeysVersion},
		{Op: "putRoomKeysVersion", Method: "PUT", Path: version + "/{version}", Handle: k.putRoomKeysVersion},
		{Op: "deleteRoomKeysVersion", Method: "DELETE", Path: version + "/{version}", Handle: k.deleteRoomKeysVersion},

		{Op: "putRoomKeys", Method: "PUT", Path: all, MaxBody: maxBackupBody, Handle: k.putRoomKeys},
		{Op: "getRoomKeys", Method: "GET", Path: all, Handle: k.getRoomKeys},
		{Op: "deleteRoomKeys", Method: "DELETE", Path: all, Handle: k.deleteRoomKeys},
		{Op: "putRoomKeysByRoomId", Method: "PUT", Path: room, MaxBody: maxBackupBody, Handle: k.putRoomKeysByRoomID},
		{Op: "getRoomKeysByRoomId", Method: "GET", Path: room, Handle: k.getRoomKeysByRoomID},
		{Op: "deleteRoomKeysByRoomId", Method: "DELETE", Path: room, Handle: k.deleteRoomKeys},
		{Op: "putRoomKeyBySessionId", Method: "PUT", Path: session, Handle: k.putRoomKeyBySessionID},
		{Op: "getRoomKeyBySessionId", Method: "GET", Path: session, Handle: k.getRoomKeyBySessionID},
		{Op: "deleteRoomKeyBySessionId", Method: "DELETE", Path: session, Handle: k.deleteRoomKeys},
	}
}

type versionAnswer struct {
	Version uint64 `json:"version,string"`
}

func (k Keys) postRoomKeysVersion(ctx context.Context, rq *Request) (any, error) {
	var in keys.BackupInfo
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	version, err := k.Service.MakeBackup(ctx, rq.User(), in)
	return versionAnswer{version}, err
}

func (k Keys) getRoomKeysVersionCurrent(_ context.Context, rq *Request) (any, error) {
	return k.Service.Backup(rq.User(), 0)
}

// backupVersion reads the number of a version; what is none names a version that does not exist.
func backupVersion(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, errs.New("api.backupVersion", errs.NotFound, "", "there is no such key backup")
	}
	return n, nil
}

func (k Keys) getRoomKeysVersion(_ context.Context, rq *Request) (any, error) {
	version, err := backupVersion(rq.Path("version"))
	if err != nil {
		return nil, err
	}
	return k.Service.Backup(rq.User(), version)
}

func (k Keys) putRoomKeysVersion(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		keys.BackupInfo
		Version *string `json:"version"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Version != nil && *in.Version != rq.Path("version") {
		return nil, errs.New("api.putRoomKeysVersion", errs.Invalid, errs.InvalidParam, "the versions in path and body differ")
	}
	version, err := backupVersion(rq.Path("version"))
	if err != nil {
		return nil, err
	}
	return nil, k.Service.ChangeBackup(ctx, rq.User(), version, in.BackupInfo)
}

func (k Keys) deleteRoomKeysVersion(ctx context.Context, rq *Request) (any, error) {
	version, err := backupVersion(rq.Path("version"))
	if err != nil {
		return nil, err
	}
	return nil, k.Service.DeleteBackup(ctx, rq.User(), version)
}

// queryVersion is the version that the query names.
func queryVersion(rq *Request) (uint64, error) {
	s, err := rq.Query("version")
	if err != nil {
		return 0, err
	}
	if s == "" {
		return 0, missing("version")
	}
	return backupVersion(s)
}

// keysNamed are the version in the query, and the room in the path, empty where it names none.
func keysNamed(rq *Request) (version uint64, room id.RoomID, err error) {
	if version, err = queryVersion(rq); err == nil && rq.Path("roomId") != "" {
		room, err = rq.RoomID("roomId")
	}
	return version, room, err
}

// put stores keys. A version that is not the current one is refused with the one that is.
func (k Keys) put(ctx context.Context, rq *Request, in keys.BackupKeys) (any, error) {
	version, err := queryVersion(rq)
	if err != nil {
		return nil, err
	}
	state, err := k.Service.PutBackup(ctx, rq.User(), version, in)
	var e *errs.Error
	if errors.As(err, &e) && e.Code == errs.WrongBackup {
		now, err := k.Service.Backup(rq.User(), 0)
		if err != nil {
			return nil, err
		}
		return Reply{Status: http.StatusForbidden, Body: struct {
			errorBody
			Current uint64 `json:"current_version,string"`
		}{errorBody{Errcode: lookup(e.Kind, e.Code).Errcode, Error: e.Message}, now.Version}}, nil
	}
	return state, err
}

// sessionsBody are the keys of a room.
type sessionsBody struct {
	Sessions map[string]json.RawMessage `json:"sessions"`
}

func (k Keys) putRoomKeys(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		Rooms map[string]sessionsBody `json:"rooms"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.Rooms == nil {
		return nil, missing("rooms")
	}
	all := keys.BackupKeys{}
	for name, body := range in.Rooms {
		room, err := id.ParseRoomID(name)
		if err != nil {
			return nil, err
		}
		if body.Sessions == nil {
			return nil, missing("sessions")
		}
		all[room] = body.Sessions
	}
	return k.put(ctx, rq, all)
}

func (k Keys) putRoomKeysByRoomID(ctx context.Context, rq *Request) (any, error) {
	var in sessionsBody
	room, err := rq.RoomID("roomId")
	if err == nil {
		err = rq.Decode(&in)
	}
	if err != nil {
		return nil, err
	}
	if in.Sessions == nil {
		return nil, missing("sessions")
	}
	return k.put(ctx, rq, keys.BackupKeys{room: in.Sessions})
}

func (k Keys) putRoomKeyBySessionID(ctx context.Context, rq *Request) (any, error) {
	var in json.RawMessage
	room, err := rq.RoomID("roomId")
	if err == nil {
		err = rq.Decode(&in)
	}
	if err != nil {
		return nil, err
	}
	return k.put(ctx, rq, keys.BackupKeys{room: {rq.Path("sessionId"): in}})
}

// backedUp reads the keys that the path names.
func (k Keys) backedUp(rq *Request) (keys.BackupKeys, error) {
	version, room, err := keysNamed(rq)
	if err != nil {
		return nil, err
	}
	return k.Service.BackedUp(rq.User(), version, room, rq.Path("sessionId"))
}

func (k Keys) getRoomKeys(_ context.Context, rq *Request) (any, error) {
	all, err := k.backedUp(rq)
	if err != nil {
		return nil, err
	}
	rooms := map[id.RoomID]sessionsBody{}
	for room, sessions := range all {
		rooms[room] = sessionsBody{sessions}
	}
	return struct {
		Rooms map[id.RoomID]sessionsBody `json:"rooms"`
	}{rooms}, nil
}

func (k Keys) getRoomKeysByRoomID(_ context.Context, rq *Request) (any, error) {
	all, err := k.backedUp(rq)
	if err != nil {
		return nil, err
	}
	out := sessionsBody{map[string]json.RawMessage{}}
	for _, sessions := range all {
		out.Sessions = sessions
	}
	return out, nil
}

func (k Keys) getRoomKeyBySessionID(_ context.Context, rq *Request) (any, error) {
	all, err := k.backedUp(rq)
	if err != nil {
		return nil, err
	}
	for _, sessions := range all {
		for _, data := range sessions {
			return Raw(data), nil
		}
	}
	return nil, errs.New("api.getRoomKeyBySessionId", errs.NotFound, "", "there is no such key in the backup")
}

func (k Keys) deleteRoomKeys(ctx context.Context, rq *Request) (any, error) {
	version, room, err := keysNamed(rq)
	if err != nil {
		return nil, err
	}
	return k.Service.DropBackup(ctx, rq.User(), version, room, rq.Path("sessionId"))
}
