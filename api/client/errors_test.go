package client

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"bongsu/errs"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

// TestErrorTable holds the table against testdata/errors.golden: a change here changes what clients do.
func TestErrorTable(t *testing.T) {
	var got strings.Builder
	for _, row := range errorTable {
		fmt.Fprintf(&got, "%-16s %-20s %d %s\n", row.Kind, row.Code, row.Status, row.Errcode)
	}
	const file = "testdata/errors.golden"
	if *rewrite {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the table is now (rewrite with -rewrite):\n%s", got.String())
	}
}

func TestEveryKindAndCodeHasARow(t *testing.T) {
	for k := errs.Internal; !strings.HasPrefix(k.String(), "kind("); k++ {
		if row := lookup(k, ""); row.Kind != k || row.Code != "" {
			t.Errorf("kind %s has no row", k)
		}
	}
	// The codes are read from the source, so that a new one cannot be forgotten.
	file, err := parser.ParseFile(token.NewFileSet(), "../../errs/errs.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Code" {
			return true
		}
		code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value) //nolint:errcheck // a literal, or the test panics
		if err != nil {
			t.Fatal(err)
		}
		if lookup(errs.Internal, errs.Code(code)).Code != errs.Code(code) {
			t.Errorf("code %s has no row", code)
		}
		codes++
		return true
	})
	if codes < 10 {
		t.Errorf("found only %d codes in errs.go", codes)
	}
	seen := map[string]bool{}
	for _, row := range errorTable {
		key := fmt.Sprint(row.Kind, row.Code)
		if row.Code != "" {
			key = string(row.Code)
		}
		if seen[key] {
			t.Errorf("two rows for %s", key)
		}
		seen[key] = true
	}
}

func TestErrors(t *testing.T) {
	secret := errors.New("secret detail")
	for name, c := range map[string]struct {
		err        error
		status     int
		errcode    string
		retryAfter string
		logged     bool
	}{
		"plain":        {secret, 500, "M_UNKNOWN", "", true},
		"wrapped":      {errs.Wrap("x", secret), 500, "M_UNKNOWN", "", true},
		"internal":     {errs.New("x", errs.Internal, "", "secret detail"), 500, "M_UNKNOWN", "", true},
		"deep":         {fmt.Errorf("secret detail: %w", errs.New("x", errs.Conflict, errs.UserInUse, "taken")), 400, "M_USER_IN_USE", "", false},
		"unknown kind": {&errs.Error{Op: "x", Kind: 99, Message: "?"}, 500, "M_UNKNOWN", "", false},
		"unknown code": {errs.New("x", errs.Invalid, "new", "?"), 400, "M_INVALID_PARAM", "", false},
		"limited":      {&errs.Error{Kind: errs.Limited, Message: "slow", RetryAfter: 1100 * time.Millisecond}, 429, "M_LIMIT_EXCEEDED", "2", false},
		"unavailable":  {&errs.Error{Kind: errs.Unavailable, Message: "no quorum"}, 503, "M_UNKNOWN", "1", false},
		"disk":         {errs.New("x", errs.Unavailable, errs.DiskFull, "full"), 503, "M_UNKNOWN", "1", false},
		"late":         {errs.Wrap("x", context.DeadlineExceeded), 503, "M_UNKNOWN", "1", false},
	} {
		t.Run(name, func(t *testing.T) {
			ta := newTestAPI(t, nil, Route{Op: "x", Method: "GET", Path: "/x",
				Handle: func(context.Context, *Request) (any, error) { return nil, c.err }})
			w := ta.call(t, "GET", "/x", "")
			expect(t, w, c.status, c.errcode)
			if got := w.Header().Get("Retry-After"); got != c.retryAfter {
				t.Errorf("Retry-After: %q, want %q", got, c.retryAfter)
			}
			if c.retryAfter != "" && !strings.Contains(w.Body.String(), `"retry_after_ms":`) {
				t.Errorf("no retry_after_ms: %s", w.Body)
			}
			if strings.Contains(w.Body.String(), "secret") {
				t.Errorf("told too much: %s", w.Body)
			}
			if n := strings.Count(ta.log.String(), "level=ERROR"); n != map[bool]int{true: 1}[c.logged] {
				t.Errorf("logged %d times:\n%s", n, ta.log)
			}
			if id := w.Header().Get("X-Request-Id"); c.logged && (id == "" || !strings.Contains(ta.log.String(), id)) {
				t.Errorf("request id %q is not in the log:\n%s", id, ta.log)
			}
		})
	}
}

func TestClientGone(t *testing.T) {
	ta := newTestAPI(t, nil, Route{Op: "x", Method: "GET", Path: "/x", LongPoll: true,
		Handle: func(ctx context.Context, _ *Request) (any, error) { return nil, errs.Wrap("x", ctx.Err()) }})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := newRequest(t, "GET", "/x?access_token=amys", "").WithContext(ctx)
	if w := ta.do(r); w.Body.Len() != 0 || strings.Contains(ta.log.String(), "ERROR") || !strings.Contains(ta.log.String(), "status=499") {
		t.Errorf("%s\n%s", w.Body, ta.log)
	}
}
