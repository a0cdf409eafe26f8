//go:build !rules1

package app

// rulesVersion is the newest version of the state machines' rules that this build knows. Raise it with every change of what
// apply does, and keep the old behaviour under the old number:
//
//	1  the first
//	2  catching up by an own record, refusals kept, profiles owed to rooms
//	3  the kinds of proposal whose Since is 3
const rulesVersion = 3
