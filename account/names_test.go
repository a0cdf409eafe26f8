package account

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"Amy O'Hara-Smith":           "amy o hara smith",
		"  홍길동 (개발팀) ":               "홍길동 개발팀",
		"\u1112\u1169\u11bc 3\u20e3": "홍 3\u20e3", // as a file system of macOS writes it
		"ＡＢＣ１":                       "abc1",
		"🔥":                          "",
		"a\x00b":                     "a b",
	} {
		if got := strings.Join(words(in), " "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := ends("@kim_99:h", "길동"); !slices.Equal(got, []string{"길동", "동", "kim", "im", "m", "99", "9"}) {
		t.Errorf("ends %q", got)
	}
	if got := ends("@a:h", strings.Repeat("가", 100)); len(got) != maxEnds {
		t.Errorf("%d ends of a long name", len(got))
	}
}

// TestFindNamed follows people through names, and holds the index that apply made against the one made anew.
func TestFindNamed(t *testing.T) {
	s := newService(t, replicatest.Options{Partitions: 3})
	found := func(term string) string {
		var out []string
		for user, p := range FindNamed(s.Rows(), 3, term) {
			out = append(out, fmt.Sprintf("%s(%s)", user.Localpart(), p.Displayname))
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	name := func(user, to string) {
		t.Helper()
		if err := s.SetProfile(t.Context(), id.UserID("@"+user+":example.org"), Displayname, replica.Marshal(to)); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range []string{"amy", "kim", "kimchi", "lee"} {
		s.register(t, user)
	}
	name("amy", "Amy Smith")
	name("kim", "김길동")
	name("lee", "이순신 Smith")
	for _, c := range [][2]string{
		{"", ""}, {"!?", ""}, {"nobody", ""},
		{"amy", "amy(Amy Smith)"}, {"AMY", "amy(Amy Smith)"}, {"my", "amy(Amy Smith)"}, {"@amy:", "amy(Amy Smith)"},
		{"kim", "kim(김길동) kimchi()"}, {"길동", "kim(김길동)"}, {"동", "kim(김길동)"},
		{"smith", "amy(Amy Smith) lee(이순신 Smith)"}, {"smith 순신", "lee(이순신 Smith)"}, {"smith amy x", ""},
	} {
		if got := found(c[0]); got != c[1] {
			t.Errorf("%q finds %q, want %q", c[0], got, c[1])
		}
	}
	name("amy", "Ann")
	name("lee", "")
	if err := s.Deactivate(t.Context(), s.proof(t, "kim"), false); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"smith", ""}, {"ann", "amy(Ann)"}, {"amy", "amy(Ann)"}, {"kim", "kimchi()"}, {"길동", ""}, {"lee", "lee()"}} {
		if got := found(c[0]); got != c[1] {
			t.Errorf("later, %q finds %q, want %q", c[0], got, c[1])
		}
	}

	applied, anew := map[string]string{}, map[string]string{}
	for p := range journal.Partition(3) {
		prefix := replica.Derived(p, machineByte, 0)
		prefix = prefix[:len(prefix)-1]
		for k, v := range s.Rows().Scan(prefix, kv.End(prefix)) {
			applied[string(k)] = string(v)
		}
		for slot := range id.Slot(id.Slots) {
			if replica.PartitionOf(slot, 3) == p {
				derive(s.Rows(), p, slot, func(k, v []byte) { anew[string(k)] = string(v) })
			}
		}
	}
	owed := func(k, _ string) bool { return k[4] == tableOwed }
	maps.DeleteFunc(applied, owed)
	maps.DeleteFunc(anew, owed)
	if len(applied) == 0 || !maps.Equal(applied, anew) {
		t.Errorf("the index that was applied has %d rows, the one made anew %d", len(applied), len(anew))
	}
}
