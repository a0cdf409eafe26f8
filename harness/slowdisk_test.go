package harness_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A slow disk lets writes wait and reads go on; it can be made fast again, and unmounted while it is slow.
func TestDiskSlow(t *testing.T) {
	d := disk(t, 16<<20)
	name := filepath.Join(d.Dir, "file")
	write := func() time.Duration {
		began := time.Now()
		if err := os.WriteFile(name, []byte("slowly"), 0o600); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	write()
	const stall = 200 * time.Millisecond
	for range 2 { // the second time it is slow already
		if err := d.Slow(stall); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(name); err != nil || string(data) != "slowly" {
			t.Errorf("a read: %q, %v", data, err)
		}
		var all time.Duration
		for range 5 {
			all += write()
		}
		if all < stall {
			t.Errorf("five writes took %v, although the disk stands still for %v at a time", all, stall)
		}
	}
	if err := d.Slow(0); err != nil {
		t.Fatal(err)
	}
	if err := d.Slow(0); err != nil {
		t.Errorf("a disk that is not slow: %v", err)
	}
	write()
	if err := d.Slow(time.Hour); err != nil { // the end of the test unmounts it
		t.Fatal(err)
	}
}
