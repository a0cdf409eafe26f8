package drill

import (
	"context"
	"io"

	"bongsu/errs"
)

// Run drills what cfg describes, tells out how it goes, and returns what was found.
func Run(_ context.Context, cfg Config, _ io.Writer) (*Report, error) {
	if _, err := cfg.resolve(); err != nil {
		return nil, err
	}
	return nil, errs.New("drill", errs.Unsupported, "M_UNRECOGNIZED", "the drill is being built")
}

// Report is what a drill measured and found.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Finding is a broken promise.
type Finding struct {
	Promise int    `json:"promise"` // its number in the list of promises
	Text    string `json:"text"`
}
