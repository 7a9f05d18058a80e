package server

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsent returns how many bytes that were written to a socket the client's side
// has not acknowledged yet, or -1 if that is not known.
func unsent(nc net.Conn) int {
	if layered, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = layered.NetConn()
	}
	socket, ok := nc.(syscall.Conn)
	if !ok {
		return -1
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1
	}
	n := -1
	raw.Control(func(fd uintptr) {
		if queued, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
			n = queued
		}
	})
	return n
}
