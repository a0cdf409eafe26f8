package kv

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
)

func fill(t *testing.T, db *DB, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		b := db.Batch()
		b.Set(fmt.Appendf(nil, "row%05d", i), make([]byte, 1000))
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk reads go on, writes stay in memory and are tried about once a second; when there is space they reach the disk.
func TestFullDisk(t *testing.T) {
	fs := NewMemFS()
	failed := make(chan error, 1000)
	db, err := Open(Config{FS: fs, MemTable: 1 << 20, OnFull: func(err error) {
		select {
		case failed <- err:
		default: // a tight loop
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db, 0, 100)
	fs.Fail(nil, syscall.ENOSPC)
	fill(t, db, 100, 2000)
	begun := time.Now()
	for range 3 {
		<-failed
	}
	if took := time.Since(begun); took < 2*fullPause {
		t.Errorf("three attempts in %v", took)
	}
	if n := len(keys(db, "row", "rox", false)); n != 2000 {
		t.Errorf("%d rows can be read", n)
	}
	fs.Fail(nil, nil)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	crashed := fs.Crash()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, crashed)
	defer db.Close()
	if n := len(keys(db, "row", "rox", false)); n != 2000 {
		t.Errorf("%d rows reached the disk", n)
	}
}

// Close does not wait for space.
func TestCloseOnFullDisk(t *testing.T) {
	fs := NewMemFS()
	db := open(t, fs)
	db.limit = 10 * time.Millisecond
	fill(t, db, 0, 1500)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	fs.Fail(nil, syscall.ENOSPC)
	fill(t, db, 1500, 3000)
	if err := db.Close(); err == nil {
		t.Error("Close says that everything was written")
	}
	fs.Fail(nil, nil)
	db = open(t, fs)
	defer db.Close()
	if n := len(keys(db, "row", "rox", false)); n < 1500 || n > 3000 {
		t.Errorf("%d rows", n)
	}
}

// A disk that cannot be read throws a Fault, which Recover makes an error of; other panics go on.
func TestFaultIsRecovered(t *testing.T) {
	fs := NewMemFS()
	db := open(t, fs)
	fill(t, db, 0, 2000)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, fs)
	defer db.Abandon()
	fs.Fail(syscall.EIO, nil)
	read := func() (err error) {
		defer Recover(&err)
		db.Get([]byte("row00500"))
		return nil
	}
	var f Fault
	if err := read(); !errors.As(err, &f) || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
	defer func() {
		if p := recover(); p != "other" {
			t.Errorf("recovered %v", p)
		}
	}()
	func() {
		var err error
		defer Recover(&err)
		panic("other")
	}()
}
