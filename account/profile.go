package account

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"

	"bongsu/errs"
	"bongsu/id"
)

// Limits of what a user may store, in bytes unless it says otherwise.
const (
	MaxContent     = 256 << 10 // of one piece of account data
	MaxFilter      = 64 << 10
	maxField       = 255 // the name of a profile field
	maxDisplayname = 256 // characters
	maxAvatar      = 1000
)

// fieldName is the grammar of profile fields. Specification: setProfileField.
var fieldName = regexp.MustCompile(`^(avatar_url|displayname|m\.tz|[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+)$`)

// CheckField refuses what cannot be the name of a profile field: errs.InvalidParam, errs.KeyTooLarge.
func CheckField(field string) error {
	const op = "account.CheckField"
	if len(field) > maxField {
		return errs.New(op, errs.Invalid, errs.KeyTooLarge, "the name of a profile field has at most %d bytes", maxField)
	}
	if !fieldName.MatchString(field) {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "%q is not the name of a profile field", field)
	}
	return nil
}

// SetProfile sets a field of a user's profile to a JSON value; nil removes it. Errors: errs.InvalidParam, errs.BadJSON,
// errs.KeyTooLarge, errs.ProfileTooLarge.
func (s *Service) SetProfile(ctx context.Context, user id.UserID, field string, value json.RawMessage) error {
	const op = "account.SetProfile"
	if err := CheckField(field); err != nil {
		return err
	}
	if value != nil {
		var err error
		if value, err = compact(value); err != nil {
			return errs.Wrap(op, err)
		}
		if len(value) > MaxProfile {
			return errs.New(op, errs.Invalid, errs.ProfileTooLarge, "the profile would be larger than %d bytes", MaxProfile)
		}
		if value, err = checkValue(field, value); err != nil {
			return err
		}
	}
	res, err := s.submit(ctx, user, kindProfile, profileBody{user, field, value})
	if err != nil {
		return errs.Wrap(op, err)
	}
	if len(res) > 0 && s.cfg.ProfileChanged != nil && (field == Displayname || field == AvatarURL) {
		s.cfg.ProfileChanged(ctx, user)
	}
	return nil
}

// checkValue checks the value of a field that the specification knows. Clients clear their name and avatar by setting them to
// null or "": both remove the field.
func checkValue(field string, value json.RawMessage) (json.RawMessage, error) {
	const op = "account.SetProfile"
	var str *string
	switch field {
	case Displayname, AvatarURL, "m.tz":
		if err := json.Unmarshal(value, &str); err != nil {
			return nil, errs.New(op, errs.Invalid, errs.BadJSON, "%s is a string", field)
		}
	default:
		return value, nil
	}
	switch {
	case str == nil || *str == "":
		return nil, nil
	case field == Displayname && utf8.RuneCountInString(*str) > maxDisplayname:
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "a displayname has at most %d characters", maxDisplayname)
	case field == AvatarURL && len(*str) > maxAvatar:
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "an avatar_url has at most %d bytes", maxAvatar)
	case field == AvatarURL && !strings.HasPrefix(*str, "mxc://"):
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "an avatar_url begins with mxc://")
	}
	return value, nil
}

// compact is JSON without white space.
func compact(raw json.RawMessage) (json.RawMessage, error) {
	var buf bytes.Buffer
	if err := json.Compact(&buf, raw); err != nil {
		return nil, errs.New("account.compact", errs.Invalid, errs.NotJSON, "this is not JSON")
	}
	return buf.Bytes(), nil
}

// SetData stores a piece of account data, a JSON object; room is empty for that of the whole account. Which types a client may
// write is the caller's to check. Errors: errs.InvalidParam, errs.BadJSON, errs.TooLarge.
func (s *Service) SetData(ctx context.Context, user id.UserID, room id.RoomID, typ string, content json.RawMessage) error {
	const op = "account.SetData"
	content, err := checkData(typ, content)
	if err != nil {
		return err
	}
	_, err = s.submit(ctx, user, kindData, dataBody{User: user, Room: room, Type: typ, Content: content})
	return errs.Wrap(op, err)
}

func checkData(typ string, content json.RawMessage) (json.RawMessage, error) {
	const op = "account.SetData"
	if typ == "" || len(typ) > id.MaxLen {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "the type of account data has 1 to %d bytes", id.MaxLen)
	}
	content, err := compact(content)
	if err != nil {
		return nil, err
	}
	if content[0] != '{' {
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "account data is a JSON object")
	}
	if len(content) > MaxContent {
		return nil, errs.New(op, errs.TooLarge, "", "a piece of account data has at most %d bytes", MaxContent)
	}
	return content, nil
}

// EditData replaces a piece of account data by what edit makes of it; edit gets nil when there is none. When another device
// changes it at the same time, edit is called again with what that one left. Its error ends the attempt and is returned.
func (s *Service) EditData(ctx context.Context, user id.UserID, room id.RoomID, typ string,
	edit func(json.RawMessage) (json.RawMessage, error)) error {
	const op, attempts = "account.EditData", 8
	var err error
	for range attempts {
		e, _ := Data(s.Rows(), user, room, typ)
		var content json.RawMessage
		if content, err = edit(e.Content); err != nil {
			return err
		}
		if content, err = checkData(typ, content); err != nil {
			return err
		}
		body := dataBody{User: user, Room: room, Type: typ, Content: content, If: &place{uint64(e.Place.Pos), e.Place.Index}}
		if _, err = s.submit(ctx, user, kindData, body); !errs.Is(err, errs.Conflict) {
			break
		}
	}
	return errs.Wrap(op, err)
}

// EditPushRules replaces the user's push rules, the whole content of m.push_rules, by what edit makes of them; edit gets nil
// while the server's default rules hold.
func (s *Service) EditPushRules(ctx context.Context, user id.UserID, edit func(json.RawMessage) (json.RawMessage, error)) error {
	return errs.Wrap("account.EditPushRules", s.EditData(ctx, user, "", TypePushRules, edit))
}

// DefineFilter stores a filter and returns its id, which follows from the content: a client that defines the same filter at each
// start writes it once. Errors: errs.NotJSON, errs.BadJSON, errs.TooLarge.
func (s *Service) DefineFilter(ctx context.Context, user id.UserID, filter json.RawMessage) (string, error) {
	const op = "account.DefineFilter"
	filter, err := compact(filter)
	if err != nil {
		return "", err
	}
	if filter[0] != '{' {
		return "", errs.New(op, errs.Invalid, errs.BadJSON, "a filter is a JSON object")
	}
	if len(filter) > MaxFilter {
		return "", errs.New(op, errs.TooLarge, "", "a filter has at most %d bytes", MaxFilter)
	}
	sum := sha256.Sum256(filter)
	name := base64.RawURLEncoding.EncodeToString(sum[:12])
	if Filter(s.Rows(), user, name) != nil {
		return name, nil
	}
	_, err = s.submit(ctx, user, kindFilter, filterBody{user, name, filter})
	return name, errs.Wrap(op, err)
}
