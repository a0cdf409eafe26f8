package client

import (
	"context"
	"errors"

	"bongsu/errs"
)

// errorRow is how an error leaves the server.
type errorRow struct {
	Kind    errs.Kind
	Code    errs.Code
	Status  int    // HTTP
	Errcode string // Matrix
}

// errorTable is the only place where kinds and codes become statuses and errcodes. A row without a code is for its kind; a row
// with a code is for that code. Specification: Client-Server API, "Standard error response"; statuses by operation.
//
// 503 has no errcode in the specification: clients go by the status and retry.
var errorTable = [...]errorRow{
	{errs.Internal, "", 500, "M_UNKNOWN"},

	{errs.Invalid, "", 400, "M_INVALID_PARAM"},
	{errs.Invalid, errs.NotJSON, 400, "M_NOT_JSON"},
	{errs.Invalid, errs.BadJSON, 400, "M_BAD_JSON"},
	{errs.Invalid, errs.MissingParam, 400, "M_MISSING_PARAM"},
	{errs.Invalid, errs.InvalidParam, 400, "M_INVALID_PARAM"},
	{errs.Invalid, errs.InvalidUsername, 400, "M_INVALID_USERNAME"},
	{errs.Invalid, errs.WeakPassword, 400, "M_WEAK_PASSWORD"},
	{errs.Invalid, errs.InvalidRoomState, 400, "M_INVALID_ROOM_STATE"},
	{errs.Invalid, errs.BadAlias, 400, "M_BAD_ALIAS"},
	{errs.Invalid, errs.InvalidSignature, 400, "M_INVALID_SIGNATURE"},
	{errs.Invalid, errs.KeyTooLarge, 400, "M_KEY_TOO_LARGE"},
	{errs.Invalid, errs.ProfileTooLarge, 400, "M_PROFILE_TOO_LARGE"},
	{errs.Invalid, errs.BadRelation, 400, "M_UNKNOWN"},
	{errs.Invalid, errs.DuplicateAnnotation, 400, "M_DUPLICATE_ANNOTATION"},
	{errs.Invalid, errs.Expired, 400, "M_UNKNOWN"}, // 400, so that clients stop repeating it

	// Not M_UNKNOWN_TOKEN: that makes a client wipe its keys, and must be said on purpose.
	{errs.Unauthenticated, "", 401, "M_UNAUTHORIZED"},
	{errs.Unauthenticated, errs.MissingToken, 401, "M_MISSING_TOKEN"},
	{errs.Unauthenticated, errs.UnknownToken, 401, "M_UNKNOWN_TOKEN"},
	{errs.Unauthenticated, errs.TokenExpired, 401, "M_UNKNOWN_TOKEN"},
	{errs.Unauthenticated, errs.UserLocked, 401, "M_USER_LOCKED"},

	{errs.Forbidden, "", 403, "M_FORBIDDEN"},
	{errs.Forbidden, errs.UserDeactivated, 403, "M_USER_DEACTIVATED"},
	{errs.Forbidden, errs.WrongBackup, 403, "M_WRONG_ROOM_KEYS_VERSION"},
	{errs.Forbidden, errs.InviteBlocked, 403, "M_INVITE_BLOCKED"},
	{errs.Forbidden, errs.ThreepidAuth, 403, "M_THREEPID_AUTH_FAILED"},
	{errs.Forbidden, errs.UserSuspended, 403, "M_USER_SUSPENDED"},
	{errs.Forbidden, errs.ServerControlled, 405, "M_BAD_JSON"}, // as setAccountData says

	{errs.NotFound, "", 404, "M_NOT_FOUND"},
	{errs.NotFound, errs.Unrecognized, 404, "M_UNRECOGNIZED"},

	{errs.Conflict, "", 409, "M_UNKNOWN"},
	{errs.Conflict, errs.UserInUse, 400, "M_USER_IN_USE"},
	{errs.Conflict, errs.RoomInUse, 400, "M_ROOM_IN_USE"},
	{errs.Conflict, errs.Exclusive, 400, "M_EXCLUSIVE"},
	{errs.Conflict, errs.ThreepidInUse, 400, "M_THREEPID_IN_USE"},
	{errs.Conflict, errs.HasContent, 409, "M_CANNOT_OVERWRITE_MEDIA"},

	{errs.TooLarge, "", 413, "M_TOO_LARGE"},
	{errs.Limited, "", 429, "M_LIMIT_EXCEEDED"},

	{errs.Unavailable, "", 503, "M_UNKNOWN"},
	{errs.Unavailable, errs.DiskFull, 503, "M_UNKNOWN"},
	{errs.Unavailable, errs.NotYetUploaded, 504, "M_NOT_YET_UPLOADED"},

	{errs.Unsupported, "", 400, "M_UNKNOWN"},
	{errs.Unsupported, errs.NoThumbnail, 400, "M_UNKNOWN"},
	{errs.Unsupported, errs.ThreepidMedium, 400, "M_THREEPID_MEDIUM_NOT_SUPPORTED"},
	{errs.Unsupported, errs.ServerNotTrusted, 400, "M_SERVER_NOT_TRUSTED"},
	{errs.Unsupported, errs.UnsupportedVersion, 400, "M_UNSUPPORTED_ROOM_VERSION"},
	{errs.Unsupported, errs.MethodNotAllowed, 405, "M_UNRECOGNIZED"},
}

// lookup is the row of code, or else of kind, or else of Internal.
func lookup(kind errs.Kind, code errs.Code) errorRow {
	best := errorTable[0]
	for _, row := range errorTable {
		if row.Code == "" && row.Kind == kind {
			best = row
		}
		if row.Code != "" && row.Code == code {
			return row
		}
	}
	return best
}

// errorBody is the specification's standard error response.
type errorBody struct {
	Errcode      string `json:"errcode"`
	Error        string `json:"error"`
	RetryAfterMs int64  `json:"retry_after_ms,omitempty"`
	SoftLogout   bool   `json:"soft_logout,omitempty"`
}

// softLogout reports whether a client that is told code keeps its keys: it is the same device when it is back. Specification: "Soft
// logout".
func softLogout(code errs.Code) bool { return code == errs.TokenExpired || code == errs.UserLocked }

// asError is the *errs.Error that a client is told about: err's own, or Unavailable where the request's time was up, or
// Internal.
func asError(err error) *errs.Error {
	var e *errs.Error
	if errors.As(err, &e) && e.Kind != errs.Internal {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &errs.Error{Op: "api.serve", Kind: errs.Unavailable, Message: "this took too long; try again", Err: err}
	}
	return &errs.Error{Op: "api.serve", Kind: errs.Internal, Message: "internal error", Err: err}
}
