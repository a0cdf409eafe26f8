// Package mailertest is a small mail server in the process, for tests: it takes messages and shows them.
//
// Invariant: a message is on Messages when the client has been told that it was taken.
//
// Limits: what a client of today sends, over one connection at a time; AUTH PLAIN; nothing is delivered.
package mailertest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/textproto"
	"strings"
	"sync"
	"testing"
)

// Message is a message that was taken.
type Message struct {
	From, To string // of the envelope
	User     string // who logged in, "name password"; or ""
	Secure   bool   // it came over TLS
	Subject  string
	Text     string
}

// Server is a running mail server.
type Server struct {
	Address  string
	Messages chan Message
	TLS      *tls.Config // offers STARTTLS; nil: does not
	Refuse   string      // if not empty, what is said in place of taking a message: "451 not now"

	ln    net.Listener
	done  sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool
}

// Start starts a server, which ends with the test.
func Start(t testing.TB, config *tls.Config) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: ln.Addr().String(), Messages: make(chan Message, 100), TLS: config, ln: ln, conns: map[net.Conn]bool{}}
	s.done.Go(s.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.done.Wait()
	})
	return s
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.done.Go(func() {
			defer func() { _ = c.Close() }()
			s.serve(c)
		})
	}
}

func (s *Server) serve(c net.Conn) {
	r := textproto.NewReader(bufio.NewReader(c))
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 mailertest")
	var m Message
	for {
		line, err := r.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			if s.TLS != nil && !m.Secure {
				say("250-mailertest")
				say("250 STARTTLS")
				continue
			}
			say("250-mailertest")
			say("250 AUTH PLAIN")
		case "STARTTLS":
			say("220 go on")
			over := tls.Server(c, s.TLS)
			if over.Handshake() != nil { //nolint:noctx // ends with the connection
				return
			}
			c, r, m.Secure = over, textproto.NewReader(bufio.NewReader(over)), true
			say = func(format string, args ...any) { _, _ = fmt.Fprintf(over, format+"\r\n", args...) }
		case "AUTH":
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(rest, "PLAIN "))
			m.User = strings.Join(strings.Split(string(raw), "\x00")[1:], " ")
			say("235 welcome")
		case "MAIL":
			m.From = between(rest)
			say("250 good")
		case "RCPT":
			m.To = between(rest)
			say("250 good")
		case "DATA":
			say("354 go on")
			data, err := io.ReadAll(r.DotReader())
			if err != nil {
				return
			}
			if s.Refuse != "" {
				say("%s", s.Refuse)
				continue
			}
			m.Subject, m.Text = read(string(data))
			s.Messages <- m
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 good")
		}
	}
}

// between is what stands between angle brackets.
func between(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func read(data string) (subject, text string) {
	m, err := mail.ReadMessage(strings.NewReader(data))
	if err != nil {
		return "", err.Error()
	}
	subject, _ = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	body := m.Body
	if strings.EqualFold(m.Header.Get("Content-Transfer-Encoding"), "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	raw, _ := io.ReadAll(body)
	return subject, string(raw)
}
