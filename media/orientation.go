package media

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"image"
	"io"
)

// orientation says how a camera was held: the value of the EXIF tag of that name, 1 to 8. Phones store pictures as the sensor saw
// them and leave the turning to whoever shows them; a thumbnail has no EXIF, so it is turned.
type orientation uint16

const upright orientation = 1

// orientationTag is the EXIF tag.
const orientationTag = 0x0112

// swaps reports whether width and height change places.
func (o orientation) swaps() bool { return o >= 5 && o <= 8 }

// apply turns a picture.
func (o orientation) apply(src *image.RGBA) *image.RGBA {
	if o <= upright || o > 8 {
		return src
	}
	w, h := src.Rect.Dx(), src.Rect.Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	if o.swaps() {
		out = image.NewRGBA(image.Rect(0, 0, h, w))
	}
	for y := range h {
		for x := range w {
			to := o.place(x, y, w, h)
			copy(out.Pix[out.PixOffset(to.X, to.Y):][:4], src.Pix[src.PixOffset(x, y):][:4])
		}
	}
	return out
}

// place is where the pixel at (x, y) of a stored picture of w by h goes.
func (o orientation) place(x, y, w, h int) image.Point {
	right, low := w-1-x, h-1-y
	switch o {
	case 2:
		return image.Pt(right, y)
	case 3:
		return image.Pt(right, low)
	case 4:
		return image.Pt(x, low)
	case 5:
		return image.Pt(y, x)
	case 6:
		return image.Pt(low, x)
	case 7:
		return image.Pt(low, right)
	case 8:
		return image.Pt(y, right)
	}
	return image.Pt(x, y)
}

// orientationOf reads the orientation of a JPEG; upright if it says nothing that can be read and understood.
func orientationOf(r io.Reader) orientation {
	const exifMarker, scanMarker = 0xe1, 0xda
	in := bufio.NewReader(r)
	if _, err := in.Discard(2); err != nil { // the start of the image
		return upright
	}
	for {
		var head [4]byte // marker, length
		if _, err := io.ReadFull(in, head[:]); err != nil || head[0] != 0xff || head[1] == scanMarker {
			return upright
		}
		segment := make([]byte, max(int(binary.BigEndian.Uint16(head[2:]))-len(head[2:]), 0))
		if _, err := io.ReadFull(in, segment); err != nil {
			return upright
		}
		if exif, ok := bytes.CutPrefix(segment, []byte("Exif\x00\x00")); ok && head[1] == exifMarker {
			return exifOrientation(exif)
		}
	}
}

// exifOrientation finds the tag in the first directory of a TIFF. Source: Exif 2.3, 4.6.
func exifOrientation(tiff []byte) orientation {
	if len(tiff) < 8 {
		return upright
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return upright
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		const entry = 12
		if len(entries) < entry {
			return upright
		}
		if order.Uint16(entries) == orientationTag {
			if o := orientation(order.Uint16(entries[8:])); o >= 1 && o <= 8 {
				return o
			}
			return upright
		}
		entries = entries[entry:]
	}
	return upright
}
