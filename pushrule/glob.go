package pushrule

import (
	"strings"
	"unicode/utf8"
)

// glob is a lower-cased pattern in which * is any text and ? any character.
type glob struct {
	text  string // the pattern itself
	plain bool   // it has neither * nor ?
	runes []rune // the pattern, runs of * made one; nil if plain
}

// Glob reports whether a pattern, in which * is any text and ? any character, matches all of s, whatever the case.
func Glob(pattern, s string) bool {
	g := newGlob(pattern)
	return g.whole(strings.ToLower(s))
}

func newGlob(pattern string) glob {
	g := glob{text: strings.ToLower(pattern)}
	if g.plain = !strings.ContainsAny(g.text, "*?"); g.plain {
		return g
	}
	for _, c := range g.text {
		if c == '*' && len(g.runes) > 0 && g.runes[len(g.runes)-1] == '*' {
			continue
		}
		g.runes = append(g.runes, c)
	}
	return g
}

// whole reports whether the pattern matches all of s, which is lower-cased.
func (g *glob) whole(s string) bool {
	if g.plain {
		return g.text == s
	}
	// After a mismatch the last * takes one more character; earlier ones need never be looked at again.
	var (
		p, star = 0, -1
		retry   string
	)
	for {
		switch {
		case p < len(g.runes) && g.runes[p] == '*':
			star, retry = p, s
			p++
			continue
		case s == "":
			return p == len(g.runes)
		}
		c, n := utf8.DecodeRuneInString(s)
		if p < len(g.runes) && (g.runes[p] == '?' || g.runes[p] == c) {
			s = s[n:]
			p++
			continue
		}
		if star < 0 {
			return false
		}
		_, n = utf8.DecodeRuneInString(retry)
		retry = retry[n:]
		s, p = retry, star+1
	}
}

// words reports whether the pattern matches a part of s, which is lower-cased, that begins and ends at word boundaries.
func (g *glob) words(s string) bool {
	if g.plain {
		return containsWords(s, g.text)
	}
	return g.simulate(s)
}

// containsWords reports whether s has part with a word boundary before and after it.
func containsWords(s, part string) bool {
	if part == "" {
		return false // nothing is no part of anything that one would want to be told about
	}
	for from := 0; ; {
		i := strings.Index(s[from:], part)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(part)
		if (i == 0 || edge(s[i-1], s[i])) && (end == len(s) || edge(s[end-1], s[end])) {
			return true
		}
		from = i + 1
	}
}

// edge reports whether there is a word boundary between two neighbouring bytes: one of them is no word character.
func edge(a, b byte) bool { return !word(a) || !word(b) }

func word(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// simulate runs the pattern over s from all word boundaries at once: states are how much of the pattern has matched.
func (g *glob) simulate(s string) bool {
	states, next := make([]bool, len(g.runes)+1), make([]bool, len(g.runes)+1)
	for i := 0; ; {
		boundary := i == 0 || i == len(s) || edge(s[i-1], s[i])
		if boundary {
			states[0] = true
		}
		for p, c := range g.runes {
			if states[p] && c == '*' {
				states[p+1] = true // it matches nothing
			}
		}
		if boundary && states[len(g.runes)] {
			return true
		}
		if i == len(s) {
			return false
		}
		c, n := utf8.DecodeRuneInString(s[i:])
		clear(next)
		for p, want := range g.runes {
			switch {
			case !states[p]:
			case want == '*':
				next[p] = true
			case want == '?' || want == c:
				next[p+1] = true
			}
		}
		states, next = next, states
		i += n
	}
}
