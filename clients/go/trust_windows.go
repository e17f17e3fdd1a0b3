package auditctl

import "net"

// judge: the collector runs on no Windows; over HTTP its certificate says whose it is.
func judge(*net.UnixConn, string, []int) error { return nil }
