package server

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsent returns how many bytes that were written to a socket the client's side
// has not acknowledged yet, or -1 if that is not known.
func unsent(nc net.Conn) int { return queued(nc, unix.SIOCOUTQ) }

// unread returns how many bytes that a client has sent lie in a socket and were not
// read yet, or -1 if that is not known.
func unread(nc net.Conn) int { return queued(nc, unix.SIOCINQ) }

// queued asks for the length of one of a socket's queues.
func queued(nc net.Conn, request uint) int {
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
		if length, err := unix.IoctlGetInt(int(fd), request); err == nil {
			n = length
		}
	})
	return n
}
