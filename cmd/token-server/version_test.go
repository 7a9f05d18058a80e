package main

import (
	"runtime/debug"
	"testing"
)

func TestBuildOf(t *testing.T) {
	tests := []struct {
		info debug.BuildInfo
		want string
	}{
		{
			debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
				{Key: "vcs.revision", Value: "abc123"}, {Key: "vcs.modified", Value: "false"},
			}},
			"v1.2.3 (commit abc123, go1.26)",
		},
		{
			debug.BuildInfo{GoVersion: "go1.26", Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{
				{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc123"},
			}},
			"(devel) (commit abc123-modified, go1.26)",
		},
		{debug.BuildInfo{GoVersion: "go1.26"}, "unknown (commit unknown, go1.26)"},
	}
	for _, tt := range tests {
		if got := buildOf(&tt.info).String(); got != tt.want {
			t.Errorf("buildOf(%+v) = %q, want %q", tt.info, got, tt.want)
		}
	}
}
