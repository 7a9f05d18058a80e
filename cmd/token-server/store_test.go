package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tokenserver/durable"
)

// TestStoreFailed: one line says what has failed, and the exit code is the same.
func TestStoreFailed(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{durable.ErrFailed, "the disk has failed"},
		{durable.ErrGone, "the data directory is gone"},
		{durable.ErrNoDescriptors, "there are no file descriptors left"},
		{durable.ErrCorrupt, "the data directory is damaged"},
		{errors.New("panic: at the disco"), "the store has failed"},
	} {
		var log strings.Builder
		var codes []int
		m := &Main{Exit: func(code int) { codes = append(codes, code) }}
		m.logOut = newLogWriter(&log)
		m.logger = newLogger(m.logOut, &m.level, defaultConfig().LogFormat)
		for range 2 { // by whatever fails next, too
			m.storeFailed(fmt.Errorf("durable: %w: details", test.err))
		}
		m.logOut.hurry()
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="`+test.want+": ") || !strings.Contains(got, "details") {
			t.Errorf("%v: the log says %q, want one line with %q and the details", test.err, got, test.want)
		}
		if len(codes) != 1 || codes[0] != exitDisk {
			t.Errorf("%v: Exit was called with %d, want %d, once", test.err, codes, exitDisk)
		}
	}
}
