package spec

// Deviation is something in which Bongsu's answers knowingly differ from the specification.
type Deviation struct {
	Finding string // as Finding.String says it
	Reason  string
	Where   string // the directory of the tests that meet it: they fail when it is gone, so that the list shrinks
}

// Deviations are all that are known.
var Deviations = []Deviation{
	{"getRoomStateWithKey 200 : 'oneOf' failed, subschemas 0, 1 matched",
		"the schema wants the answer to be either any object or an event, and an event is an object too", "api/client"},
}

// Known is the deviation that f is, if it is one.
func Known(f Finding) (Deviation, bool) {
	for _, d := range Deviations {
		if d.Finding == f.String() {
			return d, true
		}
	}
	return Deviation{}, false
}
