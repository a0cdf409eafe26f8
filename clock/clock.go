// Package clock is where time comes from. Code that needs the time takes a Clock; nothing below the edge calls time.Now.
// In tests with virtual time (testing/synctest) System works as it is; Func lets a fault plan bend a site's clock.
package clock

import "time"

// Clock tells the time of day.
type Clock interface {
	Now() time.Time
}

// System is the machine's clock.
type System struct{}

// Now is time.Now.
func (System) Now() time.Time { return time.Now() }

// Func is a clock made of a function, for tests and fault plans.
type Func func() time.Time

// Now calls f.
func (f Func) Now() time.Time { return f() }

// Deadline is d from now for a connection: these are held against the machine's own clock, whatever another Clock says.
func Deadline(d time.Duration) time.Time { return time.Now().Add(d) }

// Millis is t as Unix milliseconds, the unit of all times in records, rows and events.
func Millis(t time.Time) int64 { return t.UnixMilli() }
