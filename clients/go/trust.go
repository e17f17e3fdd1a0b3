//go:build unix

package auditctl

import (
	"net"
	"os"
	"path/filepath"
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
// it, and where it is.
func safeOwner(socket string) (int, bool) {
	directory, err := filepath.EvalSymlinks(filepath.Dir(socket))
	if err == nil {
		directory, err = filepath.Abs(directory)
	}
	if err != nil {
		return 0, false
	}
	owner, ok := fixed(directory)
	if !ok {
		return 0, false
	}
	for directory != filepath.Dir(directory) {
		directory = filepath.Dir(directory)
		if above, ok := fixed(directory); !ok || (above != 0 && above != owner) {
			return 0, false
		}
	}
	return owner, true
}

func fixed(directory string) (uid int, ok bool) {
	info, err := os.Lstat(directory)
	if err != nil || !info.IsDir() || info.Mode().Perm()&othersWrite != 0 {
		return 0, false
	}
	uid, err = ownerOf(directory)
	return uid, err == nil
}
