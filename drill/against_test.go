package drill_test

import (
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bongsu/drill"
)

// operator does something when the drill says something.
type operator struct {
	io.Writer
	when string
	do   func()
}

func (o *operator) Write(p []byte) (int, error) {
	if o.do != nil && strings.Contains(string(p), o.when) {
		o.do()
		o.do = nil
	}
	return o.Writer.Write(p)
}

// A cluster is watched while its operator burns a site: the drill notices, finds nothing wrong, and leaves no account behind.
func TestDrillAgainst(t *testing.T) {
	if testing.Short() {
		t.Skip("a drill takes a while")
	}
	c, err := drill.StartCluster(t.Context(), program(t), t.TempDir(), 3)
	if c != nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var said strings.Builder
	burned := make(chan error, 1)
	burns := &operator{&said, "burn a site now", func() {
		site := c.Sites[1]
		site.Kill()
		time.AfterFunc(3*time.Second, func() { burned <- site.Begin() }) // the fire's time, and not something that is waited for
	}}
	report, err := drill.Run(t.Context(), drill.Config{Against: c.URLs(), Duration: 5 * time.Second, UserPrefix: "guest-", Rate: 60,
		WritesBack: patience, ClientsBack: patience, Stall: patience, Report: filepath.Join(dir, "report.html")}, burns)
	t.Log(said.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := <-burned; err != nil {
		t.Fatal(err)
	}
	sound(t, report)
	if len(report.Incidents) != 1 || !strings.Contains(report.Incidents[0].Name, "chuncheon was not reachable") || len(report.Incidents[0].Partitions) != 4 {
		t.Errorf("incidents: %+v", report.Incidents)
	}
	for _, p := range report.Promises {
		if p.Verdict != "kept" && p.Number != 6 {
			t.Errorf("promise %d: %s", p.Number, p.Verdict)
		}
	}
	text, err := exec.Command(program(t), "user", "list", "--data", c.Sites[0].Data).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	accounts := 0
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "@guest-") {
			accounts++
			if !strings.Contains(line, "deactivated") {
				t.Errorf("left behind: %s", line)
			}
		}
	}
	if accounts < 10 {
		t.Errorf("%d accounts:\n%s", accounts, text)
	}
}
