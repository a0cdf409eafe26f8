package client

import (
	"context"
	"net/http"
	"time"

	"bongsu/errs"
	"bongsu/id"
	"bongsu/media"
)

// Media holds what the handlers of files need.
type Media struct {
	Service *media.Media // required
	// MaxUpload is the service's own, said here for the table of routes.
	MaxUpload int64
	// Unauthenticated opens the old endpoints of download, which ask for no token; otherwise they say that there is nothing, as
	// the specification has it since version 1.11.
	Unauthenticated bool
}

// Routes are the endpoints of files.
func (m Media) Routes() []Route {
	const (
		v1, old  = "/_matrix/client/v1/media", "/_matrix/media/v3"
		download = "/download/{serverName}/{mediaId}"
		named    = download + "/{fileName}"
		thumb    = "/thumbnail/{serverName}/{mediaId}"
	)
	// Files come and go as slowly as the network is: no deadline, and not counted among the requests at work.
	routes := []Route{
		{Op: "uploadContent", Method: "POST", Path: old + "/upload", MaxBody: m.MaxUpload, LongPoll: true, Limit: LimitSend,
			Handle: m.uploadContent},
		{Op: "createContent", Method: "POST", Path: "/_matrix/media/v1/create", Limit: LimitSend, Handle: m.createContent},
		{Op: "uploadContentToMXC", Method: "PUT", Path: old + "/upload/{serverName}/{mediaId}", MaxBody: m.MaxUpload, LongPoll: true,
			Limit: LimitSend, Handle: m.uploadContentToMXC},
		{Op: "getConfigAuthed", Method: "GET", Path: v1 + "/config", Static: true, Handle: m.getConfig},
		{Op: "getConfig", Method: "GET", Path: old + "/config", Static: true, Handle: m.getConfig},
		{Op: "getContentAuthed", Class: Reading, Method: "GET", Path: v1 + download, LongPoll: true, Handle: m.getContent},
		{Op: "getContentOverrideNameAuthed", Class: Reading, Method: "GET", Path: v1 + named, LongPoll: true, Handle: m.getContent},
		{Op: "getContentThumbnailAuthed", Class: Reading, Method: "GET", Path: v1 + thumb, Handle: m.getContentThumbnail},
	}
	content, thumbnail := m.getContent, m.getContentThumbnail
	if !m.Unauthenticated {
		content, thumbnail = frozen, frozen
	}
	return append(routes,
		Route{Op: "getContent", Class: Reading, Method: "GET", Path: old + download, Auth: None, LongPoll: true, Static: !m.Unauthenticated, Handle: content},
		Route{Op: "getContentOverrideName", Class: Reading, Method: "GET", Path: old + named, Auth: None, LongPoll: true, Static: !m.Unauthenticated,
			Handle: content},
		Route{Op: "getContentThumbnail", Class: Reading, Method: "GET", Path: old + thumb, Auth: None, Static: !m.Unauthenticated, Handle: thumbnail},
	)
}

// frozen answers the endpoints that ask for no token.
func frozen(context.Context, *Request) (any, error) {
	return nil, errs.New("api.media", errs.NotFound, "", "media are served at /_matrix/client/v1/media, to those with an access token")
}

func (m Media) uploadContent(ctx context.Context, rq *Request) (any, error) {
	info, err := uploadInfo(rq)
	if err != nil {
		return nil, err
	}
	body, _, err := rq.Stream()
	if err != nil {
		return nil, err
	}
	mediaID, err := m.Service.Upload(ctx, rq.User(), info, body)
	if err != nil {
		return nil, err
	}
	return struct {
		URI string `json:"content_uri"`
	}{m.Service.URI(mediaID)}, nil
}

func uploadInfo(rq *Request) (media.Info, error) {
	name, err := rq.Query("filename")
	return media.Info{Type: rq.Header("Content-Type"), Name: name}, err
}

func (m Media) createContent(ctx context.Context, rq *Request) (any, error) {
	mediaID, expires, err := m.Service.Reserve(ctx, rq.User())
	if err != nil {
		return nil, err
	}
	return struct {
		URI     string `json:"content_uri"`
		Expires int64  `json:"unused_expires_at"`
	}{m.Service.URI(mediaID), expires}, nil
}

func (m Media) uploadContentToMXC(ctx context.Context, rq *Request) (any, error) {
	info, err := uploadInfo(rq)
	if err != nil {
		return nil, err
	}
	server, mediaID := mxc(rq)
	if err := m.Service.CheckFill(rq.User(), server, mediaID); err != nil {
		return nil, err
	}
	body, _, err := rq.Stream()
	if err != nil {
		return nil, err
	}
	return nil, m.Service.Fill(ctx, rq.User(), server, mediaID, info, body)
}

func mxc(rq *Request) (id.ServerName, string) {
	return id.ServerName(rq.Path("serverName")), rq.Path("mediaId")
}

func (m Media) getConfig(context.Context, *Request) (any, error) {
	return struct {
		Size int64 `json:"m.upload.size"`
	}{m.MaxUpload}, nil
}

// checkWait looks at how long the client would wait for a file that is not uploaded yet. It is told at once: who waits here for
// another person's upload holds a place, and asks again anyway.
func checkWait(rq *Request) error {
	_, err := rq.QueryMillis("timeout_ms", 0, time.Minute)
	return err
}

func (m Media) getContent(ctx context.Context, rq *Request) (any, error) {
	if err := checkWait(rq); err != nil {
		return nil, err
	}
	server, mediaID := mxc(rq)
	f, err := m.Service.Open(ctx, server, mediaID)
	if err != nil {
		return nil, err
	}
	return stream(f, rq.Path("fileName")), nil
}

// stream serves a file so that nothing in it can act in the name of this site. Its bytes never change, so that whoever has them need
// not ask again. Specification: "Content repository", security considerations.
func stream(f *media.File, name string) Stream {
	h := http.Header{}
	h.Set("Content-Type", f.Type)
	h.Set("Content-Disposition", f.Disposition(name))
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; "+
		"style-src 'unsafe-inline'; media-src 'self'; object-src 'self';")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("ETag", `"`+f.Tag+`"`)
	return Stream{Header: h, Body: f}
}

func (m Media) getContentThumbnail(ctx context.Context, rq *Request) (any, error) {
	if err := checkWait(rq); err != nil {
		return nil, err
	}
	var size media.Size
	for name, to := range map[string]*int{"width": &size.Width, "height": &size.Height} {
		given, err := rq.Query(name)
		if err != nil {
			return nil, err
		}
		if given == "" {
			return nil, missing(name)
		}
		n, err := rq.QueryInt(name, 0)
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			return nil, badQuery(name, "is not a positive number")
		}
		*to = int(min(n, 1<<16))
	}
	method, err := rq.QueryOneOf("method", "scale", "scale", "crop")
	if err != nil {
		return nil, err
	}
	if _, err := rq.QueryBool("animated"); err != nil { // none of our thumbnails is
		return nil, err
	}
	size.Crop = method == "crop"
	server, mediaID := mxc(rq)
	f, err := m.Service.Thumbnail(ctx, server, mediaID, size)
	if err != nil {
		return nil, err
	}
	return stream(f, ""), nil
}
