package client

import (
	"context"
	"encoding/json"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/keys"
)

// Keys holds what the handlers of end-to-end encryption need.
type Keys struct {
	Service *keys.Keys // required

	// Changes are whose devices changed between two sync tokens, and whose no longer concern the user; required.
	Changes func(ctx context.Context, user id.UserID, from, to string) (changed, left []id.UserID, err error)
	// Confirm lets the user confirm with a password that cross-signing keys may be replaced: answer is the challenge to be sent
	// instead, or nil once it is passed. Nil: they cannot be replaced.
	Confirm func(ctx context.Context, rq *Request, auth json.RawMessage) (answer any, err error)
}

// Routes are the endpoints of keys and of messages to devices.
func (k Keys) Routes() []Route {
	const v3 = "/_matrix/client/v3"
	return append([]Route{
		{Op: "uploadKeys", Class: Text, Method: "POST", Path: v3 + "/keys/upload", Handle: k.uploadKeys},
		{Op: "queryKeys", Class: Text, Method: "POST", Path: v3 + "/keys/query", Local: true, Handle: k.queryKeys},
		{Op: "claimKeys", Class: Text, Method: "POST", Path: v3 + "/keys/claim", Handle: k.claimKeys},
		{Op: "getKeysChanges", Class: Text, Method: "GET", Path: v3 + "/keys/changes", Handle: k.getKeysChanges},
		{Op: "uploadCrossSigningKeys", Method: "POST", Path: v3 + "/keys/device_signing/upload", Handle: k.uploadCrossSigningKeys},
		{Op: "uploadCrossSigningSignatures", Method: "POST", Path: v3 + "/keys/signatures/upload",
			Handle: k.uploadCrossSigningSignatures},
		{Op: "sendToDevice", Class: Text, Method: "PUT", Path: v3 + "/sendToDevice/{eventType}/{txnId}", MaxBody: 4 << 20,
			Limit: LimitSend, Handle: k.sendToDevice},
	}, k.backupRoutes()...)
}

func (k Keys) uploadKeys(ctx context.Context, rq *Request) (any, error) {
	var in keys.Upload
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	counts, err := k.Service.Upload(ctx, rq.User(), rq.Device(), in)
	return struct {
		Counts map[string]int `json:"one_time_key_counts"`
	}{counts}, err
}

func (k Keys) queryKeys(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		DeviceKeys map[string][]id.DeviceID `json:"device_keys"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.DeviceKeys == nil {
		return nil, missing("device_keys")
	}
	wanted, err := byUser(in.DeviceKeys)
	if err != nil {
		return nil, err
	}
	return k.Service.Query(ctx, rq.User(), wanted)
}

func (k Keys) claimKeys(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		OneTimeKeys map[string]map[id.DeviceID]string `json:"one_time_keys"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	if in.OneTimeKeys == nil {
		return nil, missing("one_time_keys")
	}
	wanted, err := byUser(in.OneTimeKeys)
	if err != nil {
		return nil, err
	}
	return k.Service.Claim(ctx, rq.User(), wanted)
}

func missing(name string) error {
	return errs.New("api.body", errs.Invalid, errs.MissingParam, "%q is missing", name)
}

// byUser parses the user ids that are the keys of m.
func byUser[V any](m map[string]V) (map[id.UserID]V, error) {
	out := make(map[id.UserID]V, len(m))
	for s, v := range m {
		user, err := id.ParseUserID(s)
		if err != nil {
			return nil, err
		}
		out[user] = v
	}
	return out, nil
}

func (k Keys) getKeysChanges(ctx context.Context, rq *Request) (any, error) {
	var tokens [2]string
	for i, name := range []string{"from", "to"} {
		v, err := rq.Query(name)
		if err != nil {
			return nil, err
		}
		if v == "" {
			return nil, missing(name)
		}
		tokens[i] = v
	}
	changed, left, err := k.Changes(ctx, rq.User(), tokens[0], tokens[1])
	if err != nil {
		return nil, err
	}
	return struct {
		Changed []id.UserID `json:"changed"`
		Left    []id.UserID `json:"left"`
	}{append([]id.UserID{}, changed...), append([]id.UserID{}, left...)}, nil
}

func (k Keys) uploadCrossSigningKeys(ctx context.Context, rq *Request) (any, error) {
	var in struct {
		keys.CrossSigning
		Auth json.RawMessage `json:"auth"`
	}
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	confirm, err := k.Service.UploadCrossSigning(ctx, rq.User(), in.CrossSigning, false)
	if err != nil || !confirm {
		return nil, err
	}
	if k.Confirm == nil {
		return nil, errs.New("api.uploadCrossSigningKeys", errs.Forbidden, "", "cross-signing keys cannot be replaced here")
	}
	answer, err := k.Confirm(ctx, rq, in.Auth)
	if err != nil || answer != nil {
		return answer, err
	}
	_, err = k.Service.UploadCrossSigning(ctx, rq.User(), in.CrossSigning, true)
	return nil, err
}

func (k Keys) uploadCrossSigningSignatures(ctx context.Context, rq *Request) (any, error) {
	var in map[string]map[string]json.RawMessage
	if err := rq.Decode(&in); err != nil {
		return nil, err
	}
	signed, err := byUser(in)
	if err != nil {
		return nil, err
	}
	failures, err := k.Service.Sign(ctx, rq.User(), signed)
	if err != nil {
		return nil, err
	}
	out := map[id.UserID]map[string]errorBody{}
	for user, of := range failures {
		out[user] = map[string]errorBody{}
		for key, e := range of {
			out[user][key] = errorBody{Errcode: lookup(e.Kind, e.Code).Errcode, Error: e.Message}
		}
	}
	return struct {
		Failures map[id.UserID]map[string]errorBody `json:"failures"`
	}{out}, nil
}
