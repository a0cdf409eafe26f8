//go:build !rules1

package app

// rulesVersion is the newest version of the state machines' rules that this build knows. Raise it with every change of what
// apply does, and keep the old behaviour under the old number.
const rulesVersion = 2
