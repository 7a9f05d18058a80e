//go:build !linux

package durable

import "os"

// descriptorPath returns "": there is no path that leads to an open directory.
func descriptorPath(*os.File) string { return "" }
