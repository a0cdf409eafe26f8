// Package seed keeps the whole state of a server in one directory, from which empty data directories are made whose journals go on
// where it ends: a backup, the way from one node to three sites, and what a survivor saves are all seeds.
//
// A seed holds seed.json (the Manifest), one checkpoint for each partition, the files that users uploaded (blobs/), and their list
// (blobs.list).
//
// Invariants:
//   - The checkpoints are a consistent cut (replica.Cut).
//   - seed.json comes last: a directory with it is whole, one without is not a seed. It holds the hash of everything else and of
//     itself.
//   - What Write returned was read back from the disk and found right.
//
// Limits: a seed is as large as the state and the files together; the list of files is held in memory (about 100 bytes each) while
// a seed is made or checked. Whoever can read a seed can read what the server can read.
//
// Where things are: manifest.go (what a seed says of itself), write.go, verify.go, first.go (what a data directory made from a seed
// begins with), files.go.
package seed
