// Package harness runs the real program and judges it from the outside: it starts the binary, loads it over HTTP, kills it,
// takes away its power and its disk, and checks that what was acknowledged is still there.
//
//	server.go   a process: start, ready line, kill -9, SIGTERM, restart on the same directory and port
//	disk.go     a file system of its own for the data, whose power can be cut
//	client.go   a thin Matrix client; matrix.go has its calls
//	follow.go   a sync loop that fills its gaps and keeps its token over restarts
//	load.go     users who talk, share files and claim keys, and write down what they were told; actions.go is what they do
//	history.go  what they wrote down
//	check.go    the promises, checked against a history
//
// Invariant: a finding is reported only for what a client was told over HTTP; the harness never looks into the data directory.
//
// Limits: one server on this machine; package drill makes a cluster of several. Cutting power needs root and Linux.
package harness
