package keys

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Device is a device as the account knows it.
type Device struct {
	ID   id.DeviceID
	Name string // display name, or empty
}

// Config says what the service works on.
type Config struct {
	Replica *replica.Replica
	Server  id.ServerName // whose users are here
	// Devices are the devices of a user's account, in any order; required.
	Devices func(r kv.Reader, user id.UserID) []Device
	// CatchUp brings local state up to date before keys are shown and before a device is taken for unknown; nil: it always is.
	CatchUp func(ctx context.Context) error
}

// Keys is the service. It is safe for concurrent use.
type Keys struct {
	cfg Config

	mu    sync.Mutex
	acks  map[ackFor]replica.Place // acknowledgements that wait
	ready chan struct{}
	stop  chan struct{}
	done  sync.WaitGroup
}

// New starts the service; Close ends it.
func New(cfg Config) *Keys {
	k := &Keys{cfg: cfg, acks: map[ackFor]replica.Place{}, ready: make(chan struct{}, 1), stop: make(chan struct{})}
	k.done.Go(k.acknowledge)
	return k
}

// Close ends the service. Acknowledgements that wait are dropped: the device repeats them with its next sync.
func (k *Keys) Close() {
	close(k.stop)
	k.done.Wait()
}

// Upload is the body of keys/upload.
type Upload struct {
	DeviceKeys   json.RawMessage            `json:"device_keys"`
	OneTimeKeys  map[string]json.RawMessage `json:"one_time_keys"`
	FallbackKeys map[string]json.RawMessage `json:"fallback_keys"`
}

// Upload stores keys of a device and returns how many one-time keys it has now, by algorithm. Errors: Invalid, for keys of
// another device, malformed keys and a one-time key that was there with another value.
func (k *Keys) Upload(ctx context.Context, user id.UserID, device id.DeviceID, up Upload) (map[string]int, error) {
	const op = "keys.Upload"
	b := uploadBody{User: user, Device: device}
	var err error
	if len(up.DeviceKeys) > 0 && string(up.DeviceKeys) != "null" {
		obj, err := parseDeviceKeys(user, device, up.DeviceKeys)
		if err != nil {
			return nil, err
		}
		b.Keys = json.RawMessage(obj)
	}
	if b.OneTime, err = parseKeys(up.OneTimeKeys); err != nil {
		return nil, err
	}
	if b.Fallback, err = parseKeys(up.FallbackKeys); err != nil {
		return nil, err
	}
	for i := 1; i < len(b.Fallback); i++ {
		if b.Fallback[i].Algorithm == b.Fallback[i-1].Algorithm {
			return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "there are two fallback keys of %s", b.Fallback[i].Algorithm)
		}
	}
	if b.Keys == nil && b.OneTime == nil && b.Fallback == nil { // clients ask for the counts like that
		return readSummary(k.cfg.Replica.Rows(), user, device).counts, nil
	}
	var res uploadResult
	err = k.propose(ctx, op, user, kindUpload, b, &res)
	return res.Counts, err
}

// propose proposes a change that a user makes in their own slot.
func (k *Keys) propose(ctx context.Context, op string, user id.UserID, kind string, body, out any) error {
	return k.submit(ctx, op, replica.Proposal{Kind: kind, Slot: id.SlotOf(user), Body: replica.Marshal(body), Lane: string(user)}, out)
}

// submit proposes a change and decodes the result of its verdict into out, if there is one.
func (k *Keys) submit(ctx context.Context, op string, p replica.Proposal, out any) error {
	res, err := k.cfg.Replica.Submit(ctx, p)
	if err == nil && len(res) > 0 && out != nil {
		err = json.Unmarshal(res, out)
	}
	return errs.Wrap(op, err)
}

const maxKey = 64 << 10

// parseObject makes raw canonical; it must be a JSON object.
func parseObject(what string, raw json.RawMessage) (event.Object, error) {
	const op = "keys.parse"
	if len(raw) > maxKey {
		return nil, errs.New(op, errs.TooLarge, "", "%s is larger than %d bytes", what, maxKey)
	}
	obj, err := event.Canonical(nil, raw)
	if err != nil {
		return nil, err
	}
	if obj[0] != '{' {
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "%s is not an object", what)
	}
	return obj, nil
}

