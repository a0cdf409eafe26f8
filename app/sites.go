package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"bongsu/errs"
)

// ClusterStatus is every site's status, gathered by one of them.
type ClusterStatus struct {
	Cluster string     `json:"cluster,omitempty"` // none: a single node
	From    string     `json:"from"`              // the site that has gathered it
	Sites   []SiteView `json:"sites"`
}

// SiteView is what a site says of itself.
type SiteView struct {
	Site   string  `json:"site"`
	Error  string  `json:"error,omitempty"` // why it says nothing
	Status *Status `json:"status,omitempty"`
}

// askSiteFor is how long a site may take to answer another one's question for an operator.
const askSiteFor = 3 * time.Second

// operator is what an operator can do at all sites from any of them; it implements admin.Sites.
type operator struct{ s *Server }

// serveSites answers the other sites' questions.
func (s *Server) serveSites() {
	if s.site == nil {
		return
	}
	s.site.link.Handle("GET /status", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		st, err := s.status(r.Context())
		answer(w, st, err)
	}))
	s.site.link.Handle("PUT /drained/{on}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, s.drain(r.Context(), r.PathValue("on") == "true"))
	}))
}

// answer writes what another site asked for.
func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, words(err), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the other site sees that the answer is cut short
}

// Status asks every site.
func (o operator) Status(ctx context.Context) (any, error) {
	s := o.s
	st := s.look()
	all := ClusterStatus{Cluster: s.cfg.Cluster.ID, From: s.cfg.Site}
	if s.site == nil {
		all.Sites = []SiteView{{Site: s.cfg.Site, Status: &st}}
		return all, nil
	}
	all.Sites = make([]SiteView, len(s.site.settings.Sites))
	var asked sync.WaitGroup
	for i, other := range s.site.settings.Sites {
		v := &all.Sites[i]
		if v.Site = other.Name; v.Site == s.cfg.Site {
			v.Status = &st
			continue
		}
		asked.Go(func() {
			var got Status
			if err := s.ask(ctx, v.Site, http.MethodGet, "/status", &got); err != nil {
				v.Error = err.Error()
				return
			}
			v.Status = &got
		})
	}
	asked.Wait()
	return all, nil
}

// Drain has a site drained, or take part again.
func (o operator) Drain(ctx context.Context, name string, on bool) error {
	s := o.s
	if name == s.cfg.Site {
		return s.drain(ctx, on)
	}
	if s.site != nil {
		for _, other := range s.site.settings.Sites {
			if other.Name == name {
				return s.ask(ctx, name, http.MethodPut, fmt.Sprintf("/drained/%v", on), nil)
			}
		}
	}
	return errs.New("app.Drain", errs.NotFound, "", "there is no site %q here", name)
}

// ask puts a small question to another site.
func (s *Server) ask(ctx context.Context, name, method, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, askSiteFor)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, path, nil)
	if err != nil {
		return err
	}
	resp, err := s.site.link.Do(ctx, name, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", name, resp.Status, strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// drain makes this site give up what it leads and send new clients away (its /health fails), or take part again. What it is asked
// meanwhile it answers as ever.
func (s *Server) drain(ctx context.Context, on bool) error {
	s.drained.Store(on)
	if !on {
		s.journal.Undrain()
		s.log.Info("this site takes part again")
		return nil
	}
	s.log.Info("this site is drained: it gives up what it leads, and /health sends clients away")
	return s.journal.Drain(ctx)
}
