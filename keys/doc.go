// Package keys keeps what end-to-end encryption needs of a server: the public keys of devices, one-time keys to be claimed,
// cross-signing keys and signatures, the messages that wait for a device, and who must look at whose devices again.
//
// Invariants:
//   - A one-time key is given out once, ever: who gets it is decided at apply, and the id of a key that was uploaded is
//     remembered after it was claimed, so that an upload that is repeated does not bring it back.
//   - A message to a device is kept until that device has said that it has it, by syncing with a later token. A sender's
//     repeated request puts it there once.
//   - Whatever changes what others see of a user's devices leaves one entry in the index of device list changes, at its place.
//
// Limits: 1,000 one-time keys of an algorithm for a device; 64 KiB for a key object; a message and its list of devices must
// fit one proposal. About 90 bytes stay behind for a claimed key until its device is forgotten. An inbox has no bound of its own:
// it holds acknowledged messages.
//
// Where things are: rows.go (what is stored), machine.go and its neighbours upload.go, claim.go, todevice.go, signing.go, renew.go (what is
// decided at apply), read.go (what others may read), and the service that the edge calls: service.go, query.go, send.go, sign.go.
package keys
