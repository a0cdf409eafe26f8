package media

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"sync"
	"testing"

	"bongsu/errs"
)

// picture is w by h: red, with a blue corner at the upper left.
func picture(w, h int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{255, 0, 0, 255}
			if x < w/4 && y < h/4 {
				c = color.RGBA{0, 0, 255, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

func asPNG(t testing.TB, img image.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// asJPEG is a JPEG; with an orientation other than 0, in an EXIF segment of the byte order.
func asJPEG(t testing.TB, img image.Image, o orientation, order binary.AppendByteOrder) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, img, nil); err != nil {
		t.Fatal(err)
	}
	if o == 0 {
		return buf.Bytes()
	}
	tiff := []byte("MM\x00\x2a")
	if order == binary.AppendByteOrder(binary.LittleEndian) {
		tiff = []byte("II\x2a\x00")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 2)
	tiff = append(order.AppendUint32(order.AppendUint16(order.AppendUint16(tiff, 0x0100), 4), 1), 0, 0, 0, 9)
	tiff = order.AppendUint32(order.AppendUint16(order.AppendUint16(tiff, orientationTag), 3), 1)
	tiff = append(order.AppendUint16(tiff, uint16(o)), 0, 0)
	body := append([]byte("Exif\x00\x00"), tiff...)
	segment := append([]byte{0xff, 0xe1}, binary.BigEndian.AppendUint16(nil, uint16(len(body)+2))...)
	return append(append([]byte{0xff, 0xd8}, append(segment, body...)...), buf.Bytes()[2:]...)
}

// header is a PNG that says it is w by h, and nothing more.
func header(w, h uint32) []byte {
	chunk := append([]byte("IHDR"), binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)...)
	chunk = append(chunk, 8, 6, 0, 0, 0)
	out := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), uint32(len(chunk)-4))
	return binary.BigEndian.AppendUint32(append(out, chunk...), crc32.ChecksumIEEE(chunk))
}

func TestSizes(t *testing.T) {
	for _, c := range []struct{ want, made Size }{
		{Size{1, 1, true}, Size{32, 32, true}}, {Size{33, 33, true}, Size{96, 96, true}}, {Size{999, 999, true}, Size{512, 512, true}},
		{Size{100, 50, true}, Size{320, 240, false}}, {Size{320, 240, false}, Size{320, 240, false}},
		{Size{10, 241, false}, Size{640, 480, false}}, {Size{9999, 1, false}, Size{1600, 1200, false}},
	} {
		if got := c.want.made(); got != c.made {
			t.Errorf("%v is made as %v, want %v", c.want, got, c.made)
		}
	}
	for _, c := range []struct {
		size  Size
		w, h  int
		outW  int
		outH  int
		fromW int
	}{
		{Size{320, 240, false}, 3200, 1000, 320, 100, 3200},
		{Size{320, 240, false}, 1000, 3200, 75, 240, 1000},
		{Size{320, 240, false}, 100, 50, 100, 50, 100},
		{Size{320, 240, false}, 100_000, 1, 320, 1, 100_000},
		{Size{96, 96, true}, 1000, 500, 96, 96, 500},
		{Size{96, 96, true}, 500, 1000, 96, 96, 500},
		{Size{96, 96, true}, 1000, 50, 50, 50, 50},
		{Size{96, 96, true}, 1, 1, 1, 1, 1},
	} {
		from, to := c.size.cut(image.Rect(7, 7, 7+c.w, 7+c.h))
		if to.Dx() != c.outW || to.Dy() != c.outH || from.Dx() != c.fromW {
			t.Errorf("%v of %dx%d: from %v to %v", c.size, c.w, c.h, from, to)
		}
	}
}

func TestRender(t *testing.T) {
	opaque := picture(400, 200)
	glass := picture(400, 200)
	glass.SetRGBA(300, 100, color.RGBA{})
	for y := range 100 {
		for x := range 100 {
			glass.SetRGBA(300+x, 100+y, color.RGBA{})
		}
	}
	var animated bytes.Buffer
	if err := gif.Encode(&animated, opaque, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data   []byte
		size   Size
		format string
		w, h   int
	}{
		"png":          {asPNG(t, opaque), Size{320, 240, false}, "jpeg", 320, 160},
		"transparent":  {asPNG(t, glass), Size{320, 240, false}, "png", 320, 160},
		"gif":          {animated.Bytes(), Size{96, 96, true}, "jpeg", 96, 96},
		"jpeg":         {asJPEG(t, opaque, 0, nil), Size{320, 240, false}, "jpeg", 320, 160},
		"turned":       {asJPEG(t, opaque, 6, binary.BigEndian), Size{320, 240, false}, "jpeg", 120, 240},
		"never larger": {asPNG(t, opaque), Size{800, 600, false}, "jpeg", 400, 200},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := render(bytes.NewReader(c.data), c.size, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			cfg, format, err := image.DecodeConfig(bytes.NewReader(out))
			if err != nil || format != c.format || cfg.Width != c.w || cfg.Height != c.h {
				t.Errorf("%s of %dx%d, %v", format, cfg.Width, cfg.Height, err)
			}
		})
	}
}

