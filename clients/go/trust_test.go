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
	for _, step := range []error{os.Mkdir(inner, 0o755), os.Chmod(home, 0o755), os.Chown(inner, 4242, 4242), os.WriteFile(socket, nil, 0o600)} {
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

func TestALinkThatOthersCanTurnLeadsToNoOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	home, err := os.MkdirTemp("/var/lib", "auditctl-go-")
	if err != nil {
		t.Skip(err)
	}
	defer os.RemoveAll(home)
	inner, open := filepath.Join(home, "inner"), filepath.Join(home, "open")
	safe, turned := filepath.Join(home, "safe"), filepath.Join(open, "turned")
	must(t, os.Chmod(home, 0o755))
	for _, directory := range []string{inner, open, safe} {
		must(t, os.Mkdir(directory, 0o755))
	}
	socket := filepath.Join(inner, "audit.sock")
	must(t, os.WriteFile(socket, nil, 0o600))
	must(t, os.Chown(inner, 4242, 4242))
	must(t, os.Chmod(open, 0o1777))
	must(t, os.Symlink(inner, turned))
	must(t, os.Symlink(socket, filepath.Join(open, "audit.sock")))
	must(t, os.Symlink("../inner", filepath.Join(safe, "inner")))
	must(t, os.Symlink(turned, filepath.Join(safe, "through")))
	must(t, os.Symlink("loop", filepath.Join(safe, "loop")))
	for way, fine := range map[string]bool{
		"inner/audit.sock": true, "safe/inner/audit.sock": true, "safe/../inner/./audit.sock": true,
		"open/turned/audit.sock": false, "open/audit.sock": false, "safe/through/audit.sock": false,
		"open/turned/../inner/audit.sock": false, "safe/loop/audit.sock": false,
	} {
		if owner, ok := safeOwner(home + "/" + way); ok != fine || (ok && owner != 4242) {
			t.Errorf("%s: %d, %v", way, owner, ok)
		}
	}
}
