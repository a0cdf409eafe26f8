package jet

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
)

// engineLog passes the engine's log to ours and listens for what ends appending. The engine says nothing else about a failed
// write: the publisher is left without an answer.
type engineLog struct {
	log  *slog.Logger
	fail func(error)
}

func (l *engineLog) Noticef(format string, v ...any) {
	l.log.Debug("engine: " + fmt.Sprintf(format, v...))
}
func (l *engineLog) Debugf(format string, v ...any) {
	l.log.Debug("engine: " + fmt.Sprintf(format, v...))
}
func (l *engineLog) Tracef(string, ...any) {}

// Warnf is where the engine tells of odd files and slow parts; what matters of it fails the checks at start.
func (l *engineLog) Warnf(format string, v ...any) {
	if format == plaintext {
		return
	}
	l.log.Warn("engine: " + fmt.Sprintf(format, v...))
}

func (l *engineLog) Errorf(format string, v ...any) {
	if strings.HasPrefix(format, unreachable) { // every second while a site is away; who watches the sites says it once
		l.log.Debug("engine: " + fmt.Sprintf(format, v...))
		return
	}
	l.log.Error("engine: " + fmt.Sprintf(format, v...))
	if cause := illness(format, v); cause != nil {
		l.fail(cause)
	}
}

// Fatalf would end the process in the engine's own logger.
func (l *engineLog) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	l.log.Error("engine stopped: " + msg)
	cause := illness(format, v)
	if cause == nil {
		cause = errStopped
	}
	l.fail(fmt.Errorf("%w: %s", cause, msg))
}

// plaintext is what the engine says of the password that a cluster's engine is given: it is random, and in no file.
const plaintext = "Plaintext passwords detected, use nkeys or bcrypt"

// unreachable is how the engine begins to say that another site cannot be reached.
const unreachable = "Error trying to connect to route"

// illness reads from an error message whether the engine can still append.
func illness(format string, v []any) error {
	for _, a := range v {
		err, ok := a.(error)
		if !ok {
			continue
		}
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			return errNoSpace
		}
		if strings.Contains(strings.ToLower(format), "write error") {
			return fmt.Errorf("%w: %w", errWrite, err)
		}
	}
	return nil
}
