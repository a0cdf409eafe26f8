package account

import (
	"context"
	"slices"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// A registration may take several stages, each a request of its own, to any site. What was passed stands in a row in the slot of
// the session, for an hour of live time (docs/adr/0039-half-done-registrations-are-rows.md).

// stagesLife is how long a registration may take, in milliseconds of live time.
const stagesLife = 60 * 60 * 1000

// maxStages bounds the stages of a session.
const maxStages = 16

// stagePassed is a stage, and what is to be remembered of it.
type stagePassed struct{ stage, note string }

func stagesKey(session string) []byte {
	return kv.Str(replica.Row(id.SlotOf(session), machineByte, tableStages), session)
}

func readStages(r kv.Reader, session string) (out []stagePassed) {
	v := r.Get(stagesKey(session))
	if v == nil {
		return nil
	}
	d := decoder{v: v}
	for len(d.v) > 0 && d.err == nil {
		out = append(out, stagePassed{d.str(), d.str()})
	}
	d.end("stages")
	return out
}

type stageBody struct {
	Session string `json:"session"`
	Stage   string `json:"stage"`
	Note    string `json:"note,omitempty"`
}

// passStage notes a stage; the first one sets the end of the session.
func passStage(tx *replica.Tx, b stageBody) ([]byte, error) {
	stages := readStages(tx, b.Session)
	if slices.ContainsFunc(stages, func(s stagePassed) bool { return s.stage == b.Stage }) {
		return nil, nil
	}
	if len(stages) >= maxStages {
		return nil, errs.New("account.PassStage", errs.Invalid, "", "the session has too many stages")
	}
	if stages == nil {
		tx.At(replica.Live, tx.Live()+stagesLife, kindStagesEnd, replica.Marshal(stageBody{Session: b.Session}))
	}
	var out []byte
	for _, s := range append(stages, stagePassed{b.Stage, b.Note}) {
		out = kv.Str(kv.Str(out, s.stage), s.note)
	}
	tx.Set(stagesKey(b.Session), out)
	return changed, nil
}

func endStages(tx *replica.Tx, b stageBody) ([]byte, error) {
	tx.Delete(stagesKey(b.Session))
	return nil, nil
}

// Stages implements auth.Progress.
func (s *Service) Stages(session string) map[string]string {
	out := map[string]string{}
	for _, p := range readStages(s.Rows(), session) {
		out[p.stage] = p.note
	}
	return out
}

// PassStage implements auth.Progress.
func (s *Service) PassStage(ctx context.Context, session, stage, note string) error {
	const op = "account.PassStage"
	if err := s.ready(op); err != nil {
		return err
	}
	_, err := s.propose(ctx, id.SlotOf(session), session, kindStage, stageBody{session, stage, note})
	return errs.Wrap(op, err)
}
