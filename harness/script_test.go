package harness_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"bongsu/harness"
)

// TestScript runs the program as an operator does: testdata/script/*.txtar. Beyond the usual commands there are
//
//	port NAME         a free port of this machine becomes $NAME
//	await URL         waits until there is an answer
//	register URL WHO  makes an account over HTTP
//	flip PATTERN      changes a bit in the middle of the file that matches
func TestScript(t *testing.T) {
	dir := filepath.Dir(program(t))
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", dir+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"port": func(ts *testscript.TestScript, _ bool, args []string) {
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				ts.Setenv(args[0], fmt.Sprint(ln.Addr().(*net.TCPAddr).Port))
				ts.Check(ln.Close())
			},
			"await": func(ts *testscript.TestScript, neg bool, args []string) {
				if err := await(args[0]); (err != nil) != neg {
					ts.Fatalf("await %s: %v", args[0], err)
				}
			},
			"flip": func(ts *testscript.TestScript, _ bool, args []string) {
				names, err := filepath.Glob(ts.MkAbs(args[0]))
				ts.Check(err)
				if len(names) != 1 {
					ts.Fatalf("flip: %s matches %q", args[0], names)
				}
				data, err := os.ReadFile(names[0])
				ts.Check(err)
				data[len(data)/2] ^= 1
				ts.Check(os.WriteFile(names[0], data, 0o600))
			},
			"register": func(ts *testscript.TestScript, neg bool, args []string) {
				c := harness.NewClient(args[0])
				defer c.Close()
				if err := c.Register(t.Context(), args[1], "password of "+args[1]); (err != nil) != neg {
					ts.Fatalf("register %s: %v", args[1], err)
				}
			},
		},
	})
}

// await asks url until there is an answer.
func await(url string) error {
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(patience); ; {
		resp, err := client.Get(url)
		if err == nil {
			return resp.Body.Close()
		}
		if time.Now().After(end) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
