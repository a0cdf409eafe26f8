package client

import (
	"log/slog"
	"net/http"
	"time"
)

// NewHTTPServer is an http.Server for many clients that mostly wait: slow senders are cut off before their headers are
// complete, idle connections are closed, and a waiting client costs as little as net/http allows (see BenchmarkIdleLongPoll).
// Bodies and answers have deadlines of their own (body.go, reply.go).
func NewHTTPServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		// Each answer sets a shorter or longer deadline when it begins. This one only replaces the deadline of the answer
		// before, and must be longer than any long poll.
		WriteTimeout:   30 * time.Minute,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 32 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
