// Package replica turns the journal into state. It reads each partition in order and applies every record to local rows
// through deterministic state machines; it gathers proposals into records, appends them, and hands the verdict on each to
// whoever submitted it.
//
// A proposal's verdict (accepted with a result, or refused with a reason) is reached when it is applied, identically at
// every site (docs/adr/0001-decide-at-apply.md). Handlers of the edge may refuse the obviously wrong early; only the verdict
// counts.
//
// Invariants:
//   - State is a function of the journal: two replicas at one position of a partition hold the same state rows, and their
//     digests say so. Handlers read nothing but their Tx.
//   - The applied position, the hash of its record and the digest are written in the batch of the rows. State never runs
//     ahead of the journal: what the journal does not confirm is discarded.
//   - A proposal with a Key has one effect, however often and wherever it is submitted; and none after its submitter was told that it
//     was refused, unless it is submitted again.
//   - Submit answers after the record is durable and applied here.
//   - One goroutine applies a partition, one appends to it, one forwards its outbox.
//
// Limits: a record carries at most 512 KiB of proposals; one proposal at most 512 KiB; queues are bounded in bytes
// (Config.Queue); a handler that writes more than some ten thousand rows in one proposal is slow.
//
// Over several sites each runs a replica of the same journal. A site that is alone serves what it has; it knows "now" by appending
// (catchup.go); rows that are lost, damaged, trimmed away or outvoted are made anew while it runs, and meanwhile Serving says so.
//
// Where things are: record.go (what the journal holds), machine.go and tx.go (what a state machine sees), apply.go (the
// heart), queue.go, submit.go and tick.go (towards the journal), settle.go and follow.go (back from it), service.go (in and out of
// service), claims.go and digest.go (sites compared), refusal.go, outbox.go (between partitions), checkpoint.go, derive.go (indexes made anew), system.go and begin.go
// (the replica's own proposals), rows.go (key layout).
package replica
