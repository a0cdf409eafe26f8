// Package roam shows how a client of several sites should behave: it is an http.RoundTripper that knows the addresses of all
// sites and finds one that answers. It works beneath any HTTP client, the Matrix SDKs for Go among them.
//
//	roam.go    the transport: one request, tried until a site answers it
//	choice.go  which site is next: the fastest at first, then whoever is there; pins for tests
//	repeat.go  which requests may be sent twice
//	learn.go   the list of sites that a server publishes
//
// At the start, and again every few minutes, all sites race for one small request and the first to answer is kept. A
// request goes to the kept site and moves on at once when the connection fails, when the answer is 502, 503 or 504, or when the
// site shows no sign of life while an answer is awaited: so a long poll leaves a frozen site within seconds, and waits on a sound one as long
// as it likes. What is sent again is the same method, path, transaction id and body. When no site answers, rounds follow each
// other after pauses that grow and vary; when a single site is left and names a Retry-After, that is honoured.
//
// Invariant: a request that could have a second effect is never sent twice. See Repeatable.
//
// Limits: requests whose body cannot be read again (no GetBody) are sent once. Answers are read into memory up to a
// limit before they are handed out, so that a site that dies in the middle of an answer is noticed here; what is longer streams, and may break.
package roam
