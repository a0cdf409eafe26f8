package harness_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"bongsu/api/client"
	"bongsu/spec"
)

// The bad input of this file is made from the specification's schemas, so that it reaches members that no test thought of.

// lenient are operations, places of their bodies and values there, where what the specification does not allow is let pass, with the reason.
var lenient = map[string]string{
	"uploadCrossSigningSignatures":     "each key has a failure of its own in the answer",
	"queryKeys /timeout":               "nobody is asked who could be slow: there is no federation",
	"claimKeys /timeout":               "as above",
	"joinRoom /third_party_signed":     "no identity servers: it is not looked at",
	"joinRoomById /third_party_signed": "as above",
	"delete3pidFromAccount /id_server": "no identity servers: it is not looked at",
	"unbind3pidFromAccount /id_server": "as above",
	`createRoom /preset is ""`:         "the default",
	`createRoom /visibility is ""`:     "as above",
	"postRoomKeysVersion /algorithm":   "the server cannot read backups: how they are made is for clients to know",
	"putRoomKeysVersion /algorithm":    "as above",
	"defineFilter":                     "a filter is kept as it is, and what it says in no known form filters nothing",
}

// lenientParameters are query parameters that may be of any form, with the reason.
var lenientParameters = map[string]string{
	"joinRoom via":               "no federation: it is not looked at",
	"knockRoom via":              "as above",
	"getRoomSummary via":         "as above",
	"getEventByTimestamp ts":     "a time before 1970 is one as well",
	"getContentThumbnail width":  "the endpoint is closed, and says so before it looks at anything",
	"getContentThumbnail height": "as above",
}

// letPass reports whether a place is in table, beneath one that is, or is there with its value.
func letPass(table map[string]string, op, at, what string) bool {
	for place := range table {
		if place == op || place == op+" "+what || strings.HasPrefix(op+" "+at+"/", place+"/") {
			return true
		}
	}
	return false
}

// clearCodes are the errcodes for a body that the schema does not allow.
var clearCodes = []string{"M_BAD_JSON", "M_NOT_JSON", "M_MISSING_PARAM", "M_INVALID_PARAM", "M_TOO_LARGE"}

// generated is a request with a body that is bad in one place.
type generated struct {
	route client.Route
	usual string // the errcode for the body without the fault, if it is refused anyway
	spec.BadBody
}

