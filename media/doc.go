// Package media keeps the files that users upload, under random ids, and makes thumbnails of pictures.
//
// Invariants:
//   - An upload that was acknowledged is kept: its bytes were on stable storage before the record that names them was proposed,
//     and the record is durable and applied before the answer.
//   - The content of an id never changes. An id that was reserved takes one content, from the user who reserved it.
//
// Limits: a file has Config.MaxUpload bytes; pictures of more than Config.MaxPixels get no thumbnail; thumbnails come in a few fixed
// sizes, are never animated, and are kept in a cache that can be made again. Bytes whose record was not committed stay on the
// disk. A download of an id that is reserved and empty does not wait for the content.
//
// Where things are: machine.go (what is decided at apply), media.go (the service that the edge calls), info.go (types and names of
// files), thumbnail.go and orientation.go (pictures).
package media
