package main

import (
	"fmt"
	"runtime/debug"

	"tokenserver/admin"
)

const unknown = "unknown"

// build tells which program this is.
type build admin.Build

// String implements fmt.Stringer.
func (b build) String() string {
	return fmt.Sprintf("%s (commit %s, %s)", b.Version, b.Commit, b.GoVersion)
}

// currentBuild returns what the Go command has stamped into the binary.
func currentBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{unknown, unknown, unknown}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) build {
	b := build{Version: info.Main.Version, Commit: unknown, GoVersion: info.GoVersion}
	if b.Version == "" {
		b.Version = unknown
	}
	modified := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "-modified"
		}
	}
	b.Commit += modified
	return b
}
