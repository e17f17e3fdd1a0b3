//go:build unix

package auditctl

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const othersWrite = 0o022

// judge makes sure whose the server is before anything is sent: root's, this user's, a user's who
// was named, or that of the owner of the socket's directory, if nobody else can put another in its
// place.
func judge(conn *net.UnixConn, path string, trusted []int) error {
	uid, err := peerUID(conn, path)
	if err != nil {
		return err
	}
	if uid == 0 || uid == os.Geteuid() {
		return nil
	}
	for _, one := range trusted {
		if one == uid {
			return nil
		}
	}
	if owner, ok := safeOwner(path); ok && owner == uid {
		return nil
	}
	return failure("foreign_collector", "the program that listens at %s belongs to user %d, who is neither root nor this user nor the only owner of its directory; name the collector's user in TrustedUIDs. Nothing was sent", path, uid)
}

func ownerOf(path string) (uid int, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, failure("unreachable", "the owner of %s is not known", path)
	}
	return int(stat.Uid), nil
}

// safeOwner is the owner of a socket's directory, if only that user and root can change what is in
// it, and where it is. The way is followed as the kernel follows it: whoever can change a directory in
// which a link lies, or one that a link leads through, says where the way ends.
func safeOwner(socket string) (int, bool) {
	passed, err := directoriesOf(socket)
	if err != nil || len(passed) == 0 {
		return 0, false
	}
	owner, ok := fixed(passed[len(passed)-1])
	for _, directory := range passed {
		above, same := fixed(directory)
		ok = ok && same && (above == 0 || above == owner)
	}
	return owner, ok
}

const mostLinks = 40

// directoriesOf are those in which something is looked up on the way to path; last, where it is.
func directoriesOf(path string) ([]string, error) {
	at := "/"
	rest := strings.Split(path, "/")
	if !filepath.IsAbs(path) {
		// By its own name: the way began there, however it came there.
		working, err := os.Getwd()
		if err == nil {
			working, err = filepath.EvalSymlinks(working)
		}
		if err != nil {
			return nil, err
		}
		rest = append(strings.Split(working, "/"), rest...)
	}
	var passed []string
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		passed = append(passed, at)
		next := filepath.Join(at, step)
		info, err := os.Lstat(next)
		if err != nil {
			return nil, err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > mostLinks {
			return nil, syscall.ELOOP
		}
		target, err := os.Readlink(next)
		if err != nil {
			return nil, err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return passed, nil
}

func fixed(directory string) (uid int, ok bool) {
	info, err := os.Lstat(directory)
	if err != nil || !info.IsDir() || info.Mode().Perm()&othersWrite != 0 {
		return 0, false
	}
	uid, err = ownerOf(directory)
	return uid, err == nil
}
