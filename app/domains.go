package app

import (
	"context"
	"fmt"

	"bongsu/account"
	"bongsu/api/client"
	"bongsu/blob"
	"bongsu/checkpoint"
	"bongsu/ephemeral"
	"bongsu/feed"
	"bongsu/id"
	"bongsu/keys"
	"bongsu/kv"
	"bongsu/media"
	"bongsu/replica"
	"bongsu/room"
)

// domains are the services behind the edge.
type domains struct {
	accounts *account.Service
	sessions *account.Sessions
	watcher  *account.Watcher
	herald   *account.Herald
	rooms    *room.Service
	keys     *keys.Keys
	typing   *ephemeral.Typing
	presence *ephemeral.Presence // nil: switched off
	feed     *feed.Feed
	blobs    *blob.Mirror
	media    *media.Media

	checkpoints *checkpoint.Keeper
}

// machines are the state machines of all domains.
func machines() []replica.Machine {
	return []replica.Machine{account.Machine(), room.Machine(), keys.Machine(), media.Machine()}
}

// openDomains builds the state, the services that propose to it, and what listens to it; then it starts the state.
func (s *Server) openDomains(ctx context.Context, data *dataDir) (err error) {
	every, err := checkpointEvery()
	if err != nil {
		return err
	}
	if err := s.openCheckpoints(data, every); err != nil {
		return err
	}
	s.replica, err = replica.Open(ctx, replica.Config{
		DB: s.rows, Journal: s.journal, Rules: rulesVersion, Site: s.cfg.Site, Sites: s.sites(), Boot: data.boot,
		Queue: int(s.cfg.Disk.Queue), Stamps: s.stamps, Clock: s.clock, Log: s.log,
		Checkpoint: s.checkpoints.Fetch, CheckpointEvery: every,
		Snapshot: s.checkpoints.Take, Diverged: s.checkpoints.Distrust,
		Machines: machines(),
	})
	if err != nil {
		return err
	}
	s.onClose(func() error { s.replica.Close(); return nil })
	if s.site != nil {
		s.site.replica.Store(s.replica)
	}

	server := id.ServerName(s.cfg.ServerName)
	s.rooms = room.New(room.Config{Replica: s.replica, Server: server, Profile: profileOf,
		Admin: administers, MayInvite: account.MayInvite, Clock: s.clock, Log: s.log})
	s.onClose(func() error { s.rooms.Close(); return nil })
	s.herald = account.NewHerald(account.HeraldConfig{Replica: s.replica, Show: s.showAccount, Log: s.log})
	s.onClose(func() error { s.herald.Close(); return nil })
	accounts, err := s.accountConfig()
	if err != nil {
		return err
	}
	s.accounts = account.New(accounts)
	s.sessions = account.NewSessions(s.accounts)
	s.watcher = account.NewWatcher(s.accounts, s.clock.Now)
	s.onClose(func() error { s.watcher.Close(); return nil })
	s.keys = keys.New(keys.Config{Replica: s.replica, Server: server, Devices: devicesOf, CatchUp: s.replica.CatchUp})
	s.onClose(func() error { s.keys.Close(); return nil })
	if err := s.openMedia(data, server); err != nil {
		return err
	}
	origin := fmt.Sprintf("%s/%d", s.cfg.Site, data.boot)
	s.typing = ephemeral.New(ephemeral.Config{Clock: s.clock, Changed: func(room id.RoomID) { s.feed.TypingChanged(room) },
		Bus: s.journal, Origin: origin, Log: s.log})
	s.onClose(func() error { s.typing.Close(); return nil })
	if s.cfg.API.Presence == "on" {
		s.presence = ephemeral.NewPresence(ephemeral.PresenceConfig{Clock: s.clock, Bus: s.journal, Origin: origin, Log: s.log,
			Changed: func(user id.UserID) { s.feed.PresenceChanged(user) }})
	}
	s.feed = feed.New(feed.Config{Replica: s.replica, Typing: s.typing, Presence: s.presence, Site: s.cfg.Site, Boot: data.boot, Acked: s.keys.Acked,
		Clock: s.clock, Log: s.log})
	s.onClose(func() error { s.feed.Close(); return nil })
	if s.presence != nil {
		s.presence.Start()
		s.onClose(func() error { s.presence.Close(); return nil })
	}
	if err := s.replica.Start(ctx, s.committed); err != nil {
		return err
	}
	return s.goOn(ctx)
}

// committed tells those who remember something of the rows, or wait for them, what has become visible.
func (s *Server) committed(c replica.Commit) {
	s.sessions.Committed(c)
	s.feed.Committed(c)
	for _, n := range c.Notes {
		if n, ok := n.(media.Added); ok {
			s.blobs.Want(n.Hash)
		}
	}
}

func (s *Server) openMedia(data *dataDir, server id.ServerName) error {
	store, err := blob.Open(blob.Config{Dir: data.join("blobs"), Reserve: int64(s.cfg.Disk.DiskReserve)})
	if err != nil {
		return err
	}
	s.blobs = blob.OpenMirror(blob.MirrorConfig{Store: store, Link: s.plant.files(s.peers(), s.clock), Named: media.Named(s.replica), Clock: s.clock, Log: s.log})
	s.onClose(func() error { s.blobs.Close(); return nil })
	cache, err := blob.OpenCache(data.join("thumbnails"))
	if err != nil {
		return err
	}
	s.media = media.New(media.Config{Replica: s.replica, Blobs: s.blobs, Cache: cache, Server: server, MaxUpload: int64(s.cfg.API.MaxUpload)})
	return nil
}

// profileOf is what rooms show of an account that is open.
func profileOf(r kv.Reader, user id.UserID) (room.Profile, bool) {
	if a, ok := account.Find(r, user); !ok || a.Deactivated {
		return room.Profile{}, false
	}
	p := account.ProfileOf(r, user)
	return room.Profile{DisplayName: p.Displayname, AvatarURL: p.AvatarURL}, true
}

// administers says who administers the server.
func administers(r kv.Reader, user id.UserID) bool {
	a, ok := account.Find(r, user)
	return ok && a.Admin && !a.Deactivated
}

// devicesOf is what keys knows of an account.
func devicesOf(r kv.Reader, user id.UserID) []keys.Device {
	var out []keys.Device
	for _, d := range account.Devices(r, user) {
		out = append(out, keys.Device{ID: d.ID, Name: d.Name})
	}
	return out
}

// sessions shows the edge who a token belongs to.
type sessions struct{ *account.Sessions }

// Authenticate implements client.Sessions.
func (s sessions) Authenticate(ctx context.Context, token string) (client.Session, error) {
	ses, err := s.Sessions.Authenticate(ctx, token)
	return client.Session(ses), err
}
