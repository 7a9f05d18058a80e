package server

import (
	"net"

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
	n := -1
	onSocket(nc, func(fd int) {
		if length, err := unix.IoctlGetInt(fd, request); err == nil {
			n = length
		}
	})
	return n
}
