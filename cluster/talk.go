package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"bongsu/errs"
	"bongsu/link"
)

// The questions that sites ask each other.
const (
	pathHello   = "/cluster/hello"   // who are you, and what do you remember
	pathBoots   = "/cluster/boots"   // remember this, on stable storage
	pathBarrier = "/cluster/barrier" // show that you hold all that was acknowledged
)

const maxMessage = 64 << 10

// barrierBody is the question and, with the same content, the answer: for whom it is, and for which of its questions.
type barrierBody struct {
	Site   string `json:"site"`
	Boot   uint64 `json:"boot"`
	Ticket string `json:"ticket"`
}

func (m *Member) register() {
	m.cfg.Link.Handle("GET "+pathHello, http.HandlerFunc(m.answerHello))
	m.cfg.Link.Handle("POST "+pathBoots, http.HandlerFunc(m.answerBoots))
	m.cfg.Link.Handle("POST "+pathBarrier, http.HandlerFunc(m.answerBarrier))
}

// hello is what this site says of itself.
func (m *Member) hello() hello {
	rec := m.mem.now()
	m.mu.Lock()
	h := hello{State: m.state, Founded: rec.Founded, Running: m.engine != nil, Boots: rec.Boots, Ages: rec.Ages}
	e := m.engine
	m.mu.Unlock()
	if e != nil && e.SeenBoot != nil {
		for _, site := range m.cfg.Sites {
			h.Boots[site] = max(h.Boots[site], e.SeenBoot(site))
		}
	}
	return h
}

// note remembers what a site knows better, on stable storage.
func (m *Member) note(told hello) error {
	_, err := m.mem.change(func(r *record) bool { return r.merge(told.Boots, told.Ages, told.Founded) })
	m.update(func() {})
	return err
}

func (m *Member) answerHello(w http.ResponseWriter, _ *http.Request) { writeJSON(w, m.hello()) }

// answerBoots keeps what a site tells of all sites and answers with what was known before.
func (m *Member) answerBoots(w http.ResponseWriter, r *http.Request) {
	var told hello
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage)).Decode(&told); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	before := m.hello()
	if err := m.note(told); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, before)
}

// answerBarrier passes a barrier for a site that has lost its journal.
func (m *Member) answerBarrier(w http.ResponseWriter, r *http.Request) {
	site := link.From(r.Context())
	var b barrierBody
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage)).Decode(&b); err != nil || b.Site != site {
		http.Error(w, "the question is not from the site that it names", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), barrierTimeout)
	defer cancel()
	if err := m.passBarrier(ctx, site); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, b)
}

// passBarrier returns nil when this site holds every record that was acknowledged before the call, and site took no part meanwhile.
func (m *Member) passBarrier(ctx context.Context, site string) error {
	m.mu.Lock()
	e, state := m.engine, m.state
	m.mu.Unlock()
	if e == nil || state != Formed {
		return errors.New("its own journal is not complete yet")
	}
	apart := func() error {
		if e.Routed != nil && e.Routed(site) {
			return fmt.Errorf("its engine is still connected with one of site %s: another process runs there, or an old connection "+
				"has not ended yet", site)
		}
		return nil
	}
	if err := apart(); err != nil {
		return err
	}
	if err := e.Barrier(ctx); err != nil {
		return fmt.Errorf("it cannot append: %w", err)
	}
	return apart()
}

// greet asks a peer what it is and remembers.
func (m *Member) greet(ctx context.Context, site string) (h hello, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, pathHello, nil)
	if err == nil {
		err = m.call(ctx, site, req, &h)
	}
	return h, err
}

// askBarrier asks a peer to pass a barrier.
func (m *Member) askBarrier(ctx context.Context, site string) error {
	ask := barrierBody{Site: m.cfg.Site, Boot: m.cfg.Boot, Ticket: rand.Text()}
	var got barrierBody
	if err := m.tell(ctx, site, pathBarrier, ask, &got); err != nil {
		return err
	}
	if got != ask {
		return fmt.Errorf("site %s answered another question", site)
	}
	return nil
}

// gossip keeps telling a peer the newest boots, and learns from it, until the member is closed. It is how a site's run is
// remembered where the site itself has not been since.
func (m *Member) gossip(site string) {
	told := newRecord() // what the peer has kept
	idle := gossipEvery
	for {
		if now := m.mem.now(); idle >= gossipEvery || told.merge(now.Boots, now.Ages, now.Founded) {
			if err := m.exchange(m.ctx, site, now); err == nil {
				idle = 0
			} else {
				told = newRecord() // who knows what it has kept; the link logs why
			}
		}
		if !pause(m.ctx, askEvery) {
			return
		}
		idle += askEvery
	}
}

// exchange tells a peer what this site remembers.
func (m *Member) exchange(ctx context.Context, site string, rec record) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var before hello
	if err := m.tell(ctx, site, pathBoots, hello{Founded: rec.Founded, Boots: rec.Boots, Ages: rec.Ages}, &before); err != nil {
		return err
	}
	if err := m.note(before); err != nil {
		return err
	}
	m.update(func() { m.told[site] = max(m.told[site], rec.Boots[m.cfg.Site]) })
	return m.compare(site, before)
}

// compare looks whether a peer remembers a run of this site that its directory knows nothing of, though it was let in: that peer was
// not among those that were asked. What this site has promised since must not be trusted.
func (m *Member) compare(site string, before hello) error {
	newest, now := before.Boots[m.cfg.Site], m.mem.now()
	m.mu.Lock()
	stale := m.failed == nil && m.kept && (newest > m.prior && newest != m.boot || before.Ages[m.cfg.Site] > now.Age)
	m.mu.Unlock()
	if !stale {
		return nil
	}
	if _, err := m.mem.change(func(r *record) bool { r.Stale = true; return true }); err != nil {
		return err
	}
	err := fmt.Errorf("cluster: this site's data is a stale copy, as site %s remembers, which could not be asked at the start (its last run was %d "+
		"here, and %d there); start this site again, it will be filled by the others", site, runNumber(m.prior), runNumber(newest))
	m.update(func() { m.failed = err })
	m.log.Error("this process must stop", "err", err)
	return nil
}

// tell posts a message and reads the answer.
func (m *Member) tell(ctx context.Context, site, path string, message, answer any) error {
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	return m.call(ctx, site, req, answer)
}

// call sends a request to a peer and reads the answer. An error is in words.
func (m *Member) call(ctx context.Context, site string, req *http.Request, answer any) error {
	resp, err := m.cfg.Link.Do(ctx, site, req)
	if err != nil {
		var e *errs.Error
		if errors.As(err, &e) {
			return errors.New(e.Message)
		}
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMessage))
	switch {
	case err != nil:
		return fmt.Errorf("site %s: %w", site, err)
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("site %s is starting", site)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("site %s: %s", site, bytes.TrimSpace(text))
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("site %s: %w", site, err)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the caller went away
}
