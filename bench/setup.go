package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// user is an account on the server under test.
type user struct {
	ID    string `json:"user_id"`
	Token string `json:"access_token"`
}

// usersFile is what --users-file keeps.
type usersFile struct {
	Prefix string `json:"prefix"`
	Seed   uint64 `json:"seed"`
	Users  []user `json:"users"`
}

// setupPatience is how long one request of the setup is retried.
const setupPatience = 2 * time.Minute

// each runs do for 0 to n-1, workers at a time, each worker with one client, and stops at the first error.
func (s *servers) each(ctx context.Context, n, workers int, do func(ctx context.Context, c *client, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range min(workers, n) {
		wg.Go(func() {
			c := s.client(w, "")
			defer c.close()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, c, i); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// makeUsers gives n users, from the users file as far as it goes.
func (s *servers) makeUsers(ctx context.Context, cfg *Config, n int, progress func(done int)) ([]user, error) {
	kept, err := s.loadUsers(ctx, cfg)
	if err != nil {
		return nil, err
	}
	users := make([]user, max(n, len(kept))) // those that are not needed now stay in the file for a larger run
	have := copy(users, kept)
	var done atomic.Int64
	err = s.each(ctx, n-have, cfg.SetupWorkers, func(ctx context.Context, c *client, i int) (err error) {
		users[have+i], err = c.enter(ctx, cfg, have+i)
		progress(int(done.Add(1)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making users: %w", err)
	}
	if cfg.UsersFile != "" {
		b, err := json.MarshalIndent(usersFile{cfg.Prefix, cfg.Seed, users}, "", "\t")
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(cfg.UsersFile, append(b, '\n'), 0o600); err != nil {
			return nil, err
		}
	}
	return users[:n], nil
}

// loadUsers reads the users file, if there is one, and takes over its prefix and seed. Users that the server does not know any more are
// forgotten.
func (s *servers) loadUsers(ctx context.Context, cfg *Config) ([]user, error) {
	if cfg.UsersFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(cfg.UsersFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f usersFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.UsersFile, err)
	}
	if len(f.Users) == 0 {
		return nil, nil
	}
	cfg.Prefix, cfg.Seed = f.Prefix, f.Seed
	c := s.client(0, f.Users[0].Token)
	defer c.close()
	var api *apiError
	err = c.do(ctx, http.MethodGet, v3+"/account/whoami", nil, nil, setupPatience)
	if errors.As(err, &api) {
		return nil, nil // another server, or an empty one: register again under the same names
	}
	return f.Users, err
}

// enter registers user number n, or logs in if the name is taken.
func (c *client) enter(ctx context.Context, cfg *Config, n int) (user, error) {
	name := cfg.Prefix + "-" + strconv.FormatUint(cfg.Seed, 36) + "-" + strconv.Itoa(n)
	sum := sha256.Sum256([]byte(name))
	password := hex.EncodeToString(sum[:16])
	c.token = ""
	auth := map[string]string{"type": "m.login.dummy"}
	for {
		var u user
		in := map[string]any{"username": name, "password": password, "auth": auth}
		err := c.do(ctx, http.MethodPost, v3+"/register", in, &u, setupPatience)
		if err == nil {
			return u, nil
		}
		var e *apiError
		if !errors.As(err, &e) {
			return u, err
		}
		var uia struct {
			Session string `json:"session"`
		}
		_ = json.Unmarshal([]byte(e.body), &uia) // no session: then it is a refusal like any other
		switch {
		case e.status == http.StatusUnauthorized && uia.Session != "" && auth["session"] == "":
			auth["session"] = uia.Session
		case e.code == "M_USER_IN_USE":
			in := map[string]any{
				"type": "m.login.password", "password": password,
				"identifier": map[string]string{"type": "m.id.user", "user": name},
			}
			err := c.do(ctx, http.MethodPost, v3+"/login", in, &u, setupPatience)
			return u, err
		default:
			return u, err
		}
	}
}

// deal gives each of n rooms its members, so that every user is in as many rooms as any other, give or take one, and
// rooms overlap at random. members must not exceed users.
func deal(n, members, users int, seed uint64) [][]int {
	rng := rand.New(rand.NewPCG(seed, 3))
	var deck []int
	rooms := make([][]int, n)
	for i := range rooms {
		in := make(map[int]bool, members)
		var aside []int
		for len(rooms[i]) < members {
			if len(deck) == 0 {
				deck = rng.Perm(users)
			}
			u := deck[0]
			deck = deck[1:]
			if in[u] {
				aside = append(aside, u)
				continue
			}
			in[u] = true
			rooms[i] = append(rooms[i], u)
		}
		deck = append(aside, deck...)
	}
	return rooms
}

// makeRooms creates a private room for each list of members; the first of them invites the others, who join.
func (s *servers) makeRooms(ctx context.Context, cfg Config, users []user, memberships [][]int, progress func(done int)) ([]*room, error) {
	rooms := make([]*room, len(memberships))
	type join struct{ room, user int }
	var joins []join
	for i, m := range memberships {
		for _, u := range m[1:] {
			joins = append(joins, join{i, u})
		}
	}
	err := s.each(ctx, len(rooms), cfg.SetupWorkers, func(ctx context.Context, c *client, i int) error {
		m := memberships[i]
		in := map[string]any{"preset": "private_chat", "name": fmt.Sprintf("bench %d", i)}
		if cfg.RoomVersion != "" {
			in["room_version"] = cfg.RoomVersion
		}
		invite := []string{}
		for _, u := range m[1:] {
			invite = append(invite, users[u].ID)
		}
		in["invite"] = invite
		id, err := c.as(users[m[0]]).createRoom(ctx, in)
		rooms[i] = &room{id: id, users: m}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("making rooms: %w", err)
	}
	var done atomic.Int64
	err = s.each(ctx, len(joins), cfg.SetupWorkers, func(ctx context.Context, c *client, i int) error {
		j := joins[i]
		err := c.as(users[j.user]).join(ctx, rooms[j.room].id)
		progress(int(done.Add(1)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("joining rooms: %w", err)
	}
	return rooms, nil
}

// as makes the client u's.
func (c *client) as(u user) *client {
	c.token = u.Token
	return c
}

func (c *client) createRoom(ctx context.Context, in map[string]any) (string, error) {
	var out struct {
		RoomID string `json:"room_id"`
	}
	if err := c.do(ctx, http.MethodPost, v3+"/createRoom", in, &out, setupPatience); err != nil {
		return "", err
	}
	if out.RoomID == "" {
		return "", errors.New("createRoom answered without a room_id")
	}
	return out.RoomID, nil
}

func (c *client) join(ctx context.Context, roomID string) error {
	return c.do(ctx, http.MethodPost, v3+"/rooms/"+esc(roomID)+"/join", json.RawMessage("{}"), nil, setupPatience)
}
