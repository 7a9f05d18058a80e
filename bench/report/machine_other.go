//go:build !linux

package main

import "errors"

func (*machine) readProc() error { return errors.New("there is /proc on Linux only") }
