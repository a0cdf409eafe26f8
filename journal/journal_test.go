package journal_test

import (
	"errors"
	"strings"
	"testing"

	"bongsu/errs"
	"bongsu/journal"
)

func TestCheck(t *testing.T) {
	big := make([]byte, journal.MaxRecord+1)
	for _, c := range []struct {
		name    string
		p       journal.Partition
		id      string
		data    []byte
		invalid bool
		large   bool
	}{
		{name: "smallest", id: "a"},
		{name: "longest id", p: 3, id: strings.Repeat("~", journal.MaxMsgID), data: big[1:]},
		{name: "no id", invalid: true},
		{name: "id too long", id: strings.Repeat("x", journal.MaxMsgID+1), invalid: true},
		{name: "space in id", id: "a b", invalid: true},
		{name: "line break in id", id: "a\r\nNats-Rollup: all", invalid: true},
		{name: "not ASCII", id: "봉", invalid: true},
		{name: "no such partition", p: 4, id: "a", invalid: true},
		{name: "too large", id: "a", data: big, large: true},
	} {
		err := journal.Check(4, c.p, c.id, c.data)
		if got := errors.Is(err, journal.ErrTooLarge); got != c.large {
			t.Errorf("%s: too large is %v, got %v", c.name, c.large, err)
		}
		if got := err != nil && errs.Is(err, errs.Invalid); got != c.invalid {
			t.Errorf("%s: invalid is %v, got %v", c.name, c.invalid, err)
		}
	}
}
