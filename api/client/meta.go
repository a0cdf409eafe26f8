package client

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"sync"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/id"
)

// Meta holds what the server says about itself.
type Meta struct {
	Server    id.ServerName
	PublicURL string // base URL for .well-known, "https://chat.example.org"; empty: there is none
	Site      string // this site
	Sites     []Site // all sites, in an order of their own; empty: this one, if it has a PublicURL
	// SiteState is how a site looks from here: "up" or "unknown". Nil: nothing is said of it.
	SiteState func(site string) string
	Signer    crypto.Signer // Ed25519, the same at all sites: signs the list of sites; nil: it is not signed

	Support Support // whom people can ask for help; nobody: it is not told

	LoginToken bool                      // whether generateLoginToken is offered
	ThreePID   bool                      // whether addresses can be added to accounts
	Moderates  func(user id.UserID) bool // whether the user may lock and suspend accounts; nil: nobody may

	RoomVersions   map[string]string // version to "stable" or "unstable"; default 6 to 12, stable
	DefaultVersion string            // of new rooms; default "12"
	Unstable       map[string]bool   // unstable_features of /versions

	Health  func(ctx context.Context) error        // nil error: the site serves; required
	Status  func(ctx context.Context) (any, error) // marshalled for /_bongsu/status; required
	Metrics http.Handler                           // for /metrics; required

	signed func() (event.Object, error) // the list of sites
}

// Support says where people get help with this server. Specification: getWellknownSupport.
type Support struct {
	Contacts []Contact `json:"contacts,omitempty"`
	Page     string    `json:"support_page,omitempty"` // a URL
}

// Contact is somebody who runs the server.
type Contact struct {
	Role  string    `json:"role"` // "m.role.admin", "m.role.security"
	User  id.UserID `json:"matrix_id,omitempty"`
	Email string    `json:"email_address,omitempty"`
}

// specVersions are the versions of the specification whose form the API has. An endpoint of theirs that is not offered answers
// M_UNRECOGNIZED, and what is optional stands in the capabilities.
var specVersions = []string{
	"v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10",
	"v1.11", "v1.12", "v1.13", "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
}

// Routes are the endpoints about the server itself.
func (m Meta) Routes() []Route {
	if m.RoomVersions == nil {
		m.RoomVersions = map[string]string{}
		for _, v := range event.Versions() {
			m.RoomVersions[string(v)] = "stable"
		}
	}
	if m.DefaultVersion == "" {
		m.DefaultVersion = "12"
	}
	if m.Unstable == nil {
		m.Unstable = map[string]bool{msc4140: true}
	}
	m.signed = sync.OnceValues(m.signSites)
	return []Route{
		{Op: "getVersions", Method: "GET", Path: "/_matrix/client/versions", Auth: None, Static: true, Handle: m.getVersions},
		{Op: "getWellknown", Method: "GET", Path: "/.well-known/matrix/client", Auth: None, Static: true, Handle: m.getWellknown},
		{Op: "getWellknownSupport", Method: "GET", Path: "/.well-known/matrix/support", Auth: None, Static: true, Handle: m.getWellknownSupport},
		{Op: "getSites", Method: "GET", Path: "/_bongsu/sites", Auth: None, Static: true, Handle: m.getSites},
		{Op: "getCapabilities", Method: "GET", Path: "/_matrix/client/v3/capabilities", Handle: m.getCapabilities},
		{Op: "health", Method: "GET", Path: "/health", Auth: None, Static: true, Handle: m.health},
		{Op: "status", Method: "GET", Path: "/_bongsu/status", Auth: None, Static: true, Handle: m.status},
		{Op: "metrics", Method: "GET", Path: "/metrics", Auth: None, Static: true, Handle: m.metrics},
	}
}

func (m Meta) getVersions(context.Context, *Request) (any, error) {
	return struct {
		Versions []string        `json:"versions"`
		Unstable map[string]bool `json:"unstable_features"`
	}{specVersions, m.Unstable}, nil
}

func (m Meta) getWellknown(context.Context, *Request) (any, error) {
	if m.PublicURL == "" {
		return nil, errs.New("api.getWellknown", errs.NotFound, "", "this server has no public URL configured")
	}
	type homeserver struct {
		BaseURL string `json:"base_url"`
	}
	return struct {
		Homeserver homeserver `json:"m.homeserver"`
		Sites      []Site     `json:"org.bongsu.sites,omitempty"` // for clients that know more than one URL; see getSites
	}{homeserver{m.PublicURL}, m.Sites}, nil
}

func (m Meta) getWellknownSupport(context.Context, *Request) (any, error) {
	if m.Support.Page == "" && len(m.Support.Contacts) == 0 {
		return nil, errs.New("api.getWellknownSupport", errs.NotFound, "", "this server does not say whom to ask for help")
	}
	return m.Support, nil
}

func (m Meta) getCapabilities(_ context.Context, rq *Request) (any, error) {
	type enabled struct {
		Enabled bool `json:"enabled"`
	}
	type roomVersions struct {
		Default   string            `json:"default"`
		Available map[string]string `json:"available"`
	}
	type moderation struct {
		Suspend bool `json:"suspend"`
		Lock    bool `json:"lock"`
	}
	type capabilities struct {
		ChangePassword enabled      `json:"m.change_password"`
		RoomVersions   roomVersions `json:"m.room_versions"`
		Displayname    enabled      `json:"m.set_displayname"`
		AvatarURL      enabled      `json:"m.set_avatar_url"`
		ThreePID       enabled      `json:"m.3pid_changes"`
		LoginToken     enabled      `json:"m.get_login_token"`
		ProfileFields  enabled      `json:"m.profile_fields"`
		Moderation     *moderation  `json:"m.account_moderation,omitempty"`
	}
	yes := enabled{true}
	var moderates *moderation
	if m.Moderates != nil && m.Moderates(rq.User()) {
		moderates = &moderation{true, true}
	}
	return struct {
		Capabilities capabilities `json:"capabilities"`
	}{capabilities{
		ChangePassword: yes, RoomVersions: roomVersions{m.DefaultVersion, m.RoomVersions},
		Displayname: yes, AvatarURL: yes, ThreePID: enabled{m.ThreePID}, LoginToken: enabled{m.LoginToken}, ProfileFields: yes,
		Moderation: moderates,
	}}, nil
}

// health is for load balancers: 200, or 503 when this site should get no requests. A site that cannot write can be read, and may be
// the last one: it is well, unless it was asked with ?write, as a balancer does that prefers sites which can do both.
func (m Meta) health(ctx context.Context, rq *Request) (any, error) {
	const op = "api.health"
	state := rq.api.cfg.State
	if err := errors.Join(m.Health(ctx), state.Serving()); err != nil {
		return nil, &errs.Error{Op: op, Kind: errs.Unavailable, Message: "this site does not serve now", Err: err}
	}
	query, err := rq.values()
	if err != nil {
		return nil, err
	}
	type health struct {
		Status string `json:"status"`
		Reason string `json:"reason,omitempty"`
	}
	if err := state.Writable(); err != nil {
		if _, write := query["write"]; write {
			return nil, notNow(err)
		}
		return health{"read-only", words(err)}, nil
	}
	return health{Status: "ok"}, nil
}

func (m Meta) status(ctx context.Context, _ *Request) (any, error) {
	s, err := m.Status(ctx)
	return s, errs.Wrap("api.status", err)
}

func (m Meta) metrics(context.Context, *Request) (any, error) { return m.Metrics, nil }
