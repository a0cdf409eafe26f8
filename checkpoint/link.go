package checkpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"bongsu/journal"
)

// What sites ask each other: the list of checkpoints, and the bytes of one, with ranges, so that a fetch that broke off goes on.

const (
	listPath = "/checkpoints"
	askLimit = 10 * time.Second // for a list
	maxList  = 1 << 20          // bytes of a list
)

func contentPath(e Entry) string { return fmt.Sprintf("%s/%d/%d", listPath, e.Partition, e.Pos) }

func (k *Keeper) serve() {
	k.cfg.Link.Handle("GET "+listPath, http.HandlerFunc(k.serveList))
	k.cfg.Link.Handle("GET "+listPath+"/{partition}/{pos}", http.HandlerFunc(k.serveContent))
}

func (k *Keeper) serveList(w http.ResponseWriter, r *http.Request) {
	if err := k.ready(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	text, err := json.Marshal(k.entries())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // whoever asked has gone, or will see that it is cut off
}

func (k *Keeper) serveContent(w http.ResponseWriter, r *http.Request) {
	p, errP := strconv.ParseUint(r.PathValue("partition"), 10, 16)
	pos, errPos := strconv.ParseUint(r.PathValue("pos"), 10, 64)
	list := k.of(journal.Partition(p))
	i := slices.IndexFunc(list, func(f file) bool { return f.Pos == journal.Position(pos) })
	if errP != nil || errPos != nil || i < 0 {
		http.Error(w, "there is no such checkpoint here", http.StatusNotFound)
		return
	}
	f, err := os.Open(list[i].path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer f.Close() //nolint:errcheck // it was only read
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+list[i].Tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// ask asks all other sites what they hold. absent are those that did not say, in order.
func (k *Keeper) ask(ctx context.Context) (lists map[string][]Entry, absent []string) {
	lists = map[string][]Entry{}
	if k.cfg.Link == nil {
		return lists, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var mu sync.Mutex
	var asks sync.WaitGroup
	for _, site := range k.cfg.Link.Peers() {
		asks.Go(func() {
			list, err := k.listOf(ctx, site)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				k.cfg.Log.Debug("checkpoint: no list", "site", site, "err", err)
				absent = append(absent, site)
				return
			}
			lists[site] = list
		})
	}
	asks.Wait()
	slices.Sort(absent)
	return lists, absent
}

func (k *Keeper) listOf(ctx context.Context, site string) ([]Entry, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, listPath, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := k.cfg.Link.Do(ctx, site, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", site, resp.Status)
	}
	var list []Entry
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxList)).Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w", site, err)
	}
	return list, nil
}