// TestBadInputGenerated sends, for each operation with a body, variants of a full body that are wrong in one place. A part of
// them by chance; BONGSU_BAD_BODIES says how many.
func TestBadInputGenerated(t *testing.T) {
	a := newAbused(t)
	s, err := specification()
	if err != nil {
		t.Fatal(err)
	}
	seed := seed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	var all []generated
	for _, r := range routes {
		op := s.Operation(r.Op)
		if op == nil || !hasBody(r) || a.bodies[r.Op] == "" { // TestBadInputTypes asks for one
			continue
		}
		full, err := op.Full([]byte(a.bodies[r.Op]))
		if err != nil {
			t.Fatalf("%s: %v", r.Op, err)
		}
		for _, body := range [][]byte{full, []byte(a.bodies[r.Op])} {
			bad, err := op.BadBodies(body)
			if err != nil {
				t.Fatalf("%s: %v", r.Op, err)
			}
			_, usual := a.ask(r, a.path(r, "", ""), a.token(r), body)
			for _, b := range bad {
				all = append(all, generated{r, usual, b})
			}
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	n := rounds(t, "BONGSU_BAD_BODIES", 1500)
	t.Logf("%d of %d variants", min(n, len(all)), len(all))
	for _, g := range all[:min(n, len(all))] {
		status, code := a.ask(g.route, a.path(g.route, "", ""), a.token(g.route), g.Text)
		wrong := s.Operation(g.route.Op).CheckBody(g.Text)
		// null is how many clients leave something out.
		if len(wrong) == 0 || strings.HasSuffix(g.What, " null") || strings.HasSuffix(g.What, " [null]") || letPass(lenient, g.route.Op, g.At, g.What) {
			continue
		}
		if status/100 == 2 {
			t.Errorf("%s takes a body in which %s (%s): %.300s", g.route.Op, g.What, wrong[0], g.Text)
		} else if status == http.StatusBadRequest && code != g.usual && !slices.Contains(clearCodes, code) {
			t.Errorf("%s: 400 %s for a body in which %s (%s)", g.route.Op, code, g.What, wrong[0])
		}
	}
	a.sound()
}

// TestBadInputParameters leaves out every query parameter that must be there, and puts values of other types into all.
func TestBadInputParameters(t *testing.T) {
	a := newAbused(t)
	s, err := specification()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		op := s.Operation(r.Op)
		if op == nil {
			continue
		}
		good := url.Values{}
		for _, p := range op.Parameters {
			if p.In == "query" && p.Required {
				good.Set(p.Name, goodParameter(p))
			}
		}
		for _, p := range op.Parameters {
			if p.In != "query" {
				continue
			}
			if letPass(lenientParameters, r.Op, p.Name, "") {
				continue
			}
			if p.Required {
				query := clone(good)
				query.Del(p.Name)
				status, code := a.ask(r, a.path(r, "", "")+"?"+query.Encode(), a.token(r), []byte(a.bodies[r.Op]))
				if status != 400 || code != "M_MISSING_PARAM" {
					t.Errorf("%s without %s: %d %s, want 400 M_MISSING_PARAM", r.Op, p.Name, status, code)
				}
			}
			for _, bad := range badParameters(p) {
				query := clone(good)
				query.Set(p.Name, bad)
				status, code := a.ask(r, a.path(r, "", "")+"?"+query.Encode(), a.token(r), []byte(a.bodies[r.Op]))
				if status/100 == 2 || status == 400 && code != "M_INVALID_PARAM" {
					t.Errorf("%s with %s=%q: %d %s, want 400 M_INVALID_PARAM", r.Op, p.Name, bad, status, code)
				}
			}
		}
	}
	a.sound()
}

func clone(v url.Values) url.Values {
	out := url.Values{}
	for k := range v {
		out[k] = slices.Clone(v[k])
	}
	return out
}

// goodParameter is a value that a parameter may have.
func goodParameter(p spec.Parameter) string {
	switch e, ok := p.Schema["enum"].([]any); {
	case ok:
		return fmt.Sprint(e[0])
	case p.Schema["type"] == "integer":
		return "10"
	case p.Schema["type"] == "boolean":
		return "true"
	}
	return "x"
}

// badParameters are values that a parameter must not have.
func badParameters(p spec.Parameter) []string {
	all := []string{"\x00", "\xff"}
	if _, ok := p.Schema["enum"]; ok {
		all = append(all, "nonsense", "1")
	}
	switch p.Schema["type"] {
	case "integer":
		all = append(all, "abc", "1.5", "-1", "1e3", "0x10", strings.Repeat("9", 400))
	case "boolean":
		all = append(all, "maybe", "2", "[]")
	}
	return all
}

// TestBadInputMediaTypes sends good bodies as what they are not, and raw bytes as JSON.
func TestBadInputMediaTypes(t *testing.T) {
	a := newAbused(t)
	rng := rand.New(rand.NewPCG(seed(t), 2))
	for _, r := range routes {
		if !hasBody(r) || a.bodies[r.Op] == "" { // TestBadInputTypes asks for one
			continue
		}
		for _, kind := range []string{"", "text/plain", "multipart/form-data", "application/json; charset=utf-16", "\""} {
			a.kind = kind
			a.ask(r, a.path(r, "", ""), a.token(r), []byte(a.bodies[r.Op]))
		}
		a.kind = ""
		good := []byte(a.bodies[r.Op])
		for range 3 { // one byte is another
			bad := bytes.Clone(good)
			bad[rng.IntN(len(bad))] = byte(rng.IntN(256))
			a.ask(r, a.path(r, "", ""), a.token(r), bad)
		}
		for range 2 { // the end is missing
			status, code := a.ask(r, a.path(r, "", ""), a.token(r), good[:1+rng.IntN(len(good)-1)])
			if status/100 == 2 || status == 400 && code != "M_NOT_JSON" && code != "M_BAD_JSON" {
				t.Errorf("%s with a part of a body: %d %s", r.Op, status, code)
			}
		}
	}
	a.sound()
}
