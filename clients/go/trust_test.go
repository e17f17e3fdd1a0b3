//go:build unix

package auditctl

import (
	"os"
	"path/filepath"
	"testing"
)

func TestASocketOfAnotherUserIsNotSpokenTo(t *testing.T) {
	// The kernel says who listens, so only a process of another user could show it; see the suite's
	// scenario "foreign". Here: what a directory says.
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	home, err := os.MkdirTemp("/var/lib", "auditctl-go-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(home)
	socket := filepath.Join(home, "inner", "audit.sock")
	inner := filepath.Dir(socket)
	for _, step := range []error{os.Mkdir(inner, 0o755), os.Chmod(home, 0o755), os.Chown(inner, 4242, 4242)} {
		if step != nil {
			t.Fatal(step)
		}
	}
	if owner, ok := safeOwner(socket); !ok || owner != 4242 {
		t.Fatal(owner, ok)
	}
	for _, mode := range []os.FileMode{0o775, 0o757} {
		if err := os.Chmod(inner, mode); err != nil {
			t.Fatal(err)
		}
		if _, ok := safeOwner(socket); ok {
			t.Fatalf("mode %o", mode)
		}
	}
	if err := os.Chmod(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 4343, 4343); err != nil {
		t.Fatal(err)
	}
	if _, ok := safeOwner(socket); ok {
		t.Fatal("its owner could put another there")
	}
}
