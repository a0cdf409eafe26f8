package model_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bongsu/harness/model"
)

// user is somebody who uses the server, with what they have been given by it.
type user struct {
	id, name, token, device string
	display, avatar         string

	tokens []*model.Token // of /sync, the latest last
	pages  []page
}

// page is a page token.
type page struct {
	room, text string
	gap        model.Gap
}

func (u *user) viewer() model.Viewer { return model.Viewer{User: u.id, Device: u.device} }

// run is one course of random traffic. Each step draws from a source of its own, so that others can be left out: what remains does
// the same kind of thing to the same users and rooms.
type run struct {
	ctx   context.Context
	api   http.Handler
	seed  uint64
	rooms int // at most

	w        *model.World
	users    []*user
	versions []string
	dice     *rand.Rand
	step     int
	sent     int // messages
	counts   map[string]int
	trace    []string
	last     *answer
	did      map[int]deed
}

// deed is what a step was about.
type deed struct {
	user  *user
	light bool // it changes nothing for others
}

// failure is what a step ends with that finds a difference.
type failure string

func fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// setting is how large the traffic is.
type setting struct {
	seed         uint64
	users, rooms int
	wrap         func(http.Handler) http.Handler // plants a fault; may be nil
}

func newRun(t testing.TB, s setting) *run {
	t.Helper()
	x := &run{ctx: t.Context(), seed: s.seed, rooms: s.rooms, w: model.NewWorld(), counts: map[string]int{}, did: map[int]deed{}}
	api := newSite(t)
	x.api = api
	if s.wrap != nil {
		x.api = s.wrap(api)
	}
	for i := range s.users {
		u := &user{name: fmt.Sprintf("u%02d", i)}
		u.id, u.device = "@"+u.name+":h", "D"+u.name
		a := ask(x.ctx, api, "", "POST", "/register",
			`{"username":"`+u.name+`","password":"long enough","device_id":"`+u.device+`","auth":{"type":"m.login.dummy"}}`)
		var out struct {
			Token string `json:"access_token"`
		}
		if err := json.Unmarshal(a.body, &out); err != nil || out.Token == "" {
			t.Fatalf("register: %v %s", a, a.body)
		}
		u.token = out.Token
		x.users = append(x.users, u)
	}
	a := ask(x.ctx, api, x.users[0].token, "GET", "/capabilities", "")
	var out struct {
		Capabilities struct {
			Versions struct {
				Available map[string]string `json:"available"`
			} `json:"m.room_versions"`
		} `json:"capabilities"`
	}
	if err := json.Unmarshal(a.body, &out); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"6", "7", "8", "9", "10", "11", "12"} {
		if out.Capabilities.Versions.Available[v] != "" {
			x.versions = append(x.versions, v)
		}
	}
	return x
}

// do takes a step; what is wrong with it comes back. A step below zero, -1 for the first user and so on, is a last look.
func (x *run) do(step int) (wrong string) {
	defer func() {
		if f, ok := recover().(failure); ok {
			wrong = fmt.Sprintf("step %d: %s", step, string(f))
		}
	}()
	x.step, x.dice = step, rand.New(rand.NewPCG(x.seed, uint64(step))) //nolint:gosec // any number will do
	if step < 0 {
		x.look(x.users[-1-step])
		return ""
	}
	x.act(pick(x.dice, x.users))
	return ""
}

func pick[T any](dice *rand.Rand, all []T) T { return all[dice.IntN(len(all))] }

// chance is true once in n times.
func (x *run) chance(n int) bool { return x.dice.IntN(n) == 0 }

// other is any user.
func (x *run) other() *user { return pick(x.dice, x.users) }

// call makes a request and notes it in the trace.
func (x *run) call(u *user, method, path string, body any) *answer {
	text := ""
	if body != nil {
		text = model.JSON(body)
	}
	a := ask(x.ctx, x.api, u.token, method, path, text)
	plain, err := url.QueryUnescape(path)
	if err != nil {
		plain = path
	}
	x.last = a
	x.trace = append(x.trace, fmt.Sprintf("%6d %s %s %s %s: %v", x.step, u.name, method, plain, text, a))
	return a
}

// read decodes what must be a success.
func read[T any](a *answer) *T {
	out := new(T)
	if a.status != http.StatusOK {
		fail("refused: %v %s", a, a.body)
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		fail("%v: %s", err, a.body)
	}
	return out
}

// refused wants an answer to be an error.
func refused(a *answer, status int, errcode, why string) {
	if a.status != status || a.errcode != errcode {
		fail("the answer is %v and should be %d %s: %s\n%s", a, status, errcode, why, a.body)
	}
}

const forbidden = "M_FORBIDDEN"

// must fails the step with err.
func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// path joins segments, each escaped.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

func query(q map[string]string) string {
	v := url.Values{}
	for k, s := range q {
		v.Set(k, s)
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

// attempt runs steps on a new server until one is wrong.
func attempt(t testing.TB, s setting, steps []int) (wrong string, at int, x *run) {
	t.Helper()
	x = newRun(t, s)
	for i, step := range steps {
		if wrong = x.do(step); wrong != "" {
			return wrong, i, x
		}
	}
	return "", len(steps), x
}

// heavy are the steps that may matter to others, and those of whoever took the last one.
func (x *run) heavy(steps []int) []int {
	last := x.did[steps[len(steps)-1]]
	return slices.DeleteFunc(slices.Clone(steps), func(step int) bool {
		d := x.did[step]
		return d.light && d.user != last.user
	})
}

// kind is what sort of difference was found: its words without names and numbers.
func kind(wrong string) string {
	_, words, _ := strings.Cut(wrong, ": ")
	return strings.Join(strings.FieldsFunc(names.ReplaceAllString(words, ""), func(r rune) bool { return r == ' ' }), " ")
}

var names = regexp.MustCompile("room [^ ]* |[@!$\"][^ ]*|m[.]room[.][a-z_]*|org[.][a-z.]*|[0-9]+")

// shrink leaves out steps as long as the same sort of thing is wrong without them, and time allows.
func shrink(t testing.TB, s setting, steps []int, limit time.Duration) (wrong string, x *run) {
	t.Helper()
	end := time.Now().Add(limit)
	wrong, at, x := attempt(t, s, steps)
	if wrong == "" {
		return "", x
	}
	steps = steps[:at+1]
	without := func(fewer []int) bool {
		now, at, y := attempt(t, s, fewer)
		if now == "" || kind(now) != kind(wrong) {
			return false
		}
		wrong, x, steps = now, y, fewer[:at+1]
		return true
	}
	without(x.heavy(steps))
	for size := len(steps) / 2; size > 0 && time.Now().Before(end); {
		removed := false
		for from := 0; from+size < len(steps) && time.Now().Before(end); {
			if without(slices.Concat(steps[:from], steps[from+size:])) {
				removed = true
			} else {
				from += size
			}
		}
		if !removed || size > len(steps)/2 {
			size /= 2
		}
	}
	return wrong, x
}
