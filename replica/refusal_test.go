package replica_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal/mem"
	"bongsu/kv"
	"bongsu/replica"
)

// gift is a write with a key: refused while eve has nothing.
func gift(txn string) replica.Proposal {
	p := propose("ledger.give", "eve bob")
	p.Key = replica.NewKey("@eve:x", "D", "give", txn)
	return p
}

// refused fails the test unless err is a verdict that refuses.
func refused(t testing.TB, err error) {
	t.Helper()
	var r replica.Refusal
	if !errors.As(err, &r) {
		t.Errorf("not refused: %v", err)
	}
}

// hold makes the next appends of a site take so long.
func (m *member) hold(d time.Duration) {
	plan := mem.Plan(func(mem.Attempt) mem.Fault { return mem.Fault{Delay: d} })
	m.plan.Store(&plan)
}

// An attempt that was held up lands after its repetition was refused at another site, and after what it was refused for has changed. The
// client was told that nothing happened. Rules 1 did not see to that.
func TestRefusalStandsForEarlierAttempts(t *testing.T) {
	for rules, wantBob := range map[uint16]int64{1: 1, 2: 0} {
		t.Run(fmt.Sprint("rules ", rules), func(t *testing.T) {
			config := func(_ string, cfg *replica.Config) { cfg.Rules = rules }
			inCluster(t, 2, threeNames, config, func(t *testing.T, c *cluster) {
				seoul, busan := c.sites["seoul"], c.sites["busan"]
				seoul.hold(20 * time.Second)
				if _, err := seoul.r.Submit(within(t, time.Second), gift("t")); !errs.Is(err, errs.Unavailable) {
					t.Fatal(err)
				}
				_, err := busan.r.Submit(t.Context(), gift("t"))
				refused(t, err)
				submit(t, busan.r, propose("ledger.add", "eve"))
				time.Sleep(30 * time.Second)
				if n := count(busan.r, "bob"); n != wantBob {
					t.Fatalf("bob has %d", n)
				}
				// Who knows of the refusal may try again.
				if _, err := busan.r.Submit(t.Context(), gift("t")); err != nil {
					t.Error(err)
				}
				c.until("it arrives", func() bool { return count(busan.r, "bob") == 1 })
				c.alike()
			})
		})
	}
}

// The same with an attempt that waits in a site's queue while the site learns of the refusal.
func TestRefusalStandsForWaitingAttempts(t *testing.T) {
	inCluster(t, 1, threeNames, nil, func(t *testing.T, c *cluster) {
		seoul, busan := c.sites["seoul"], c.sites["busan"]
		seoul.hold(4 * time.Second)
		first, waiting := make(chan error), make(chan error)
		go func() {
			_, err := seoul.r.Submit(t.Context(), propose("ledger.add", "amy"))
			first <- err
		}()
		time.Sleep(time.Second)
		go func() {
			_, err := seoul.r.Submit(t.Context(), gift("t"))
			waiting <- err
		}()
		time.Sleep(time.Second)
		_, err := busan.r.Submit(t.Context(), gift("t"))
		refused(t, err)
		submit(t, busan.r, propose("ledger.add", "eve"))
		if err := <-first; err != nil {
			t.Error(err)
		}
		if err := <-waiting; !errs.Is(err, errs.Unavailable) {
			t.Errorf("the waiting attempt: %v", err)
		}
		time.Sleep(10 * time.Second)
		if n := count(busan.r, "eve"); n != 1 {
			t.Errorf("eve has %d", n)
		}
	})
}

// A site that lags does not repeat a refusal that no longer holds: it sends the client away until it knows.
func TestLaggingSiteDoesNotRepeatARefusal(t *testing.T) {
	inCluster(t, 1, threeNames, nil, func(t *testing.T, c *cluster) {
		seoul, busan := c.sites["seoul"], c.sites["busan"]
		_, err := busan.r.Submit(t.Context(), gift("t"))
		refused(t, err)
		_, err = busan.r.Submit(t.Context(), gift("t")) // still, and told so
		refused(t, err)
		seoul.j.Lag(2 * time.Second)
		_, err = busan.r.Submit(t.Context(), gift("t"))
		refused(t, err)
		submit(t, busan.r, propose("ledger.add", "eve"))
		var e *errs.Error
		if _, err = seoul.r.Submit(t.Context(), gift("t")); !errors.As(err, &e) || e.Kind != errs.Unavailable || e.RetryAfter == 0 {
			t.Fatalf("got %v", err)
		}
		if _, err = seoul.r.Submit(t.Context(), gift("t")); err != nil {
			t.Fatal(err)
		}
		if n := count(seoul.r, "eve"); n != 0 {
			t.Errorf("eve has %d", n)
		}
	})
}

// Refusals are forgotten after ten minutes of live time, and then an attempt from before them is not decided at all.
func TestRefusalsAreForgotten(t *testing.T) {
	inCluster(t, 1, threeNames, nil, func(t *testing.T, c *cluster) {
		seoul, busan := c.sites["seoul"], c.sites["busan"]
		kept := func() (n int) {
			for _, lo := range [][]byte{{'p', 0, 0, 'r'}, replica.Row(id.SlotOf("eve"), 0, 'r')} {
				for range busan.r.Rows().Scan(lo, kv.End(lo)) {
					n++
				}
			}
			return n
		}
		for i := range 200 {
			_, err := busan.r.Submit(t.Context(), gift(fmt.Sprint(i)))
			refused(t, err)
		}
		time.Sleep(5 * time.Minute)
		_, err := busan.r.Submit(t.Context(), gift("0"))
		refused(t, err)
		if n := kept(); n != 401 { // one name has two places
			t.Errorf("%d rows", n)
		}
		seoul.hold(20 * time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := seoul.r.Submit(ctx, gift("late")); !errs.Is(err, errs.Unavailable) {
			t.Fatal(err)
		}
		_, err = busan.r.Submit(t.Context(), gift("late"))
		refused(t, err)
		time.Sleep(6 * time.Minute)
		if n := kept(); n != 4 { // of "0" the second place, and of "late"
			t.Errorf("%d rows", n)
		}
		time.Sleep(5 * time.Minute)
		if n := kept(); n != 0 {
			t.Errorf("%d rows", n)
		}
		submit(t, busan.r, propose("ledger.add", "eve"))
		seoul.hold(0) // the late attempt lands
		c.until("seoul is heard", func() bool { return seoul.r.CatchUp(within(t, 10*time.Second)) == nil })
		if n := count(busan.r, "eve"); n != 1 {
			t.Errorf("eve has %d", n)
		}
		if _, err := busan.r.Submit(t.Context(), gift("late")); err != nil {
			t.Error(err)
		}
		c.alike()
		// The rows know how far the forgetting has come.
		c.crash("busan")
		c.wipe("busan")
		c.start("busan")
		c.ready("busan")
		c.alike()
	})
}
