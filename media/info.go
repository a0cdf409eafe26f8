package media

import (
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Info is what an uploader says of a file.
type Info struct {
	Type string // media type with parameters, as clean as cleanType makes it
	Name string // or empty
}

const (
	defaultType = "application/octet-stream"
	maxType     = 255 // bytes
	maxName     = 255 // bytes, the limit of most file systems
)

// cleanType is a media type that is fit for a header; what is none becomes application/octet-stream.
func cleanType(s string) string {
	if len(s) > maxType {
		return defaultType
	}
	t, params, err := mime.ParseMediaType(s)
	if err != nil || strings.Count(t, "/") != 1 {
		return defaultType
	}
	if out := mime.FormatMediaType(t, params); out != "" {
		return out
	}
	return defaultType
}

// cleanName is a file name without what could mislead a header or a person: control and direction characters; cut to a length that
// file systems take, its extension kept.
func cleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, s)
	if len(s) <= maxName {
		return s
	}
	ext := ""
	if i := strings.LastIndexByte(s, '.'); i >= 0 && len(s)-i <= 16 {
		ext = s[i:]
	}
	cut := maxName - len(ext)
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + ext
}

// inline are the types that a browser may show in place. Specification: Client-Server API, "Serving inline content".
var inline = map[string]bool{
	"text/css": true, "text/plain": true, "text/csv": true, "application/json": true, "application/ld+json": true,
	"image/jpeg": true, "image/gif": true, "image/png": true, "image/apng": true, "image/webp": true, "image/avif": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
	"audio/mp4": true, "audio/webm": true, "audio/aac": true, "audio/mpeg": true, "audio/ogg": true, "audio/wave": true,
	"audio/wav": true, "audio/x-wav": true, "audio/x-pn-wav": true, "audio/flac": true, "audio/x-flac": true,
}

// Disposition is the Content-Disposition to serve a file with: inline for types that can do no harm. name overrides the file's.
func (i Info) Disposition(name string) string {
	how := "attachment"
	if t, _, err := mime.ParseMediaType(i.Type); err == nil && inline[t] {
		how = "inline"
	}
	if name == "" {
		name = i.Name
	}
	if name = cleanName(name); name == "" {
		return how
	}
	return mime.FormatMediaType(how, map[string]string{"filename": name})
}
