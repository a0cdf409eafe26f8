package mem_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"bongsu/errs"
	"bongsu/journal"
	"bongsu/journal/mem"
)

// A site that is cut off sees what it had, and what it appends lands later or not, once at most.
func TestCutSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.NewStore(1)
		a, b := store.Open(nil), store.Open(nil)
		defer a.Close()
		defer b.Close()
		ctx := t.Context()
		mustAppend(t, a, "before")
		b.Cut(true)
		mustAppend(t, a, "unseen")
		if _, last, err := b.Bounds(ctx, 0); last != 1 || err != nil {
			t.Errorf("it sees up to %d, %v", last, err)
		}
		if _, err := b.Read(ctx, 0, 2); !errors.Is(err, io.EOF) {
			t.Errorf("it reads what it cannot have: %v", err)
		}
		if err := b.Trim(ctx, 0, 2); !errors.Is(err, mem.ErrUncertain) {
			t.Errorf("it trims: %v", err)
		}
		begun := time.Now()
		for i := range 20 {
			if _, err := b.Append(ctx, 0, fmt.Sprint("cut-", i), nil); !errors.Is(err, mem.ErrUncertain) {
				t.Errorf("it appends: %v", err)
			}
		}
		if d := time.Since(begun); d < 5*time.Second {
			t.Errorf("twenty callers were told after %v", d)
		}
		if _, last, _ := a.Bounds(ctx, 0); last != 2 {
			t.Errorf("something landed: %d", last)
		}
		b.Cut(false)
		time.Sleep(time.Second)
		_, last, _ := a.Bounds(ctx, 0)
		if last < 5 || last > 19 {
			t.Errorf("of twenty appends %d landed", last-2)
		}
		if e, err := b.Read(ctx, 0, 2); err != nil || string(e.Data) != "unseen" {
			t.Errorf("connected again: %q, %v", e.Data, err)
		}
	})
}

// An append that is on its way when its site is cut off is uncertain, too; a crash of a site that is cut off takes what waits.
func TestCutUnderAnAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.NewStore(1)
		a := store.Open(func(mem.Attempt) mem.Fault { return mem.Fault{AckDelay: time.Second} })
		got := make(chan error)
		go func() { got <- second(a.Append(context.Background(), 0, "a", nil)) }()
		synctest.Wait()
		a.Cut(true)
		if err := <-got; !errors.Is(err, mem.ErrUncertain) {
			t.Errorf("got %v", err)
		}
		for i := range 10 {
			go func() { got <- second(a.Append(context.Background(), 0, fmt.Sprint(i), nil)) }()
		}
		time.Sleep(time.Second)
		a.Crash()
		for range 10 {
			<-got
		}
		b := store.Open(nil)
		defer b.Close()
		if _, last, _ := b.Bounds(t.Context(), 0); last != 1 {
			t.Errorf("last is %d", last)
		}
	})
}

// A site that lags sees each record a while after the others, by itself, and never less than it has seen.
func TestLaggingSite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := mem.NewStore(1)
		a, b := store.Open(nil), store.Open(nil)
		defer a.Close()
		defer b.Close()
		mustAppend(t, a, "one")
		b.Lag(1700 * time.Millisecond)
		if _, last, _ := b.Bounds(t.Context(), 0); last != 1 {
			t.Errorf("it sees %d", last)
		}
		begun := time.Now()
		mustAppend(t, a, "two")
		if pos, err := b.Append(t.Context(), 0, "three", []byte("three")); pos != 3 || err != nil {
			t.Errorf("a lagging site appends at %d, %v", pos, err)
		}
		enough := errors.New("enough")
		err := b.Follow(t.Context(), 0, 1, func(e journal.Entry) error {
			if d := time.Since(begun); d != 1700*time.Millisecond {
				t.Errorf("record %d is seen after %v", e.Pos, d)
			}
			if e.Pos == 3 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Error(err)
		}
	})
}

func TestLead(t *testing.T) {
	a := mem.New(2)
	defer a.Close()
	a.Lead(1, false)
	if !a.Leads(0) || a.Leads(1) {
		t.Errorf("leads %v, %v", a.Leads(0), a.Leads(1))
	}
}

func TestBus(t *testing.T) {
	store := mem.NewStore(1)
	a, b := store.Open(nil), store.Open(nil)
	defer a.Close()
	var heard []string
	hear := func(site string, j *mem.Journal, topic string) func() {
		stop, err := j.Subscribe(topic, func(data []byte) { heard = append(heard, site+" "+string(data)) })
		if err != nil {
			t.Fatal(err)
		}
		return stop
	}
	stop := hear("a", a, "typing")
	hear("b", b, "typing")
	hear("b", b, "other")
	say := func(j *mem.Journal, text string) {
		if err := j.Publish("typing", []byte(text)); err != nil {
			t.Error(err)
		}
	}
	say(a, "1")
	b.Cut(true)
	say(a, "2")
	say(b, "3")
	b.Cut(false)
	stop()
	say(a, "4")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	say(a, "5")
	if want := []string{"a 1", "b 1", "a 2", "b 3", "b 4"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
	if err := a.Publish("Bad topic", nil); !errs.Is(err, errs.Invalid) {
		t.Errorf("a bad topic: %v", err)
	}
	if err := b.Publish("typing", nil); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
	if _, err := b.Subscribe("typing", nil); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func mustAppend(t *testing.T, j *mem.Journal, text string) {
	t.Helper()
	if _, err := j.Append(t.Context(), 0, text, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }
