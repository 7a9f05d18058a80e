//go:build !linux

package server

import "net"

// unsent is not known here: there may be something.
func unsent(net.Conn) int { return 1 }
