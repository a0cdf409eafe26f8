package room

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// What users report waits for the operator, in the slot of what is reported, until the operator has dismissed it.

// Tables of reports.
const (
	tableReport  = 'q' // place -> Report as JSON
	tableReports = 'Q' // derived: place -> slot
)

const (
	kindReport  = "room.report"
	kindDismiss = "room.dismiss" // a report has been dealt with
)

// maxReason is the longest reason, in bytes.
const maxReason = 4096

// Report is what somebody finds that the operator should look at: a room, an event in it, or a user.
type Report struct {
	ID     string          `json:"id,omitempty"` // for Dismiss; made when it is read
	Time   int64           `json:"time"`         // Unix milliseconds
	By     id.UserID       `json:"by"`
	Room   id.RoomID       `json:"room,omitempty"`
	Event  id.EventID      `json:"event,omitempty"`
	User   id.UserID       `json:"user,omitempty"` // who is reported, or who sent the event
	Reason string          `json:"reason,omitempty"`
	Shown  json.RawMessage `json:"shown,omitempty"` // the event as it is now; made when it is read
}

// slot is where the report waits.
func (r *Report) slot() id.Slot {
	if r.Room != "" {
		return id.SlotOf(r.Room)
	}
	return id.SlotOf(r.User)
}

func reportKey(slot id.Slot, p Place) []byte {
	return p.Append(replica.Row(slot, machineByte, tableReport))
}

func reportsKey(p journal.Partition) []byte { return replica.Derived(p, machineByte, tableReports) }

// report keeps a report.
func (m *machine) report(tx *replica.Tx, r Report) ([]byte, error) {
	at := tx.Place()
	r.Time = tx.Wall()
	tx.Set(reportKey(tx.Slot(), at), replica.Marshal(&r))
	tx.Set(at.Append(reportsKey(tx.Partition())), kv.U16(nil, tx.Slot()))
	return nil, nil
}

// dismissBody names a report of the proposal's slot.
type dismissBody struct {
	Pos   journal.Position `json:"pos"`
	Index uint32           `json:"index"`
}

// dismiss takes a report away.
func (m *machine) dismiss(tx *replica.Tx, b dismissBody) ([]byte, error) {
	at := Place{Pos: b.Pos, Index: b.Index}
	if tx.Get(reportKey(tx.Slot(), at)) == nil {
		return nil, errs.New("room.dismiss", errs.NotFound, "", "there is no such report")
	}
	tx.Delete(reportKey(tx.Slot(), at))
	tx.Delete(at.Append(reportsKey(tx.Partition())))
	return nil, nil
}

// deriveReports makes the index of reports anew, from the state of one slot.
func deriveReports(r kv.Reader, p journal.Partition, slot id.Slot, set func(key, value []byte)) {
	prefix := replica.Row(slot, machineByte, tableReport)
	for k := range r.Scan(prefix, kv.End(prefix)) {
		set(placeAt(k).Append(reportsKey(p)), kv.U16(nil, slot))
	}
}

// Report brings something to the operator's attention: a room, an event that the user may see in a room where they are, or a user.
//
// Errors: NotFound, Invalid with InvalidParam for a reason that is too long.
func (s *Service) Report(ctx context.Context, by id.UserID, r Report) error {
	const op = "room.Report"
	if len(r.Reason) > maxReason {
		return errs.New(op, errs.Invalid, errs.InvalidParam, "a reason has at most %d bytes", maxReason)
	}
	rows := s.cfg.Replica.Rows()
	switch {
	case r.Room != "":
		v, ok := Open(rows, r.Room)
		if !ok {
			return errs.New(op, errs.NotFound, "", "there is no such room")
		}
		if r.Event == "" {
			break
		}
		e, ok := v.Event(r.Event)
		if !ok || !v.IsJoined(by) || !v.Sight(by).Sees(e.Place) {
			return errs.New(op, errs.NotFound, "", "there is no such event, or you are not in the room")
		}
		r.User = e.Sender
	default:
		if _, ok := s.cfg.Profile(rows, r.User); !ok || r.User.Server() != s.cfg.Server {
			return errs.New(op, errs.NotFound, "", "there is no such user")
		}
	}
	r.By = by
	_, err := s.cfg.Replica.Submit(ctx, replica.Proposal{Kind: kindReport, Slot: r.slot(), Body: replica.Marshal(&r), Lane: string(by)})
	return err
}

// Reports are the reports that wait, the oldest first, at most limit.
func (s *Service) Reports(limit int) (all []Report, err error) {
	defer kv.Recover(&err)
	rows := s.cfg.Replica.View()
	defer rows.Close()
	for p := range s.cfg.Replica.Partitions() {
		prefix, n := reportsKey(journal.Partition(p)), 0
		for k, v := range rows.Scan(prefix, kv.End(prefix)) {
			if n++; n > limit {
				break
			}
			slot, _, err := kv.CutU16(v)
			if err != nil {
				fault()
			}
			all = append(all, readReport(rows, id.Slot(slot), placeAt(k)))
		}
	}
	slices.SortStableFunc(all, func(a, b Report) int { return cmp.Compare(a.Time, b.Time) })
	return all[:min(limit, len(all))], nil
}

func readReport(rows kv.Reader, slot id.Slot, at Place) (r Report) {
	if err := json.Unmarshal(rows.Get(reportKey(slot, at)), &r); err != nil {
		panic(kv.Fault{Err: err})
	}
	r.ID = fmt.Sprintf("%d-%d-%d", slot, at.Pos, at.Index)
	if r.Event == "" {
		return r
	}
	if v, ok := Open(rows, r.Room); ok {
		if e, ok := v.Event(r.Event); ok {
			r.Shown = v.AppendClient(nil, e, Viewer{})
		}
	}
	return r
}

// Dismiss takes a report away that has been dealt with. Errors: NotFound.
func (s *Service) Dismiss(ctx context.Context, report string) error {
	var slot id.Slot
	var b dismissBody
	n, err := fmt.Sscanf(report, "%d-%d-%d", &slot, &b.Pos, &b.Index)
	if err != nil || n != 3 || slot >= id.Slots {
		return errs.New("room.Dismiss", errs.NotFound, "", "there is no such report")
	}
	_, err = s.cfg.Replica.Submit(ctx, replica.Proposal{Kind: kindDismiss, Slot: slot, Body: replica.Marshal(&b)})
	return err
}
