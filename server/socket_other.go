//go:build !linux

package server

import "net"

// unsent and unread are not known here.
func unsent(net.Conn) int { return -1 }
func unread(net.Conn) int { return -1 }
