package room

import (
	"fmt"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/event"
	"bongsu/replica/replicatest"
)

func TestReports(t *testing.T) {
	st := newSite(t, replicatest.Options{})
	room := st.create(t, amy, Creation{Preset: presetPublic})
	hidden := st.create(t, amy, Creation{})
	ok(t, st.Join(t.Context(), bob, room, ""))
	said, err := st.Send(t.Context(), amy, room, event.TypeMessage, "1", []byte(`{"body":"rude"}`))
	ok(t, err)
	report := func(by By, r Report) error { return st.Report(t.Context(), by.User, r) }
	ok(t, report(bob, Report{Room: room, Event: said, Reason: "spam"}))
	ok(t, report(cat, Report{Room: hidden}))
	ok(t, report(cat, Report{User: amy.User, Reason: "rude"}))
	refused(t, report(bob, Report{Room: "!none"}), errs.NotFound, "")
	refused(t, report(bob, Report{Room: room, Event: "$none"}), errs.NotFound, "")
	refused(t, report(cat, Report{Room: room, Event: said}), errs.NotFound, "")
	refused(t, report(bob, Report{User: "@nobody:h"}), errs.NotFound, "")
	refused(t, report(bob, Report{User: "@amy:far"}), errs.NotFound, "")
	refused(t, report(bob, Report{Room: room, Reason: strings.Repeat("x", maxReason+1)}), errs.Invalid, errs.InvalidParam)

	all, err := st.Reports(10)
	ok(t, err)
	got := map[string]string{}
	for _, r := range all {
		got[string(r.By)+" on "+string(r.User)] = r.Reason
		if r.Time == 0 || (r.Event != "") != strings.Contains(string(r.Shown), `"rude"`) {
			t.Errorf("%+v", r)
		}
	}
	if want := "map[@bob:h on @amy:h:spam @cat:h on : @cat:h on @amy:h:rude]"; fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
	if few, err := st.Reports(2); err != nil || len(few) != 2 || few[0].ID != all[0].ID {
		t.Errorf("%v, %v", few, err)
	}
	ok(t, st.Dismiss(t.Context(), all[0].ID))
	for _, no := range []string{all[0].ID, "", "x", "4096-1-1", "1-2", "-1-1-1"} {
		refused(t, st.Dismiss(t.Context(), no), errs.NotFound, "")
	}
	if rest, err := st.Reports(10); err != nil || len(rest) != 2 {
		t.Errorf("%v, %v", rest, err)
	}
}
