package event

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAppendClient(t *testing.T) {
	for _, c := range []struct {
		v      RoomVersion
		draft  string
		format ClientFormat
		want   string
	}{
		{V11, "message", ClientFormat{}, `{"content":{"body":"안녕 <b>\"","msgtype":"m.text"},"event_id":"ID","origin_server_ts":1756071567186,` +
			`"room_id":"!room:example.org","sender":"@amy:example.org","type":"m.room.message"}`},
		{V11, "message", ClientFormat{NoRoomID: true, Unsigned: []byte(`"age":5,"transaction_id":"t"`)},
			`{"content":{"body":"안녕 <b>\"","msgtype":"m.text"},"event_id":"ID","origin_server_ts":1756071567186,` +
				`"sender":"@amy:example.org","type":"m.room.message","unsigned":{"age":5,"transaction_id":"t"}}`},
		{V12, "member", ClientFormat{NoRoomID: true}, `{"content":{"membership":"join"},"event_id":"ID","origin_server_ts":1756071567186,` +
			`"sender":"@amy:example.org","state_key":"@amy:example.org","type":"m.room.member"}`},
		{V12, "create", ClientFormat{}, `{"content":{"creator":"@amy:example.org","room_version":"12"},"event_id":"ID","origin_server_ts":0,` +
			`"room_id":"ROOM","sender":"@amy:example.org","state_key":"","type":"m.room.create"}`},
		{V10, "member", ClientFormat{NoRoomID: true}, `{"content":{"membership":"join"},"event_id":"ID","origin_server_ts":1756071567186,` +
			`"sender":"@amy:example.org","state_key":"@amy:example.org","type":"m.room.member"}`},
		{V10, "redaction", ClientFormat{NoRoomID: true}, `{"content":{"reason":"spam","redacts":"PREV"},"event_id":"ID","origin_server_ts":1756071567186,` +
			`"redacts":"PREV","sender":"@amy:example.org","type":"m.room.redaction"}`},
		{V12, "redaction", ClientFormat{NoRoomID: true}, `{"content":{"reason":"spam","redacts":"PREV"},"event_id":"ID","origin_server_ts":1756071567186,` +
			`"redacts":"PREV","sender":"@amy:example.org","type":"m.room.redaction"}`},
		{V11, "odd", ClientFormat{NoRoomID: true}, `{"content":{},"event_id":"ID","origin_server_ts":1756071567186,` +
			`"sender":"@amy:example.org","state_key":"\u0000\u001f키","type":"with \"quotes\" and \\ and \n"}`},
	} {
		ev, err := Build(c.v, drafts(c.v)[c.draft])
		if err != nil {
			t.Fatal(err)
		}
		want := strings.NewReplacer("ID", string(ev.ID), "ROOM", string(RoomIDOf(ev.ID)), "PREV", string(prev)).Replace(c.want)
		got := string(ev.AppendClient([]byte("before "), c.format))
		if got != "before "+want {
			t.Errorf("%s %s\n got %s\nwant before %s", c.v, c.draft, got, want)
		}
		if !json.Valid([]byte(want)) {
			t.Errorf("%s is not JSON", want)
		}
	}
}

func TestAppendStripped(t *testing.T) {
	ev, err := Build(V12, drafts(V12)["member"])
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"content":{"membership":"join"},"sender":"@amy:example.org","state_key":"@amy:example.org","type":"m.room.member"}`
	if got := string(ev.AppendStripped(nil)); got != want {
		t.Errorf("got %s", got)
	}
}
