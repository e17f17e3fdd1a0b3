//go:build unix

package auditctl

import (
	"os"
	"syscall"
)

// tryLock locks a file until it is closed, or its process ends.
func tryLock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// isPrivate reports whether nobody but this user gets at it.
func isPrivate(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Perm()&0o077 == 0 && int(stat.Uid) == os.Geteuid()
}

// syncDirectory is a variable so that a test can see which.
var syncDirectory = func(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}
