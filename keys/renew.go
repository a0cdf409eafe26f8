package keys

import (
	"bytes"

	"bongsu/id"
	"bongsu/kv"
	"bongsu/replica"
)

// renew discards the one-time keys of a slot's users and enters a change of each one's device list. After a restore the server does
// not know which keys it gave out since the backup, nor which devices its users have learnt of: a key that is given out twice
// makes messages that cannot be read, and a device that is not known to be gone would be trusted. Ids of keys stay known, so that
// an upload from before does not bring one back; a fallback key counts as used, so that its device replaces it.
func renew(tx *replica.Tx) {
	users := map[id.UserID]bool{}
	var order []id.UserID // of the rows: never that of the map
	add := func(user string) {
		if u := id.UserID(user); !users[u] {
			users[u] = true
			order = append(order, u)
		}
	}
	slot := func(table byte) []byte { return replica.Row(tx.Slot(), machineByte, table) }
	type device struct{ user, device string }
	var withKeys []device
	for k := range tx.Scan(slot(tableSummary), kv.End(slot(tableSummary))) {
		user, rest := cutStr(bytes.Clone(k[len(slot(tableSummary)):]))
		dev, _ := cutStr(rest)
		withKeys = append(withKeys, device{user, dev})
	}
	clearRows(tx, slot(tableOneTime))
	for _, d := range withKeys {
		user, dev := id.UserID(d.user), id.DeviceID(d.device)
		s := readSummary(tx, user, dev)
		for algorithm := range s.counts { // to the same value each, in any order
			s.counts[algorithm] = 0
		}
		s.unused = []string{}
		tx.Set(deviceRow(user, dev, tableSummary), s.encode())
		tx.Note(Counts{user, dev})
	}
	useAllFallbacks(tx, slot(tableFallback))
	for _, table := range []byte{tableDevice, tableCross} {
		for k := range tx.Scan(slot(table), kv.End(slot(table))) {
			user, _ := cutStr(k[len(slot(table)):])
			add(user)
		}
	}
	for _, user := range order {
		changed(tx, user, user, "")
	}
}

// useAllFallbacks marks the fallback keys whose rows begin with prefix as used.
func useAllFallbacks(tx *replica.Tx, prefix []byte) {
	type row struct{ key, value []byte }
	var rows []row
	for k, v := range tx.Scan(prefix, kv.End(prefix)) {
		f := decodeFallback(bytes.Clone(v))
		f.used = true
		rows = append(rows, row{bytes.Clone(k), f.encode()})
	}
	for _, r := range rows {
		tx.Set(r.key, r.value)
	}
}
