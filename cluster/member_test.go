package cluster

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bongsu/freeport"
	"bongsu/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is sites on loopback with journals that are only pretended: an append succeeds while a majority has open routes.
type world struct {
	t         *testing.T
	authority *link.Authority
	names     []string
	addrs     map[string]string
	mu        sync.Mutex
	sites     map[string]*site
}

// site is a site's data directory, and a process on it if it runs.
type site struct {
	w         *world
	name, dir string
	boot      uint64 // kept in the data directory
	state     State  // of the journal directory
	wipes     int
	fill      chan struct{} // when not nil, the engine is complete when it is closed

	link     *link.Link
	member   *Member
	admitted chan error
	open     bool // routes
	routed   map[string]bool
	log      *buffer
	end      context.CancelFunc
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) has(words string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.b.String(), words)
}

func newWorld(t *testing.T, names ...string) *world {
	t.Helper()
	a, err := link.NewAuthority("c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, authority: a, names: names, addrs: map[string]string{}, sites: map[string]*site{}}
	for _, name := range names {
		w.addrs[name] = freeport.Addr(t)
		w.sites[name] = &site{w: w, name: name, dir: t.TempDir(), state: Empty}
	}
	t.Cleanup(func() {
		for _, s := range w.sites {
			s.kill()
		}
	})
	return w
}

// openLink opens a link of the site, at addr.
func (s *site) openLink(addr string) *link.Link {
	s.w.t.Helper()
	cert, key, err := s.w.authority.Issue(s.name, time.Now())
	if err != nil {
		s.w.t.Fatal(err)
	}
	credentials, err := link.NewCredentials(s.w.authority.Certificate(), cert, key, s.w.names, nil)
	if err != nil {
		s.w.t.Fatal(err)
	}
	c := link.Config{Site: s.name, Cluster: "c1", Listen: addr, Credentials: credentials}
	for _, p := range s.w.names {
		if p != s.name {
			c.Peers = append(c.Peers, link.Peer{Site: p, Addr: s.w.addrs[p]})
		}
	}
	l, err := link.Open(c)
	if err != nil {
		s.w.t.Fatal(err)
	}
	return l
}

// start starts a process on the site's data directory.
func (s *site) start() *site {
	s.w.t.Helper()
	s.link, s.log = s.openLink(s.w.addrs[s.name]), &buffer{}
	s.run(s.link)
	return s
}

// run is the process behind a link.
func (s *site) run(l *link.Link) {
	s.w.t.Helper()
	s.boot = (s.boot>>16+1)<<16 | rand.Uint64N(1<<16)
	var err error
	s.member, err = Open(Config{Link: l, Site: s.name, Sites: s.w.names, Dir: s.dir, Boot: s.boot,
		RaiseBoot: func(above uint64) (uint64, error) { s.boot = (above>>16 + 1) << 16; return s.boot, nil },
		Wipe: func() error {
			s.w.mu.Lock()
			defer s.w.mu.Unlock()
			s.state = Empty
			s.wipes++
			return nil
		},
		Log: slog.New(slog.NewTextHandler(s.log, nil))})
	if err != nil {
		s.w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.end, s.admitted = cancel, make(chan error, 1)
	m, admitted := s.member, s.admitted
	go func() {
		err := m.Admit(ctx, s.state)
		if err == nil {
			s.w.mu.Lock()
			s.open = true
			if s.state == Empty {
				s.state = Forming
			}
			s.w.mu.Unlock()
			m.Serve(s.engine())
		}
		admitted <- err
	}()
}

// engine is the pretended journal.
func (s *site) engine() Engine {
	return Engine{
		Formed: func(ctx context.Context) error {
			if s.fill != nil {
				select {
				case <-s.fill:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			for s.state != Formed && len(s.w.routed()) < quorum(len(s.w.names)) {
				if !pause(ctx, 10*time.Millisecond) {
					return ctx.Err()
				}
			}
			s.w.mu.Lock()
			defer s.w.mu.Unlock()
			s.state = Formed
			return nil
		},
		Barrier: func(ctx context.Context) error {
			for len(s.w.routed()) < quorum(len(s.w.names)) {
				if !pause(ctx, 10*time.Millisecond) {
					return errors.New("no quorum")
				}
			}
			return nil
		},
		Routed: func(site string) bool {
			s.w.mu.Lock()
			defer s.w.mu.Unlock()
			return s.routed[site]
		},
	}
}

// routed are the sites with open routes.
func (w *world) routed() (open []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sites {
		if s.open {
			open = append(open, s.name)
		}
	}
	return open
}

// kill ends the process.
func (s *site) kill() {
	if s.member == nil {
		return
	}
	s.w.mu.Lock()
	s.open = false
	s.w.mu.Unlock()
	s.end()
	_ = s.link.Close()
	_ = s.member.Close()
	<-s.admitted
	s.member = nil
}

// burn ends the process and empties the disk.
func (s *site) burn() {
	s.kill()
	s.dir, s.state, s.boot = s.w.t.TempDir(), Empty, 0
}

// in waits until the site is admitted.
func (s *site) in() *site {
	s.w.t.Helper()
	select {
	case err := <-s.admitted:
		s.admitted <- err
		if err != nil {
			s.w.t.Fatalf("%s: %v", s.name, err)
		}
	case <-time.After(30 * time.Second):
		s.w.t.Fatalf("%s is not admitted: %s", s.name, s.member.Waiting())
	}
	return s
}

// waits waits until the site says that it waits for something, and checks that it is not in.
func (s *site) waits(words string) {
	s.w.t.Helper()
	eventually(s.w.t, s.name+" waits: "+words, func() bool { return strings.Contains(s.member.Waiting(), words) })
	select {
	case err := <-s.admitted:
		s.w.t.Fatalf("%s was admitted: %v", s.name, err)
	default:
	}
}

func (s *site) formed() *site {
	s.w.t.Helper()
	s.in()
	eventually(s.w.t, s.name+" is formed", func() bool { return s.member.hello().State == Formed })
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: it did not happen", what)
		}
	}
}

// founded is a cluster of three that has been complete, and whose sites remember each other.
func founded(t *testing.T) (w *world, busan, chuncheon, seoul *site) {
	t.Helper()
	w = newWorld(t, "busan", "chuncheon", "seoul")
	busan, chuncheon, seoul = w.sites["busan"], w.sites["chuncheon"], w.sites["seoul"]
	for _, s := range w.sites {
		s.start()
	}
	w.settle()
	return w, busan, chuncheon, seoul
}

// settle waits until everybody remembers everybody.
func (w *world) settle() {
	w.t.Helper()
	for _, s := range w.sites {
		s.formed()
		if err := s.member.Founded(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
	eventually(w.t, "everybody remembers everybody", func() bool {
		for _, s := range w.sites {
			for _, o := range w.sites {
				if o.member.mem.now().Boots[s.name] != s.boot {
					return false
				}
			}
		}
		return true
	})
}

func TestNewCluster(t *testing.T) {
	w := newWorld(t, "busan", "chuncheon", "seoul")
	w.sites["seoul"].start()
	w.sites["busan"].start()
	w.sites["seoul"].waits("a new cluster begins when all its sites are there: waiting for chuncheon")
	// One that is emptied meanwhile has lost nothing that anybody was promised.
	w.sites["busan"].burn()
	w.sites["busan"].start()
	w.sites["chuncheon"].start()
	w.settle()
	for _, s := range w.sites {
		if s.member.Waiting() != "" || s.member.Err() != nil || s.wipes != 0 || s.member.Boot() != s.boot {
			t.Errorf("%s: %q %v, %d wipes", s.name, s.member.Waiting(), s.member.Err(), s.wipes)
		}
	}
}

// TestNothingIsAcknowledgedBeforeAllAreComplete: a site that burns while the cluster is made is taken for new.
func TestNothingIsAcknowledgedBeforeAllAreComplete(t *testing.T) {
	w := newWorld(t, "busan", "chuncheon", "seoul")
	seoul := w.sites["seoul"]
	others := make(chan struct{}) // nobody is complete before all are in, as with the real engine
	for _, s := range w.sites {
		s.fill = others
	}
	seoul.fill = make(chan struct{})
	for _, s := range w.sites {
		s.start()
	}
	for _, s := range w.sites {
		s.in()
	}
	close(others)
	w.sites["busan"].formed()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := w.sites["busan"].member.Founded(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "when every site has its part") {
		t.Errorf("seoul has nothing yet: %v", err)
	}
	close(seoul.fill)
	w.settle()
}

func TestRestarts(t *testing.T) {
	w, busan, chuncheon, seoul := founded(t)
	// One at a time, with one absent, and all at once.
	seoul.kill()
	seoul.start().in()
	chuncheon.kill()
	seoul.kill()
	seoul.start().in()
	for _, s := range []*site{busan, seoul} {
		s.kill()
	}
	busan.start().waits("a majority of the sites is needed: waiting for chuncheon (site chuncheon at")
	seoul.start().in()
	chuncheon.start().in()
	w.settle()
	if busan.wipes+chuncheon.wipes+seoul.wipes != 0 {
		t.Error("a site that had lost nothing was emptied")
	}
}

func TestBurn(t *testing.T) {
	w, busan, chuncheon, seoul := founded(t)
	before := seoul.boot
	seoul.burn()
	chuncheon.kill()
	seoul.start().waits("both other sites are needed until this one has caught up: waiting for chuncheon")
	chuncheon.start()
	w.settle()
	if seoul.member.Boot() <= before || seoul.member.Boot() != seoul.boot {
		t.Errorf("run %d after run %d", seoul.member.Boot(), before)
	}
	// The majority is gone: nobody goes on as if nothing had been.
	seoul.burn()
	busan.burn()
	seoul.start()
	busan.start()
	busan.waits("no majority is left that knows all; the cluster must be recovered")
	seoul.waits("waiting for busan (it has no journal)")
}

// TestSecondBurn: while the first burned site is being filled it cannot vouch for the second.
func TestSecondBurn(t *testing.T) {
	t.Parallel()
	w, _, chuncheon, seoul := founded(t)
	seoul.burn()
	seoul.fill = make(chan struct{})
	seoul.start().in()
	chuncheon.burn()
	chuncheon.start().waits("waiting for seoul (it has not all of the journal yet)")
	close(seoul.fill)
	chuncheon.in()
	w.settle()
}

// TestDamage: what is damaged is not thrown away before the others have shown that they hold it.
func TestDamage(t *testing.T) {
	t.Parallel()
	w, busan, _, seoul := founded(t)
	seoul.kill()
	busan.kill()
	seoul.state = Damaged
	seoul.start().waits("this site's journal is damaged; both other sites are needed")
	if seoul.wipes != 0 {
		t.Error("it was emptied while the others were not there")
	}
	busan.start()
	w.settle()
	if seoul.wipes != 1 {
		t.Errorf("emptied %d times", seoul.wipes)
	}
	// The same for the memory of the others.
	seoul.kill()
	if err := os.WriteFile(filepath.Join(seoul.dir, memoryFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	seoul.start()
	w.settle()
	if seoul.wipes != 2 {
		t.Errorf("emptied %d times", seoul.wipes)
	}
}

// TestStaleCopy puts back an older copy of a site's disk.
func TestStaleCopy(t *testing.T) {
	t.Parallel()
	w, busan, _, seoul := founded(t)
	copied, err := os.ReadFile(filepath.Join(seoul.dir, memoryFile))
	if err != nil {
		t.Fatal(err)
	}
	boot := seoul.boot
	putBack := func() {
		if err := os.WriteFile(filepath.Join(seoul.dir, memoryFile), copied, 0o600); err != nil {
			t.Fatal(err)
		}
		seoul.boot = boot
	}
	seoul.kill()
	seoul.start()
	w.settle()
	seoul.kill()
	putBack()
	busan.kill()
	// It does not help to try often: what counts is when it took part last.
	for range 3 {
		seoul.start().waits("this site's data is a stale copy")
		seoul.kill()
	}
	busan.start()
	seoul.start()
	w.settle()
	if seoul.wipes != 1 {
		t.Errorf("emptied %d times", seoul.wipes)
	}
}

// TestCopyOfTheLastRun puts back a copy of a site's disk that was made while it ran, with no start in between.
func TestCopyOfTheLastRun(t *testing.T) {
	w, busan, chuncheon, seoul := founded(t)
	path := filepath.Join(seoul.dir, memoryFile)
	copied, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := seoul.member.growOlder(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the others remember its age", func() bool {
		age := seoul.member.mem.now().Age
		return busan.member.mem.now().Ages["seoul"] == age && chuncheon.member.mem.now().Ages["seoul"] == age
	})
	seoul.kill()
	if err := os.WriteFile(path, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	seoul.start()
	w.settle()
	if seoul.wipes != 1 || !seoul.log.has("a site remembers that it counted to") {
		t.Errorf("emptied %d times", seoul.wipes)
	}
	seoul.kill()
	seoul.start()
	w.settle()
	if seoul.wipes != 1 {
		t.Error("emptied again")
	}
}

// TestStaleCopyFoundLate: the only site that knew better could not be asked.
func TestStaleCopyFoundLate(t *testing.T) {
	t.Parallel()
	w, busan, chuncheon, seoul := founded(t)
	old, err := os.ReadFile(filepath.Join(seoul.dir, memoryFile))
	if err != nil {
		t.Fatal(err)
	}
	boot := seoul.boot
	chuncheon.kill()
	for range 3 {
		seoul.kill()
		seoul.start().in()
	}
	seoul.kill()
	busan.kill()
	chuncheon.start()
	if err := os.WriteFile(filepath.Join(seoul.dir, memoryFile), old, 0o600); err != nil {
		t.Fatal(err)
	}
	seoul.boot = boot
	seoul.start().in()
	busan.start()
	eventually(t, "seoul learns it", func() bool { return seoul.member.Err() != nil })
	if err := seoul.member.Err().Error(); !strings.Contains(err, "stale copy") {
		t.Error(err)
	}
	seoul.kill()
	seoul.start()
	w.settle()
	if seoul.wipes != 1 {
		t.Errorf("emptied %d times", seoul.wipes)
	}
}

// TestOldProcessStillRuns: a machine that was thought dead and replaced.
func TestOldProcessStillRuns(t *testing.T) {
	t.Parallel()
	w, busan, _, seoul := founded(t)
	second := &site{w: w, name: "seoul", dir: t.TempDir(), state: Empty, log: &buffer{}}
	second.link = second.openLink("127.0.0.1:0")
	second.run(second.link)
	second.waits("another process runs as site seoul")
	w.mu.Lock()
	busan.routed = map[string]bool{"seoul": true} // the engine still has a connection with the old one when it is silent
	w.mu.Unlock()
	seoul.kill()
	second.waits("its engine is still connected with one of site seoul")
	w.mu.Lock()
	busan.routed = nil
	w.mu.Unlock()
	second.in()
	if seoul.boot >= second.boot {
		t.Errorf("run %d after %d", second.boot, seoul.boot)
	}
	// The old one comes back, and is told.
	old := seoul.openLink("127.0.0.1:0")
	defer old.Close()
	old.Join(seoul.boot)
	eventually(t, "the old process is told to stop", func() bool { return old.Rival() != nil })
	if err := old.Rival().Error(); !strings.Contains(err, "has been run 2 since: this process, run 1, is of a stale copy of its data or was replaced") {
		t.Error(err)
	}
	if err := second.member.Err(); err != nil {
		t.Errorf("the new one is told to stop: %v", err)
	}
	second.kill()
}

func TestFiveSites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "busan", "chuncheon", "daegu", "jeju", "seoul")
	for _, s := range w.sites {
		s.start()
	}
	w.settle()
	for _, name := range []string{"busan", "chuncheon"} {
		w.sites[name].burn()
	}
	w.sites["busan"].start().in()
	w.sites["chuncheon"].start()
	w.settle()
}

// TestClosedWhileWaiting: whoever waits is told what for.
func TestClosedWhileWaiting(t *testing.T) {
	w := newWorld(t, "busan", "chuncheon", "seoul")
	s := w.sites["seoul"].start()
	s.waits("waiting for busan")
	s.end()
	err := <-s.admitted
	s.admitted <- err
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "a new cluster begins when") {
		t.Error(err)
	}
	if slices.Contains(w.routed(), "seoul") {
		t.Error("it opened its routes")
	}
}

// TestBarrierIsForWhoAsks: a site cannot have another one's barrier passed, nor take an answer to another question.
func TestBarrierIsForWhoAsks(t *testing.T) {
	_, busan, _, seoul := founded(t)
	var got barrierBody
	if err := seoul.member.tell(t.Context(), "busan", pathBarrier, barrierBody{Site: "chuncheon"}, &got); err == nil ||
		!strings.Contains(err.Error(), "not from the site that it names") {
		t.Error(err)
	}
	if err := busan.member.askBarrier(t.Context(), "seoul"); err != nil {
		t.Error(err)
	}
}
