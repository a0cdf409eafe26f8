package replica

import (
	"errors"
	"testing"

	"bongsu/errs"
)

// A request that was taken from the queue just before the partition halted is in no list that halt can see.
func TestLaunchAfterHaltAnswers(t *testing.T) {
	pt := &partition{inflight: map[uint64]flight{}}
	pt.status.Err = errors.New("halted")
	req := &request{verdict: make(chan result, 1)}
	if _, ok := pt.launch(1, []*request{req}); ok || len(pt.inflight) != 0 {
		t.Error("a halted partition launched a record")
	}
	select {
	case res := <-req.verdict:
		if res.err == nil || res.err.Kind != errs.Unavailable {
			t.Errorf("got %v", res.err)
		}
	default:
		t.Error("the request was never answered")
	}
}
