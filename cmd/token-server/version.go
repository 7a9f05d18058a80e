package main

import (
	"cmp"
	"runtime/debug"

	"tokenserver/internal/stats"
)

const unknown = "unknown"

// version is that of a release: the linker sets it, where the Go command knows of none.
var version string

// currentBuild returns what the Go command has stamped into the binary.
func currentBuild() stats.Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return stats.Build{Version: unknown, Commit: unknown, GoVersion: unknown}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) stats.Build {
	b := stats.Build{Version: info.Main.Version, Commit: unknown, GoVersion: info.GoVersion}
	b.Version = cmp.Or(version, b.Version, unknown)
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
