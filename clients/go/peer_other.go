//go:build unix && !linux

package auditctl

import "net"

// peerUID is the owner of the socket's file, where the kernel cannot be asked in the same way.
func peerUID(_ *net.UnixConn, path string) (int, error) { return ownerOf(path) }
