// Package auth holds how people prove who they are: the hashing of passwords, and user-interactive authentication. It keeps
// nothing: no rows, no sessions.
//
// Invariants: a wrong password, an unknown user and an account without a password cost the same work. No more than
// Config.Parallel passwords are hashed at a time, so that a flood of logins takes neither all cores nor all memory.
//
// Limits: flows of one stage only; a password has at most 512 bytes.
package auth
