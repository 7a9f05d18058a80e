//go:build !linux

package server

import "net"

// unsent is not known here.
func unsent(net.Conn) int { return -1 }
