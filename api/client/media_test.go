package client

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"bongsu/blob"
	"bongsu/media"
	"bongsu/replica"
	"bongsu/replica/replicatest"
)

const mediaLimit = 10_000 // bytes of an upload in these tests

func newMediaAPI(t *testing.T, unauthenticated bool) *testAPI {
	t.Helper()
	r := replicatest.New(t, replicatest.Options{Machines: []replica.Machine{media.Machine()}})
	blobs, err := blob.Open(blob.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	mirror := blob.OpenMirror(blob.MirrorConfig{Store: blobs})
	t.Cleanup(mirror.Close)
	cache, err := blob.OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := media.New(media.Config{Replica: r, Blobs: mirror, Cache: cache, Server: "example.org", MaxUpload: mediaLimit})
	ta := newTestAPI(t, nil, Media{Service: m, MaxUpload: mediaLimit, Unauthenticated: unauthenticated}.Routes()...)
	ta.site.tokens["bens"] = Session{User: "@ben:example.org", Device: "LAPTOP"}
	return ta
}

// upload uploads as amy and returns "server/id".
func (ta *testAPI) upload(t *testing.T, typ, name, body string) string {
	t.Helper()
	r := newRequest(t, "POST", "/_matrix/media/v3/upload?filename="+url.QueryEscape(name), body)
	r.Header.Set("Authorization", "Bearer amys")
	r.Header.Set("Content-Type", typ)
	w := ta.do(r)
	expect(t, w, 200, "")
	return mxcOf(t, w)
}

func mxcOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var out struct {
		URI string `json:"content_uri"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || !strings.HasPrefix(out.URI, "mxc://example.org/") {
		t.Fatalf("%s: %v", w.Body, err)
	}
	return strings.TrimPrefix(out.URI, "mxc://")
}

const downloads = "/_matrix/client/v1/media/download/"

func TestDownload(t *testing.T) {
	ta := newMediaAPI(t, false)
	data := strings.Repeat("0123456789", 100)
	mxc := ta.upload(t, "text/plain; charset=utf-8", "사진 1.txt", data)
	var tag string
	for _, c := range []struct {
		name, method, suffix, header, value string
		status                              int
		body                                string
	}{
		{"whole", "GET", "", "", "", 200, data},
		{"head", "HEAD", "", "", "", 200, ""},
		{"first bytes", "GET", "", "Range", "bytes=0-9", 206, data[:10]},
		{"from the middle", "GET", "", "Range", "bytes=995-", 206, data[995:]},
		{"last bytes", "GET", "", "Range", "bytes=-3", 206, "789"},
		{"beyond the end", "GET", "", "Range", "bytes=1000-", 416, ""},
		{"another name", "GET", "/a.html", "", "", 200, data},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRequest(t, c.method, downloads+mxc+c.suffix, "")
			r.Header.Set("Authorization", "Bearer amys")
			if c.header != "" {
				r.Header.Set(c.header, c.value)
			}
			w := ta.do(r)
			if w.Code != c.status || c.status < 300 && w.Body.String() != c.body {
				t.Fatalf("%d: %d bytes", w.Code, w.Body.Len())
			}
			h := w.Header()
			if c.status == 416 {
				return
			}
			tag = h.Get("ETag")
			want := map[string]string{
				"Content-Type":                 "text/plain; charset=utf-8",
				"Content-Disposition":          "inline; filename*=utf-8''%EC%82%AC%EC%A7%84%201.txt",
				"Cross-Origin-Resource-Policy": "cross-origin",
				"X-Content-Type-Options":       "nosniff",
				"Cache-Control":                "private, max-age=31536000, immutable",
				"Accept-Ranges":                "bytes",
			}
			if c.suffix != "" {
				want["Content-Disposition"] = "inline; filename=a.html"
			}
			for name, v := range want {
				if h.Get(name) != v {
					t.Errorf("%s is %q, want %q", name, h.Get(name), v)
				}
			}
			if !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox;") || len(tag) != 66 {
				t.Errorf("headers %v", h)
			}
			if c.method == "HEAD" && h.Get("Content-Length") != "1000" {
				t.Errorf("length %s", h.Get("Content-Length"))
			}
		})
	}
	r := newRequest(t, "GET", downloads+mxc, "")
	r.Header.Set("Authorization", "Bearer amys")
	r.Header.Set("If-None-Match", tag)
	if w := ta.do(r); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("a client that has it gets %d", w.Code)
	}
}

func TestHostileFiles(t *testing.T) {
	ta := newMediaAPI(t, false)
	for _, c := range []struct{ typ, name, wantType, wantDisposition string }{
		{"text/html", "x.html", "text/html", "attachment; filename=x.html"},
		{"image/svg+xml", "", "image/svg+xml", "attachment"},
		{"text/plain", "a\r\nSet-Cookie: x=y", "text/plain", `inline; filename="aSet-Cookie: x=y"`},
		{"text/plain", `a"; filename="b`, "text/plain", `inline; filename="a\"; filename=\"b"`},
		{"text/plain", "\u202egnp.exe", "text/plain", "inline; filename=gnp.exe"},
		{"text/plain; x=\"\x01\"", "", "text/plain; x*=utf-8''%01", "inline"},
		{"text/plain\nX: y", "", "application/octet-stream", "attachment"},
		{"", "", "application/octet-stream", "attachment"},
	} {
		mxc := ta.upload(t, c.typ, c.name, "x")
		w := ta.call(t, "GET", downloads+mxc, "")
		if got := w.Header().Get("Content-Type"); got != c.wantType {
			t.Errorf("%q: type %q", c.typ, got)
		}
		if got := w.Header().Get("Content-Disposition"); got != c.wantDisposition {
			t.Errorf("%q: disposition %q", c.name, got)
		}
		if w.Header().Get("Set-Cookie") != "" {
			t.Error("a header was smuggled in")
		}
	}
	mxc := ta.upload(t, "text/plain", "x", "x")
	w := ta.call(t, "GET", downloads+mxc+"/"+url.PathEscape("a\r\nX: y/../z"), "")
	if got := w.Header().Get("Content-Disposition"); w.Code != 200 || got != `inline; filename="aX: y/../z"` {
		t.Errorf("%d, disposition %q", w.Code, got)
	}
	expect(t, ta.call(t, "POST", "/_matrix/media/v3/upload?filename=%ff", "x"), 400, "M_INVALID_PARAM")
}

func TestMediaErrors(t *testing.T) {
	ta := newMediaAPI(t, false)
	mxc := ta.upload(t, "text/plain", "x", "x")
	const thumbs = "/_matrix/client/v1/media/thumbnail/"
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		errcode                  string
	}{
		{"config", "GET", "/_matrix/client/v1/media/config", "", 200, ""},
		{"old config", "GET", "/_matrix/media/v3/config", "", 200, ""},
		{"largest", "POST", "/_matrix/media/v3/upload", strings.Repeat("x", mediaLimit), 200, ""},
		{"at an old path", "POST", "/_matrix/media/r0/upload", "x", 200, ""},
		{"too large", "POST", "/_matrix/media/v3/upload", strings.Repeat("x", mediaLimit+1), 413, "M_TOO_LARGE"},
		{"unknown", "GET", downloads + "example.org/none", "", 404, "M_NOT_FOUND"},
		{"elsewhere", "GET", downloads + strings.Replace(mxc, "example", "other", 1), "", 404, "M_NOT_FOUND"},
		{"up the tree", "GET", downloads + "example.org/..%2F..%2Fetc%2Fpasswd", "", 404, "M_NOT_FOUND"},
		{"frozen", "GET", "/_matrix/media/v3/download/" + mxc, "", 404, "M_NOT_FOUND"},
		{"frozen, with a name", "GET", "/_matrix/media/r0/download/" + mxc + "/x", "", 404, "M_NOT_FOUND"},
		{"frozen thumbnail", "GET", "/_matrix/media/v3/thumbnail/" + mxc, "", 404, "M_NOT_FOUND"},
		{"no size", "GET", thumbs + mxc, "", 400, "M_MISSING_PARAM"},
		{"negative size", "GET", thumbs + mxc + "?width=-1&height=1", "", 400, "M_INVALID_PARAM"},
		{"fractional size", "GET", thumbs + mxc + "?width=1.5&height=1", "", 400, "M_INVALID_PARAM"},
		{"no method", "GET", thumbs + mxc + "?width=1&height=1&method=bend", "", 400, "M_INVALID_PARAM"},
		{"no picture", "GET", thumbs + mxc + "?width=1&height=1", "", 400, "M_UNKNOWN"},
		{"unknown picture", "GET", thumbs + "example.org/none?width=1&height=1", "", 404, "M_NOT_FOUND"},
		{"into nothing", "PUT", "/_matrix/media/v3/upload/example.org/none", "x", 404, "M_NOT_FOUND"},
		{"over an upload", "PUT", "/_matrix/media/v3/upload/" + mxc, "other", 409, "M_CANNOT_OVERWRITE_MEDIA"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, ta.call(t, c.method, c.path, c.body), c.status, c.errcode) })
	}
	for _, path := range []string{downloads + mxc, thumbs + mxc, "/_matrix/client/v1/media/config"} {
		expect(t, ta.do(newRequest(t, "GET", path, "")), 401, "M_MISSING_TOKEN")
	}
	// A body whose length is not announced.
	r := newRequest(t, "POST", "/_matrix/media/v3/upload", strings.Repeat("x", mediaLimit+1))
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer amys")
	expect(t, ta.do(r), 413, "M_TOO_LARGE")
	if got := ta.call(t, "GET", "/_matrix/client/v1/media/config", "").Body.String(); got != `{"m.upload.size":10000}` {
		t.Errorf("config %s", got)
	}
}

func TestCreateContent(t *testing.T) {
	ta := newMediaAPI(t, false)
	w := ta.call(t, "POST", "/_matrix/media/v1/create", "")
	expect(t, w, 200, "")
	mxc := mxcOf(t, w)
	put := func(token, body string) *httptest.ResponseRecorder {
		r := newRequest(t, "PUT", "/_matrix/media/v3/upload/"+mxc, body)
		r.Header.Set("Authorization", "Bearer "+token)
		return ta.do(r)
	}
	expect(t, ta.call(t, "GET", downloads+mxc, ""), 504, "M_NOT_YET_UPLOADED")
	expect(t, put("bens", "x"), 403, "M_FORBIDDEN")
	expect(t, put("amys", "content"), 200, "")
	expect(t, put("amys", "content"), 200, "")
	expect(t, put("amys", "other"), 409, "M_CANNOT_OVERWRITE_MEDIA")
	if w := ta.call(t, "GET", downloads+mxc, ""); w.Body.String() != "content" {
		t.Errorf("got %s", w.Body)
	}
}

func TestThumbnailEndpoint(t *testing.T) {
	ta := newMediaAPI(t, true)
	var buf bytes.Buffer
	if err := png.Encode(&buf, image.NewRGBA(image.Rect(0, 0, 400, 200))); err != nil {
		t.Fatal(err)
	}
	mxc := ta.upload(t, "image/png", "x.png", buf.String())
	for _, base := range []string{"/_matrix/client/v1/media/thumbnail/", "/_matrix/media/v3/thumbnail/", "/_matrix/media/r0/thumbnail/"} {
		w := ta.call(t, "GET", base+mxc+"?width=300&height=200&method=scale&animated=true", "")
		cfg, err := png.DecodeConfig(w.Body)
		if err != nil || cfg.Width != 320 || cfg.Height != 160 {
			t.Fatalf("%d: %dx%d, %v", w.Code, cfg.Width, cfg.Height, err)
		}
		if h := w.Header(); h.Get("Content-Type") != "image/png" || h.Get("Content-Disposition") != "inline; filename=thumbnail.png" {
			t.Errorf("headers %v", h)
		}
	}
	for _, path := range []string{mxc, mxc + "/y.png"} {
		if w := ta.do(newRequest(t, "GET", "/_matrix/media/v3/download/"+path, "")); w.Code != 200 || w.Body.Len() != buf.Len() {
			t.Errorf("the old endpoint, opened: %d", w.Code)
		}
	}
}
