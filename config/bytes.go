package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size in bytes, written as a whole number with an optional unit: B, KB, MB, GB, TB are powers of 1000; KiB (or K), MiB,
// GiB, TiB are powers of 1024.
type Bytes int64

// units, the longest first, so that a suffix is not taken for a shorter one.
var units = []struct {
	name string
	size int64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40},
	{"b", 1},
}

// UnmarshalText reads "256MiB".
func (b *Bytes) UnmarshalText(text []byte) error {
	s, factor := strings.ToLower(strings.TrimSpace(string(text))), int64(1)
	for _, u := range units {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			s, factor = strings.TrimSpace(number), u.size
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strings.HasPrefix(s, "+") || n > math.MaxInt64/factor {
		return fmt.Errorf("%q is not a size such as 256MiB", text)
	}
	*b = Bytes(n * factor)
	return nil
}

// String writes the size with the largest unit of 1024 that divides it.
func (b Bytes) String() string {
	n, unit := int64(b), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}

// MarshalText is String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
