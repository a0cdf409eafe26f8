// Package account keeps who may use the server and what belongs to them alone: accounts with their password hashes, devices and
// access tokens, profiles, account data (push rules among it) and sync filters.
//
// Invariants:
//   - A user name is given away once, ever: the account of a closed one stays.
//   - A device has exactly one access token, and a token belongs to one device. A device's end is its token's end, and the other
//     way round.
//   - The journal and the rows hold SHA-256 of tokens and argon2id of passwords, never the secrets themselves. Both are
//     computed by the submitter; apply knows no randomness.
//   - A password that was checked before a write is still the password when the write is applied, or the write is refused.
//   - What /sync must find incrementally carries its place.
//
// Limits: a profile has 64 KiB, a piece of account data 256 KiB, a filter 64 KiB; when a device was last seen is kept to the hour.
//
// Where things are: rows.go (what is stored), machine.go and data.go (what is decided at apply), read.go (what others may read),
// herald.go (who sees to it that rooms show a new profile), token.go, sessions.go (whose a token is, remembered), openid.go (tokens
// for other services), succeed.go (what follows a user into a room that replaces another), and the service that the edge and the
// operator call: service.go, profile.go, admin.go.
package account
