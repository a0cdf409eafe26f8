// Package errs holds the one error type of Bongsu: what was being done, what kind of failure it was, and words for a
// person.
//
// Invariant: every error that can reach a user is an *Error with a Kind. Only the edge (api) turns a Kind and a Code into
// an HTTP status and a Matrix errcode, in one table. An error without a Kind is a fault of ours and reads as Internal.
//
// Limits: an Error that becomes part of a stored verdict keeps kind, code, message and retry time; its cause is dropped.
package errs

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of failure it was; it is what callers branch on.
type Kind uint8

// The kinds. Their numbers are stored in verdicts: append only, never renumber.
const (
	Internal        Kind = 0 // a fault of ours
	Invalid         Kind = 1 // the request is malformed or breaks a rule of form
	Unauthenticated Kind = 2 // no token, or one that is not known
	Forbidden       Kind = 3 // known, and not allowed
	NotFound        Kind = 4 // no such thing
	Conflict        Kind = 5 // collides with what is there
	TooLarge        Kind = 6 // over a size limit
	Limited         Kind = 7 // over a rate limit; RetryAfter says when to come back
	Unavailable     Kind = 8 // cannot be done now (no quorum, no space, overload); retry is right
	Unsupported     Kind = 9 // understood and not offered
)

var kindNames = [...]string{
	"internal", "invalid", "unauthenticated", "forbidden", "not found", "conflict", "too large", "limited",
	"unavailable", "unsupported",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Code refines a Kind where a client must tell two failures of one kind apart. It is a lower-case word of ours, stored in
// verdicts; the edge maps it to a Matrix errcode. The empty code means the kind's usual errcode.
type Code string

// The codes in use. Each has a row in the edge's table.
const (
	NotJSON             Code = "not_json"             // the body is not JSON
	BadJSON             Code = "bad_json"             // the body is JSON of the wrong shape
	MissingParam        Code = "missing_param"        // a required parameter is absent
	InvalidParam        Code = "invalid_param"        // a parameter has an impossible value
	MissingToken        Code = "missing_token"        // no access token was sent
	UnknownToken        Code = "unknown_token"        // the access token is not known
	UserInUse           Code = "user_in_use"          // the user id is taken
	InvalidUsername     Code = "invalid_username"     // the user id is malformed
	WeakPassword        Code = "weak_password"        // the password is refused
	UserDeactivated     Code = "user_deactivated"     // the account was closed
	RoomInUse           Code = "room_in_use"          // the alias is taken
	InvalidRoomState    Code = "invalid_room_state"   // the initial state of a new room is not allowed
	UnsupportedVersion  Code = "unsupported_version"  // no such room version here
	BadAlias            Code = "bad_alias"            // an alias that does not point to this room
	Exclusive           Code = "exclusive"            // reserved for somebody else
	Unrecognized        Code = "unrecognized"         // no such endpoint
	MethodNotAllowed    Code = "method_not_allowed"   // the endpoint exists, the method does not
	DiskFull            Code = "disk_full"            // no room on the disk; reads go on
	ServerControlled    Code = "server_controlled"    // only the server may write this
	ProfileTooLarge     Code = "profile_too_large"    // the profile as a whole would be over its limit
	KeyTooLarge         Code = "key_too_large"        // the name of a profile field is over its limit
	InvalidSignature    Code = "invalid_signature"    // a signature that does not verify
	NotYetUploaded      Code = "not_yet_uploaded"     // a media id whose content has not come yet
	HasContent          Code = "has_content"          // a media id that has content already
	NoThumbnail         Code = "no_thumbnail"         // content that no thumbnail can be made of
	InviteBlocked       Code = "invite_blocked"       // the invited user wants no invites
	WrongBackup         Code = "wrong_backup"         // a key backup that is not the current one
	Expired             Code = "expired"              // the transaction id is older than the promise to remember it
	DuplicateAnnotation Code = "duplicate_annotation" // the same reaction once more
	BadRelation         Code = "bad_relation"         // a relation to an event that cannot have it
	TokenExpired        Code = "token_expired"        // the access token's time is up; a refresh token or another login gives a new one
	UserLocked          Code = "user_locked"          // the account is locked by an administrator, for now
	UserSuspended       Code = "user_suspended"       // the account is suspended: it may read and leave, not take part
	ThreepidInUse       Code = "threepid_in_use"      // the address belongs to another account
	ThreepidAuth        Code = "threepid_auth"        // the address has not been confirmed
	ThreepidMedium      Code = "threepid_medium"      // addresses of that sort are not handled
	ServerNotTrusted    Code = "server_not_trusted"   // an identity server that is not asked
)

// Error is a failure with an operation, a kind and a message for the person at the other end.
type Error struct {
	Op         string        // what was being done, "room.Send"; for logs
	Kind       Kind          // what sort of failure
	Code       Code          // finer, or empty
	Message    string        // for the user: plain, complete, without secrets
	RetryAfter time.Duration // with Limited and Unavailable: when to try again; 0 means unknown
	Err        error         // the cause, or nil
}

// New makes an error of kind k; format and args make the message for the user.
func New(op string, k Kind, c Code, format string, args ...any) *Error {
	return &Error{Op: op, Kind: k, Code: c, Message: fmt.Sprintf(format, args...)}
}

// Wrap puts an operation on err. The kind, code and message of an *Error inside err are kept; any other error becomes
// Internal. Wrap of nil is nil.
func Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return &Error{Op: op, Kind: e.Kind, Code: e.Code, Message: e.Message, RetryAfter: e.RetryAfter, Err: err}
	}
	return &Error{Op: op, Kind: Internal, Message: "internal error", Err: err}
}

func (e *Error) Error() string {
	s := e.Op + ": " + e.Kind.String()
	if e.Code != "" {
		s += " (" + string(e.Code) + ")"
	}
	if e.Err != nil {
		return s + ": " + e.Err.Error()
	}
	return s + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf is the kind of the outermost *Error in err, or Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is an *Error of kind k. A nil err is of no kind.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
