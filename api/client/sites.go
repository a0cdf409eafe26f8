package client

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"

	"bongsu/errs"
	"bongsu/event"
)

// Site is a site as clients reach it.
type Site struct {
	Name    string `json:"name"`
	BaseURL string `json:"base_url"`
}

// verifyKey is the public half of the key that signs the list of sites.
type verifyKey struct {
	ID  string `json:"key_id"` // "ed25519:" and the beginning of its hash
	Key string `json:"key"`    // unpadded base64
}

// signedSites is what is signed of the list: what every site says alike.
type signedSites struct {
	Server string     `json:"server_name"`
	Sites  []Site     `json:"sites"`
	Key    *verifyKey `json:"verify_key,omitempty"`
}

// siteStates stands beside what is signed: how the sites look from the one that answers.
type siteStates struct {
	From   string            `json:"from,omitempty"`
	States map[string]string `json:"states,omitempty"`
}

// signSites is the list of sites in canonical JSON, with a signature if there is a key. The signature is made as those of events are:
// over the canonical JSON without "signatures" and "unsigned". Specification: appendices, "Signing JSON".
func (m Meta) signSites() (event.Object, error) {
	list := signedSites{Server: string(m.Server), Sites: m.sites()}
	if m.Signer != nil {
		public, ok := m.Signer.Public().(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("api/client: the key that signs the list of sites is not an Ed25519 key")
		}
		sum := sha256.Sum256(public)
		list.Key = &verifyKey{"ed25519:" + base64.RawURLEncoding.EncodeToString(sum[:6]), base64.RawStdEncoding.EncodeToString(public)}
	}
	plain, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	out, err := event.Canonical(nil, plain)
	if err != nil || list.Key == nil {
		return out, err
	}
	sig, err := m.Signer.Sign(rand.Reader, out, crypto.Hash(0))
	if err != nil {
		return nil, err
	}
	signatures, err := json.Marshal(map[string]map[string]string{
		list.Server: {list.Key.ID: base64.RawStdEncoding.EncodeToString(sig)},
	})
	if err != nil {
		return nil, err
	}
	return event.Object(out).With("signatures", signatures), nil
}

// sites are all sites that clients can reach; a single node is one.
func (m Meta) sites() []Site {
	switch {
	case len(m.Sites) > 0:
		return m.Sites
	case m.PublicURL != "":
		return []Site{{Name: m.Site, BaseURL: m.PublicURL}}
	}
	return []Site{}
}

// getSites tells a client where else it can go when this site burns. It should be kept: it is of use when no site answers that
// the client knows.
func (m Meta) getSites(context.Context, *Request) (any, error) {
	list, err := m.signed()
	if err != nil {
		return nil, errs.Wrap("api.getSites", err)
	}
	seen := siteStates{From: m.Site}
	if m.SiteState != nil {
		seen.States = map[string]string{}
		for _, s := range m.sites() {
			seen.States[s.Name] = m.SiteState(s.Name)
		}
	}
	unsigned, err := json.Marshal(seen)
	if err != nil {
		return nil, errs.Wrap("api.getSites", err)
	}
	return Raw(list.With("unsigned", unsigned)), nil
}
