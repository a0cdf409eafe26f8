package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // formats that image.Decode knows
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"

	"golang.org/x/image/draw"
	_ "golang.org/x/image/webp" // a format that pictures come in

	"bongsu/errs"
	"bongsu/id"
)

// Size is the size of a thumbnail. With Crop the picture fills it and what stands over is cut off; otherwise it fits into it.
type Size struct {
	Width, Height int
	Crop          bool
}

// The sizes that are made. The smaller ones are those of the specification, "Thumbnails".
func sizes(crop bool) []Size {
	if crop {
		return []Size{{32, 32, true}, {96, 96, true}, {256, 256, true}, {512, 512, true}}
	}
	return []Size{{320, 240, false}, {640, 480, false}, {800, 600, false}, {1600, 1200, false}}
}

// made is the size that is made for the one that is wanted: the smallest that is not smaller. Only squares are cropped.
func (s Size) made() Size {
	list := sizes(s.Crop && s.Width == s.Height)
	for _, have := range list {
		if have.Width >= s.Width && have.Height >= s.Height {
			return have
		}
	}
	return list[len(list)-1]
}

// thumbnailVersion is part of the names in the cache; raised when thumbnails are made in another way.
const thumbnailVersion = 1

// maxSource is the most bytes of a file that a thumbnail is made of.
const maxSource = 64 << 20

// Thumbnail opens a thumbnail of a picture, made now or before; the caller closes it. Errors: NotFound; Unsupported with NoThumbnail for
// what is no picture that we know; TooLarge for one of too many pixels; Unavailable.
func (m *Media) Thumbnail(ctx context.Context, server id.ServerName, mediaID string, want Size) (*File, error) {
	const op = "media.Thumbnail"
	rec, err := m.find(server, mediaID)
	if err != nil {
		return nil, err
	}
	if rec.Size > maxSource {
		return nil, errs.New(op, errs.TooLarge, "", "the file is too large for a thumbnail")
	}
	size := want.made()
	name := fmt.Sprintf("%s-%dx%d-%t-%d", rec.Hash, size.Width, size.Height, size.Crop, thumbnailVersion)
	if f, err := m.cached(name); f != nil || err != nil {
		return f, err
	}
	select {
	case m.work <- struct{}{}:
		defer func() { <-m.work }()
	case <-ctx.Done():
		return nil, errs.Wrap(op, ctx.Err())
	}
	if f, err := m.cached(name); f != nil || err != nil { // made while we waited
		return f, err
	}
	src, err := m.open(ctx, rec)
	if err != nil {
		return nil, err
	}
	defer src.Close() //nolint:errcheck // it was only read
	data, err := render(src, size, m.cfg.MaxPixels)
	if err != nil {
		return nil, err
	}
	if err := m.cfg.Cache.Put(name, data); err != nil && !errs.Is(err, errs.Unavailable) {
		return nil, err // a full disk only costs the work next time
	}
	return thumbnailFile(name, memory{bytes.NewReader(data)})
}

// memory is a file in memory.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func (m *Media) cached(name string) (*File, error) {
	f, err := m.cfg.Cache.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, errs.Wrap("media.Thumbnail", err)
	}
	return thumbnailFile(name, f)
}

// thumbnailFile tells the type of a thumbnail from its first bytes: render makes only two.
func thumbnailFile(name string, f io.ReadSeekCloser) (*File, error) {
	var magic [2]byte
	if _, err := io.ReadFull(f, magic[:]); err != nil {
		return nil, errs.Wrap("media.Thumbnail", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errs.Wrap("media.Thumbnail", err)
	}
	info := Info{"image/png", "thumbnail.png"}
	if magic == [2]byte{0xff, 0xd8} {
		info = Info{"image/jpeg", "thumbnail.jpg"}
	}
	return &File{info, name, f}, nil
}

func noThumbnail(err error) error {
	return &errs.Error{Op: "media.Thumbnail", Kind: errs.Unsupported, Code: errs.NoThumbnail, Err: err,
		Message: "no thumbnail can be made of this content"}
}

// render makes a thumbnail: JPEG, or PNG for a picture with transparency. The picture may be anything that a stranger sent: its size is
// looked at before it is decoded, and a decoder's panic is an error like others.
func render(r io.ReadSeeker, size Size, maxPixels int) (data []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			data, err = nil, noThumbnail(fmt.Errorf("decoder: %v", p))
		}
	}()
	cfg, format, err := image.DecodeConfig(r)
	if err != nil {
		return nil, noThumbnail(err)
	}
	if cfg.Width <= 0 || cfg.Height <= 0 || cfg.Width > maxPixels/cfg.Height {
		return nil, errs.New("media.Thumbnail", errs.TooLarge, "", "the picture is too large for a thumbnail")
	}
	turn := upright
	if format == "jpeg" {
		if _, err := r.Seek(0, io.SeekStart); err != nil {
			return nil, errs.Wrap("media.Thumbnail", err)
		}
		turn = orientationOf(r)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, errs.Wrap("media.Thumbnail", err)
	}
	src, _, err := image.Decode(r)
	if err != nil {
		return nil, noThumbnail(err)
	}
	if turn.swaps() {
		size.Width, size.Height = size.Height, size.Width
	}
	from, to := size.cut(src.Bounds())
	out := image.NewRGBA(to)
	// A triangle filter over all pixels that fall into one. Sharper ones take three times as long, and at this size nobody sees it.
	draw.BiLinear.Scale(out, to, src, from, draw.Src, nil)
	return encode(turn.apply(out))
}

// cut says which part of a picture becomes the thumbnail, and how large that is. Nothing is made larger than it was.
func (s Size) cut(b image.Rectangle) (from, to image.Rectangle) {
	w, h := b.Dx(), b.Dy()
	if s.Crop {
		// The largest part of the wanted shape, from the middle.
		cw, ch := w, w*s.Height/s.Width
		if ch > h {
			cw, ch = h*s.Width/s.Height, h
		}
		cw, ch = max(cw, 1), max(ch, 1)
		from = image.Rect(0, 0, cw, ch).Add(b.Min).Add(image.Pt((w-cw)/2, (h-ch)/2))
		return from, image.Rect(0, 0, min(s.Width, cw), min(s.Height, ch))
	}
	tw := min(s.Width, w)
	th := h * tw / w
	if th > s.Height {
		tw, th = w*s.Height/h, s.Height
	}
	return b, image.Rect(0, 0, max(tw, 1), max(th, 1))
}

func encode(img *image.RGBA) ([]byte, error) {
	var buf bytes.Buffer
	var err error
	if img.Opaque() {
		err = jpeg.Encode(&buf, img, &jpeg.Options{Quality: 82})
	} else {
		err = png.Encode(&buf, img)
	}
	return buf.Bytes(), errs.Wrap("media.Thumbnail", err)
}
