package account

import (
	"bytes"
	"iter"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"bongsu/id"
	"bongsu/journal"
	"bongsu/kv"
	"bongsu/replica"
)

// People find each other by parts of their names. Every word of a displayname and of a user id's localpart is indexed with all its
// ends, so that the beginning of a row's key is any part of a word: in Korean, 길동 finds 홍길동.

// maxEnds is how many ends of words are indexed for a user: some four words.
const maxEnds = 48

// words are the words of a text in the form in which they are compared: composed (NFKC) and in lower case.
func words(text string) []string {
	return strings.FieldsFunc(strings.ToLower(norm.NFKC.String(text)), func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsNumber(c) && !unicode.IsMark(c)
	})
}

// namesOf are the words by which a user is found.
func namesOf(user id.UserID, displayname string) []string {
	return append(words(displayname), words(user.Localpart())...)
}

// ends are what is indexed for a user.
func ends(user id.UserID, displayname string) []string {
	var out []string
	for _, w := range namesOf(user, displayname) {
		for i := range w { // at the beginning of each character
			if len(out) == maxEnds {
				return out
			}
			out = append(out, w[i:])
		}
	}
	return out
}

// endKey ends the end of a word with a NUL, which no word has; what is before it may be cut anywhere to find rows.
func endKey(p journal.Partition, end string, user id.UserID) []byte {
	return kv.Str(append(endsFrom(p, end), 0), user)
}

func endsFrom(p journal.Partition, part string) []byte {
	return append(replica.Derived(p, machineByte, tableEnds), part...)
}

// rename moves a user in the index from an old displayname to a new one.
func rename(tx *replica.Tx, user id.UserID, from, to string) {
	for _, end := range ends(user, from) {
		tx.Delete(endKey(tx.Partition(), end, user))
	}
	for _, end := range ends(user, to) {
		tx.Set(endKey(tx.Partition(), end, user), []byte{})
	}
}

// unname takes a user out of the index.
func unname(tx *replica.Tx, user id.UserID) {
	for _, end := range ends(user, ProfileOf(tx, user).Displayname) {
		tx.Delete(endKey(tx.Partition(), end, user))
	}
}

// derivedVersion is the version of what derive makes.
const derivedVersion = 1

// derive makes the derived rows of the accounts of a slot. Profiles that were shown in rooms are owed once more: showing them again changes
// nothing, and forgetting one that is owed would.
func derive(r kv.Reader, p journal.Partition, slot id.Slot, set func(key, value []byte)) {
	prefix := replica.Row(slot, machineByte, tableAccount)
	for k, v := range r.Scan(prefix, kv.End(prefix)) {
		d := decoder{v: k[len(prefix):]}
		user := id.UserID(d.str())
		d.end("account")
		set(namesKey(p, user), []byte{})
		if _, owed := lastShow(r, user); owed {
			set(owedKey(p, user), kv.U64(nil, int64(0)))
		}
		if decodeAccount(v).Deactivated {
			continue
		}
		for _, end := range ends(user, ProfileOf(r, user).Displayname) {
			set(endKey(p, end, user), []byte{})
		}
	}
}

// maxCandidates is how many rows of the index one search reads.
const maxCandidates = 20_000

// FindNamed yields the users in n partitions whose names have every word of a term in them, in no particular order; each once. A search that
// would have to read too much ends early.
func FindNamed(r kv.Reader, n int, term string) iter.Seq2[id.UserID, Profile] {
	return func(yield func(id.UserID, Profile) bool) {
		asked := words(term)
		if len(asked) == 0 {
			return
		}
		longest := asked[0]
		for _, w := range asked {
			if len(w) > len(longest) {
				longest = w
			}
		}
		seen := map[id.UserID]bool{}
		left := maxCandidates
		for p := range n {
			prefix := endsFrom(journal.Partition(p), longest)
			for k := range r.Scan(prefix, kv.End(prefix)) {
				if left--; left < 0 {
					return
				}
				d := decoder{v: k[bytes.IndexByte(k[len(prefix):], 0)+len(prefix)+1:]}
				user := id.UserID(d.str())
				d.end("name")
				if seen[user] {
					continue
				}
				seen[user] = true
				profile := ProfileOf(r, user)
				if hasAll(namesOf(user, profile.Displayname), asked) && !yield(user, profile) {
					return
				}
			}
		}
	}
}

// hasAll reports whether each of the parts is in one of the words.
func hasAll(words, parts []string) bool {
	for _, part := range parts {
		found := false
		for _, w := range words {
			found = found || strings.Contains(w, part)
		}
		if !found {
			return false
		}
	}
	return true
}
