package keys

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// Query is what Keys.Query found; the form is that of the response of keys/query. Users and devices that are not known are
// absent.
type Query struct {
	Failures    map[string]struct{}                           `json:"failures"`
	DeviceKeys  map[id.UserID]map[id.DeviceID]json.RawMessage `json:"device_keys"`
	MasterKeys  map[id.UserID]json.RawMessage                 `json:"master_keys"`
	SelfSigning map[id.UserID]json.RawMessage                 `json:"self_signing_keys"`
	UserSigning map[id.UserID]json.RawMessage                 `json:"user_signing_keys"` // the asking user's own
}

// Query finds the keys of devices as viewer may see them: of each user the devices in the list, or all of them if it is empty.
//
// Who asks was told that something has changed, perhaps by another site, takes the answer for all there is, and does not ask again. So
// the site catches up first, and a site that cannot answers Unavailable.
func (k *Keys) Query(ctx context.Context, viewer id.UserID, wanted map[id.UserID][]id.DeviceID) (*Query, error) {
	if err := k.catchUp(ctx); err != nil {
		return nil, errs.Wrap("keys.Query", err)
	}
	devices, _ := k.known(wanted)
	q := &Query{
		Failures: map[string]struct{}{}, DeviceKeys: map[id.UserID]map[id.DeviceID]json.RawMessage{},
		MasterKeys: map[id.UserID]json.RawMessage{}, SelfSigning: map[id.UserID]json.RawMessage{},
		UserSigning: map[id.UserID]json.RawMessage{},
	}
	view := k.cfg.Replica.View()
	defer view.Close()
	for user, names := range devices {
		if len(names) == 0 {
			continue
		}
		list := wanted[user]
		if len(list) == 0 {
			list = slices.Collect(maps.Keys(names))
		}
		found := map[id.DeviceID]json.RawMessage{}
		for _, device := range list {
			name, ok := names[device]
			d, has := readDevice(view, user, device)
			if !ok || !has {
				continue
			}
			obj := seenBy(view, viewer, user, string(device), d.keys).With("unsigned", unsigned(name))
			found[device] = json.RawMessage(obj)
		}
		q.DeviceKeys[user] = found
		q.addCross(view, viewer, user)
	}
	return q, nil
}

func (q *Query) addCross(r kv.Reader, viewer, user id.UserID) {
	for _, p := range purposes() {
		key := event.Object(r.Get(crossKey(user, p)))
		if key == nil {
			continue
		}
		switch p {
		case Master:
			q.MasterKeys[user] = json.RawMessage(seenBy(r, viewer, user, publicKey(key), key))
		case SelfSigning:
			q.SelfSigning[user] = json.RawMessage(key)
		case UserSigning:
			if user == viewer {
				q.UserSigning[user] = json.RawMessage(key)
			}
		}
	}
}

func unsigned(name string) []byte {
	if name == "" {
		return []byte("{}")
	}
	return append(event.AppendString([]byte(`{"device_display_name":`), name), '}')
}

// seenBy is a key object with the signatures that were added to it: those of its owner, and those of the viewer.
func seenBy(r kv.Reader, viewer, owner id.UserID, key string, obj event.Object) event.Object {
	signers := []id.UserID{owner, viewer}
	if viewer == owner {
		signers = signers[:1]
	}
	for _, signer := range signers {
		added := signaturesBy(r, signer, owner, key)
		if added == nil {
			continue
		}
		all := obj.Object("signatures")
		if all == nil {
			all = event.Object("{}")
		}
		of := all.Object(string(signer))
		if of == nil {
			of = event.Object("{}")
		}
		for keyID, sig := range added.All() {
			of = of.With(keyID, sig)
		}
		obj = obj.With("signatures", all.With(string(signer), of))
	}
	return obj
}

// atOnce is how many proposals of one request are on their way at a time.
const atOnce = 64

// Claims is the answer of Keys.Claim in the form of the response of keys/claim.
type Claims struct {
	Failures    map[id.ServerName]struct{} `json:"failures"`
	OneTimeKeys map[id.UserID]Claimed      `json:"one_time_keys"`
}

// Claim takes a one-time key, or else the fallback key, of each device: user, device, algorithm. Devices without keys are absent
// from the answer. If some users' keys could be claimed and others' not, the answer has the former and names the server as
// failed, since what was claimed cannot be given back.
func (k *Keys) Claim(ctx context.Context, asker id.UserID, wanted map[id.UserID]map[id.DeviceID]string) (*Claims, error) {
	lists := make(map[id.UserID][]id.DeviceID, len(wanted))
	for user, devices := range wanted {
		lists[user] = slices.Sorted(maps.Keys(devices))
	}
	devices, err := k.devices(ctx, lists)
	if err != nil {
		return nil, err
	}
	out := &Claims{Failures: map[id.ServerName]struct{}{}, OneTimeKeys: map[id.UserID]Claimed{}}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		slots = make(chan struct{}, atOnce)
		fault error
	)
	for _, user := range slices.Sorted(maps.Keys(devices)) {
		b := claimBody{User: user}
		for _, d := range lists[user] {
			if _, ok := devices[user][d]; ok {
				b.Want = append(b.Want, claimWant{d, wanted[user][d]})
			}
		}
		if len(b.Want) == 0 {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			res := Claimed{}
			p := replica.Proposal{Kind: kindClaim, Slot: id.SlotOf(user), Body: replica.Marshal(b), Lane: string(asker)}
			err := k.submit(ctx, "keys.Claim", p, &res)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				fault = err
			} else if len(res) > 0 {
				out.OneTimeKeys[user] = res
			}
		})
	}
	wg.Wait()
	if fault != nil {
		if len(out.OneTimeKeys) == 0 {
			return nil, errs.Wrap("keys.Claim", fault)
		}
		out.Failures[k.cfg.Server] = struct{}{}
	}
	return out, nil
}
