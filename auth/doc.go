// Package auth holds how people prove who they are: the hashing of passwords, and user-interactive authentication. It keeps
// nothing: what was passed of longer flows is kept by a Progress.
//
// Invariants: a wrong password, an unknown user and an account without a password cost the same work. No more than
// Config.Parallel passwords are hashed at a time, so that a flood of logins takes neither all cores nor all memory.
//
// Limits: a password has at most 512 bytes.
package auth
