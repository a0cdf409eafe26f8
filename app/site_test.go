package app

import (
	"errors"
	"fmt"
	"testing"

	"bongsu/journal"
)

// refusing is a journal that refuses to append.
type refusing struct {
	engine
	why error
}

func (r refusing) Refusing() error { return r.why }

// TestStanding: a site whose journal turned out to be damaged while it ran opens itself anew.
func TestStanding(t *testing.T) {
	st := &site{}
	err := st.standing(refusing{why: fmt.Errorf("partition 0: %w", journal.ErrDamaged)})
	if !errors.Is(err, errReopen) || !errors.Is(err, journal.ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
}
