package jet

import (
	"testing"
	"testing/synctest"
	"time"
)

// A leader yields to a site that hears all when two sites lose sight of each other, and not because a site that comes back is heard by
// another one first.
func TestOutsighted(t *testing.T) {
	for _, c := range []struct {
		name   string
		silent time.Duration // of busan, for this site
		there  time.Duration // and for chuncheon
		after  time.Duration // this is asked once more
		want   [2]bool
	}{
		{"all are heard", 0, 0, time.Hour, [2]bool{false, false}},
		{"it is down for all", 4 * time.Second, 4 * time.Second, 4 * time.Second, [2]bool{false, false}},
		{"it is hidden from this one", 2 * time.Second, 0, 0, [2]bool{true, true}},
		{"it comes back", time.Minute, 0, routesWithin / 2, [2]bool{false, false}},
		{"it comes back and stays hidden", time.Minute, 0, routesWithin + time.Second, [2]bool{false, true}},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := newPeers(&Cluster{Site: "seoul", Sites: []string{"busan", "chuncheon", "seoul"}})
			busan := time.Now()
			time.Sleep(c.silent)
			ask := func() bool {
				h.heard["busan"] = heard{busan, hello{Site: "busan"}}
				if c.silent == 0 {
					h.heard["busan"] = heard{time.Now(), hello{Site: "busan"}}
				}
				h.heard["chuncheon"] = heard{time.Now(), hello{Site: "chuncheon", Silence: c.there}}
				return h.outsighted()
			}
			first := ask()
			time.Sleep(c.after)
			if got := [2]bool{first, ask()}; got != c.want {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		})
	}
}
