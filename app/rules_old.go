//go:build rules1

package app

// rulesVersion of a build with the tag rules1 is older than the state machines in it are: such a build stands for an older program
// in tests of upgrades, and is of no other use.
const rulesVersion = 1
