// Package room is rooms: their events in order, who is in them, what state they have, and how far each member has read.
//
// A room's rows are changed by one state machine (Machine), whose handlers decide each proposal against the room's current
// state when it is applied: the rules of package roomstate, the place in the room's history, the event's id. The service
// (Service, made by New) validates what the edge hands it, gathers what lies outside of the room (profiles, the random part of a new
// room's id) and submits. Readers open a room on any kv.Reader with Open.
//
// Invariants:
//   - The events of a room are in one order, that of their places; each is the only successor of the one before, so a room has
//     one forward extremity and its depth grows by one.
//   - An event is in the timeline if and only if its id is in the index of ids; the current state of a key is the last row
//     of that key's history; the counts in the head are those of the member rows.
//   - Every event fulfils the auth rules in the state before it, and its id is the hash of what it was when it was made.
//   - A refused proposal leaves nothing; a room whose creation is refused does not exist.
//   - An alias stands for one room. A room that was made with an alias has it, and one that was refused has left none behind.
//   - A room is replaced once; its tombstone names a room that is there.
//
// Where things are: rows.go (tables and their formats), read.go and sight.go (reading), erase.go (what readers get redacted),
// apply.go (the core of every change), create.go, send.go, member.go, receipt.go (the kinds of proposal), succeed.go (what follows
// members into a new room), service*.go (towards the edge), token.go (pages); alias.go, found.go and public.go (how rooms are
// found), summary.go and hierarchy.go (what is shown of them), upgrade.go, report.go.
//
// Limits: room versions 6 to 12; no federation, so all members are users of this server and there is no state resolution;
// at most 1,000 events and 200 invites when a room is created. A page of the directory reads the head of every published room, which
// is quick up to some ten thousand of them.
package room
