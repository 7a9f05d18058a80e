package server

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// States of a connection of TCP, as Linux numbers them.
const (
	tcpClose     = 7
	tcpCloseWait = 8
)

// waiting returns how many connections wait to be accepted, as far as that is known:
// Linux tells it of TCP.
func waiting(ln net.Listener) int {
	info := tcpInfo(ln)
	if info == nil {
		return 0
	}
	return int(info.Unacked) // of a socket that listens it is the length of its queue
}

// peerState asks what is known of the other side. Of a unix socket, where a time-out of the
// client closes it at once, it is whether that has happened.
func peerState(nc net.Conn) (s peer) {
	if info := tcpInfo(nc); info != nil {
		return peer{
			gone:   info.State == tcpClose,
			closed: info.State == tcpCloseWait,
			age:    time.Duration(info.Last_data_recv) * time.Millisecond,
		}
	}
	onSocket(nc, func(fd int) {
		polled := []unix.PollFd{{Fd: int32(fd)}}
		if n, err := unix.Poll(polled, 0); err == nil && n > 0 {
			s.gone = polled[0].Revents&unix.POLLHUP != 0
		}
	})
	return s
}

// tcpInfo returns what the system knows of a socket of TCP, and nil for any other.
func tcpInfo(socket any) (info *unix.TCPInfo) {
	onSocket(socket, func(fd int) {
		if got, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			info = got
		}
	})
	return info
}

// onSocket calls do with the descriptor of what is under a connection or a listener, if
// that is a socket.
func onSocket(socket any, do func(fd int)) {
	if layered, ok := socket.(interface{ NetConn() net.Conn }); ok {
		socket = layered.NetConn()
	}
	s, ok := socket.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := s.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { do(int(fd)) })
	}
}
