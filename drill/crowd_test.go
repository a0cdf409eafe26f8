package drill

import (
	"strings"
	"testing"
	"time"
)

func TestCrowdMember(t *testing.T) {
	m := &member{answered: []time.Duration{1 * ms, 5 * ms, 9 * ms}}
	for at, want := range map[time.Duration]time.Duration{0: 1 * ms, 1 * ms: 4 * ms, 6 * ms: 3 * ms} {
		if got, ok := m.after(at); got != want || !ok {
			t.Errorf("after %v it took %v, %v, want %v", at, got, ok, want)
		}
	}
	if _, ok := m.after(9 * ms); ok {
		t.Error("it was answered after the last answer")
	}
	var none *crowd
	if got := none.at([]string{"a"}); got != nil {
		t.Errorf("no crowd: %v", got)
	}
}

// A crowd that does not come back and a rush that stops the service are findings.
func TestSurgeTooSlow(t *testing.T) {
	cfg := Config{WritesBack: 3 * time.Second}
	good := &Incident{Crowd: &Spread{N: 2, Max: crowdBack}, Rush: &Rush{Pause: 3 * time.Second, Calls: 100, Refused: 50}}
	if got := good.tooSlow(cfg); len(got) > 0 {
		t.Errorf("within the limits: %q", got)
	}
	bad := &Incident{Crowd: &Spread{N: 2, Max: crowdBack + 1}, Rush: &Rush{Pause: 3*time.Second + 1, Calls: 100, Refused: 51}}
	got := strings.Join(bad.tooSlow(cfg), "\n")
	for _, want := range []string{"the last of the crowd", "a pause of writes in a rush", "51 of 100 calls were refused"} {
		if !strings.Contains(got, want) || len(bad.tooSlow(cfg)) != 3 {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if words := bad.Surge(); !strings.Contains(words, "2 clients of the crowd") || !strings.Contains(words, "51 of 100 calls refused") {
		t.Errorf("in words: %s", words)
	}
	if words := new(Incident).Surge(); words != "" {
		t.Errorf("nothing was the matter: %s", words)
	}
}

// Where no site is lost and some are slow, no pause may be long: not only the first.
func TestSlowTooSlow(t *testing.T) {
	in := &Incident{slow: true, minority: true, Partitions: []Recovery{{Partition: 1, Known: true, Led: true, Gap: 4 * time.Second},
		{Partition: 2, Known: true, Gap: time.Second}}}
	got := in.tooSlow(Config{WritesBack: 3 * time.Second})
	if len(got) != 1 || !strings.Contains(got[0], "a pause of partition 1") {
		t.Errorf("found %q", got)
	}
	if text := in.String(); !strings.Contains(text, "longest pause of writes 4s") || !strings.Contains(text, "1s in others") {
		t.Errorf("in words: %s", text)
	}
	in.slow = false
	if got := in.tooSlow(Config{WritesBack: 3 * time.Second}); len(got) > 0 {
		t.Errorf("after a loss the first write counts: %q", got)
	}
}
