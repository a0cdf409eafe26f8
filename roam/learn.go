package roam

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Learn asks the kept site, or another that answers, for the list of all sites (/_bongsu/sites) and goes on with that. A pin is
// released. A list that is empty or wrong is an error and changes nothing.
func (t *Transport) Learn(ctx context.Context) error {
	t.mu.Lock()
	base := t.kept
	t.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("/_bongsu/sites").String(), nil)
	if err != nil {
		return err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("roam: list of sites: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("roam: list of sites: %s", resp.Status)
	}
	var list struct {
		Sites []struct {
			URL string `json:"url"`
		} `json:"sites"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&list); err != nil {
		return fmt.Errorf("roam: list of sites: %w", err)
	}
	var sites []string
	for _, s := range list.Sites {
		sites = append(sites, s.URL)
	}
	return t.set(sites)
}
