package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
	"bongsu/keys"
	"bongsu/room"
)

func (s *sim) create(rng *rand.Rand, name string) (r id.RoomID) {
	s.insist(rng, name+" makes a room", func(ctx context.Context, run *simRun) (err error) {
		r, err = run.rooms.Create(ctx, by(name), room.Creation{Preset: "public_chat"})
		return err
	})
	return r
}

// write makes a user's writes, one after the other.
func (s *sim) write(rng *rand.Rand, name string) {
	for i := range 25 {
		n := fmt.Sprintf("%s-%d", name, i)
		switch rng.IntN(17) {
		case 0, 1, 2:
			s.visit(rng, name)
		case 3:
			if r := s.create(rng, name); rng.IntN(3) == 0 {
				s.mu.Lock()
				s.lobby = append(s.lobby, r)
				s.mu.Unlock()
			}
		case 4, 5, 6:
			s.whisper(rng, name, n)
		case 7:
			s.insist(rng, name+" sets account data", func(ctx context.Context, run *simRun) error {
				return run.accounts.SetData(ctx, user(name), "", "sim."+fmt.Sprint(i%3), []byte(`{"n":"`+n+`"}`))
			})
		case 8:
			s.read(rng, name)
		case 9:
			own := s.home[slices.Index(names, name)] // where they have power
			s.insist(rng, name+" sets state", func(ctx context.Context, run *simRun) error {
				_, err := run.rooms.SendState(ctx, by(name), own, "sim.state", fmt.Sprint(i%2), []byte(`{"n":"`+n+`"}`))
				return err
			})
		case 10:
			s.upload(rng, name, n)
		case 11:
			s.mu.Lock()
			first := s.lobby[0]
			s.mu.Unlock()
			s.insist(rng, name+" kicks", func(ctx context.Context, run *simRun) error {
				return run.rooms.Kick(ctx, by(name), first, user(names[1+rng.IntN(3)]), "")
			}, errs.Forbidden) // most have no power, and who is not there cannot be kicked
		default:
			s.say(rng, s.home[rng.IntN(len(s.home))], name, n)
		}
	}
}

// say sends a message, once, and notes that it must be there. Forbidden is an answer where people come and go.
func (s *sim) say(rng *rand.Rand, in id.RoomID, name, n string) (e id.EventID) {
	var allowed []errs.Kind
	if !slices.Contains(s.home, in) {
		allowed = []errs.Kind{errs.Forbidden}
	}
	if s.insist(rng, name+" says "+n, func(ctx context.Context, run *simRun) (err error) {
		e, err = run.rooms.Send(ctx, by(name), in, event.TypeMessage, n, []byte(`{"body":"`+n+`"}`))
		return err
	}, allowed...) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts.acked++
		if s.kept[in] == nil {
			s.kept[in] = map[id.EventID]bool{}
		}
		s.kept[in][e] = true
	}
	return e
}

// visit comes to a room, says something there and mostly leaves again.
func (s *sim) visit(rng *rand.Rand, name string) {
	s.mu.Lock()
	in := s.lobby[rng.IntN(len(s.lobby))]
	s.mu.Unlock()
	s.insist(rng, name+" joins", func(ctx context.Context, run *simRun) error { return run.rooms.Join(ctx, by(name), in, "") })
	for range rng.IntN(3) {
		s.say(rng, in, name, fmt.Sprint(name, " ", rng.Uint64()))
	}
	if rng.IntN(3) > 0 {
		s.insist(rng, name+" leaves", func(ctx context.Context, run *simRun) error { return run.rooms.Leave(ctx, by(name), in, "") })
	}
}

// whisper sends a message to a device, or to all of a user.
func (s *sim) whisper(rng *rand.Rand, name, n string) {
	to, device := names[rng.IntN(len(names))], []id.DeviceID{"A", "B", "*"}[rng.IntN(3)]
	s.insist(rng, name+" whispers", func(ctx context.Context, run *simRun) error {
		return run.keys.Send(ctx, user(name), id.DeviceID(name), "sim.whisper", n,
			keys.Outgoing{user(to): {device: json.RawMessage(`{"n":"` + n + `"}`)}})
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range []id.DeviceID{"A", "B"} {
		if device == d || device == "*" {
			s.sent[to+"/"+string(d)] = append(s.sent[to+"/"+string(d)], n)
		}
	}
}

// upload gives a user's device other keys.
func (s *sim) upload(rng *rand.Rand, name, n string) {
	s.insist(rng, name+" uploads keys", func(ctx context.Context, run *simRun) error {
		_, err := run.keys.Upload(ctx, user(name), "A", keys.Upload{DeviceKeys: fmt.Appendf(nil,
			`{"user_id":"@%s:h","device_id":"A","algorithms":[],"keys":{"ed25519:A":%q},"signatures":{}}`, name, n)})
		return err
	})
}

// read says that a user has read a room up to its end, as some site knows it.
func (s *sim) read(rng *rand.Rand, name string) {
	in := s.home[rng.IntN(len(s.home))]
	s.insist(rng, name+" reads", func(ctx context.Context, run *simRun) error {
		v, ok := room.Open(run.r.Rows(), in)
		if !ok {
			return errDown()
		}
		e, ok := v.At(v.LastEvent)
		if !ok {
			return errDown()
		}
		return run.rooms.Receipt(ctx, user(name), in, []string{room.Read, room.ReadPrivate}[rng.IntN(2)], "", e.ID)
	})
}
