package errs

import (
	"errors"
	"io"
	"testing"
)

func TestWrapKeepsKind(t *testing.T) {
	in := New("room.Send", Forbidden, "", "you are not in %s", "!r")
	out := Wrap("api.sendMessage", in)
	if !Is(out, Forbidden) {
		t.Fatalf("kind lost: %v", out)
	}
	var e *Error
	if !errors.As(out, &e) || e.Message != "you are not in !r" || e.Op != "api.sendMessage" {
		t.Fatalf("got %+v", e)
	}
	if Wrap("x", nil) != nil {
		t.Fatal("Wrap(nil) is not nil")
	}
	if Is(nil, Internal) {
		t.Fatal("nil has a kind")
	}
	if w := Wrap("x", io.EOF); !Is(w, Internal) || !errors.Is(w, io.EOF) {
		t.Fatalf("got %v", w)
	}
}

func TestKindNames(t *testing.T) {
	for k := Internal; k <= Unsupported; k++ {
		if k.String() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
	if Kind(200).String() != "kind(200)" {
		t.Error("unknown kind")
	}
}