// A picture that was stored turned shows its corner where the camera saw it.
func TestOrientation(t *testing.T) {
	corner := map[orientation]string{0: "upper left", 1: "upper left", 2: "upper right", 3: "lower right", 4: "lower left",
		5: "upper left", 6: "upper right", 7: "lower right", 8: "lower left", 9: "upper left"}
	for o, want := range corner {
		for _, order := range []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian} {
			out, err := render(bytes.NewReader(asJPEG(t, picture(320, 160), o, order)), Size{320, 240, false}, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			img, err := jpeg.Decode(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			w, h := img.Bounds().Dx(), img.Bounds().Dy()
			if turned := w < h; turned != o.swaps() {
				t.Errorf("orientation %d: %dx%d", o, w, h)
			}
			for name, at := range map[string]image.Point{"upper left": {5, 5}, "upper right": {w - 5, 5}, "lower left": {5, h - 5},
				"lower right": {w - 5, h - 5}} {
				_, _, b, _ := img.At(at.X, at.Y).RGBA()
				if blue := b > 0x8000; blue != (name == want) {
					t.Errorf("orientation %d: %s is blue: %v", o, name, blue)
				}
			}
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	good := asPNG(t, picture(400, 200))
	for name, c := range map[string]struct {
		data []byte
		kind errs.Kind
		code errs.Code
	}{
		"bomb":      {header(60_000, 60_000), errs.TooLarge, ""},
		"overflow":  {header(1<<31-1, 1<<31-1), errs.Unsupported, errs.NoThumbnail},
		"wide":      {header(1<<20+1, 1), errs.TooLarge, ""},
		"no pixels": {header(0, 10), errs.Unsupported, errs.NoThumbnail},
		"cut off":   {good[:len(good)/2], errs.Unsupported, errs.NoThumbnail},
		"text":      {[]byte("hello"), errs.Unsupported, errs.NoThumbnail},
		"svg":       {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), errs.Unsupported, errs.NoThumbnail},
		"nothing":   {nil, errs.Unsupported, errs.NoThumbnail},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := render(bytes.NewReader(c.data), Size{32, 32, true}, 1<<20); !isError(err, c.kind, c.code) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestThumbnail(t *testing.T) {
	m := newMedia(t, nil)
	mediaID, err := m.Upload(t.Context(), "@amy:s", Info{"image/png", "x.png"}, bytes.NewReader(asPNG(t, picture(400, 200))))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			f, err := m.Thumbnail(t.Context(), "s", mediaID, Size{90, 90, true})
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			img, err := jpeg.Decode(f)
			if err != nil || img.Bounds().Dx() != 96 || f.Type != "image/jpeg" || f.Name != "thumbnail.jpg" {
				t.Errorf("%v %v %v", img.Bounds(), f.Info, err)
			}
		})
	}
	wg.Wait()
	if _, err := m.Thumbnail(t.Context(), "s", "none", Size{1, 1, false}); !isError(err, errs.NotFound, "") {
		t.Errorf("got %v", err)
	}
	text, err := m.Upload(t.Context(), "@amy:s", Info{"image/png", "liar.png"}, strings.NewReader("text"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Thumbnail(t.Context(), "s", text, Size{1, 1, false}); !isError(err, errs.Unsupported, errs.NoThumbnail) {
		t.Errorf("got %v", err)
	}
}

// No bytes make the renderer fail in another way than by saying so, or take a decoder to a picture that is too large.
func FuzzRender(f *testing.F) {
	f.Add(asPNG(f, picture(8, 4)))
	f.Add(asJPEG(f, picture(8, 4), 6, binary.LittleEndian))
	f.Add(header(1<<31-1, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := render(bytes.NewReader(data), Size{32, 32, true}, 1<<16)
		if err != nil {
			if !errs.Is(err, errs.Unsupported) && !errs.Is(err, errs.TooLarge) {
				t.Errorf("got %v", err)
			}
			return
		}
		if cfg, _, err := image.DecodeConfig(bytes.NewReader(out)); err != nil || cfg.Width > 32 || cfg.Height > 32 {
			t.Errorf("%dx%d, %v", cfg.Width, cfg.Height, err)
		}
	})
}

func FuzzOrientation(f *testing.F) {
	f.Add([]byte("MM\x00\x2a\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"))
	f.Add([]byte("II\x2a\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, tiff []byte) {
		if o := exifOrientation(tiff); o < 1 || o > 8 {
			t.Errorf("orientation %d", o)
		}
	})
}

func BenchmarkRender(b *testing.B) {
	data := asJPEG(b, picture(4000, 3000), 0, nil)
	for b.Loop() {
		if _, err := render(bytes.NewReader(data), Size{800, 600, false}, 16<<20); err != nil {
			b.Fatal(err)
		}
	}
}
