// No code: with a file of assembly in the package, the compiler takes a function without a body (leader.go) for one that is elsewhere.