// parseDeviceKeys checks what a device says about itself. Specification: DeviceKeys.
func parseDeviceKeys(user id.UserID, device id.DeviceID, raw json.RawMessage) (event.Object, error) {
	const op = "keys.Upload"
	keys, err := parseObject("device_keys", raw)
	if err != nil {
		return nil, err
	}
	var form struct {
		User       *string         `json:"user_id"`
		Device     *string         `json:"device_id"`
		Algorithms []text          `json:"algorithms"`
		Keys       map[string]text `json:"keys"`
		Signatures signatures      `json:"signatures"`
	}
	if json.Unmarshal(keys, &form) != nil || form.User == nil || form.Device == nil || form.Algorithms == nil ||
		form.Keys == nil || !form.Signatures.sound() {
		return nil, errs.New(op, errs.Invalid, errs.BadJSON, "device_keys does not have the right shape")
	}
	if *form.User != string(user) || *form.Device != string(device) {
		return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "these are the keys of another device")
	}
	return keys.Without("unsigned"), nil
}

// parseKeys checks one-time or fallback keys, "algorithm:id" -> key, and sorts them.
func parseKeys(in map[string]json.RawMessage) ([]keyBody, error) {
	const op = "keys.Upload"
	var out []keyBody
	for name, raw := range in {
		algorithm, keyID, ok := strings.Cut(name, ":")
		if !ok || algorithm == "" || keyID == "" || len(name) > id.MaxLen {
			return nil, errs.New(op, errs.Invalid, errs.InvalidParam, "a key's name is \"algorithm:id\", not %q", name)
		}
		if len(raw) > maxKey {
			return nil, errs.New(op, errs.TooLarge, "", "the key %s is larger than %d bytes", name, maxKey)
		}
		key, err := event.Canonical(nil, raw)
		if err != nil {
			return nil, err
		}
		if key[0] != '"' && !isKeyObject(key) {
			return nil, errs.New(op, errs.Invalid, errs.BadJSON, "the key %s does not have the right shape", name)
		}
		out = append(out, keyBody{Algorithm: algorithm, ID: keyID, Key: key})
	}
	slices.SortFunc(out, func(a, b keyBody) int { return strings.Compare(a.name(), b.name()) })
	return out, nil
}

// isKeyObject reports whether a key has the form of a signed one. Specification: OneTimeKeys, KeyObject.
func isKeyObject(raw []byte) bool {
	var form struct {
		Key        *string    `json:"key"`
		Signatures signatures `json:"signatures"`
	}
	return raw[0] == '{' && json.Unmarshal(raw, &form) == nil && form.Key != nil && form.Signatures.sound()
}

// text is a string that must not be null: what devices upload is handed out as it is, to clients that may not expect that.
type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	if raw[0] != '"' {
		return errs.New("keys.parse", errs.Invalid, errs.BadJSON, "not a string")
	}
	return json.Unmarshal(raw, (*string)(t))
}

// signatures are those of a signed object: user -> key id -> signature.
type signatures map[string]map[string]text

// sound reports whether s is there, and all of it.
func (s signatures) sound() bool {
	for _, of := range s {
		if of == nil {
			return false
		}
	}
	return s != nil
}

// local reports whether a user's keys would be here.
func (k *Keys) local(user id.UserID) bool { return user.Server() == k.cfg.Server }

// devices are the devices of each of some users, ids to names. wanted says which ones somebody asks about; if one of them is
// not there, local state is brought up to date before that is believed.
func (k *Keys) devices(ctx context.Context, wanted map[id.UserID][]id.DeviceID) (map[id.UserID]map[id.DeviceID]string, error) {
	found, all := k.known(wanted)
	if all {
		return found, nil
	}
	if err := k.catchUp(ctx); err != nil {
		return nil, errs.Wrap("keys.devices", err)
	}
	found, _ = k.known(wanted)
	return found, nil
}

// catchUp brings local state up to date.
func (k *Keys) catchUp(ctx context.Context) error {
	if k.cfg.CatchUp == nil {
		return nil
	}
	return k.cfg.CatchUp(ctx)
}

// known are the devices of some users as far as this site knows, and whether all that are wanted are among them.
func (k *Keys) known(wanted map[id.UserID][]id.DeviceID) (found map[id.UserID]map[id.DeviceID]string, all bool) {
	found, all = map[id.UserID]map[id.DeviceID]string{}, true
	view := k.cfg.Replica.View()
	defer view.Close()
	for user, devices := range wanted {
		if !k.local(user) {
			continue
		}
		names := map[id.DeviceID]string{}
		for _, d := range k.cfg.Devices(view, user) {
			names[d.ID] = d.Name
		}
		found[user] = names
		all = all && len(names) > 0
		for _, d := range devices {
			_, ok := names[d]
			all = all && (ok || d == everyDevice)
		}
	}
	return found, all
}
