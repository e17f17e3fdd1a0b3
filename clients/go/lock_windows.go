package auditctl

import "os"

// tryLock: two that drain at once send events twice, under their ids.
func tryLock(*os.File) error { return nil }

func isPrivate(os.FileInfo) bool { return true }

var syncDirectory = func(string) error { return nil }
