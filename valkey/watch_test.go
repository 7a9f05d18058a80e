package valkey

import (
	"log/slog"
	"strings"
	"testing"
)

// TestWarnsOfSpread: clocks over 100 ms apart are warned of, once until they are right again.
func TestWarnsOfSpread(t *testing.T) {
	var log lockedBuffer
	s := Store{log: slog.New(slog.NewTextHandler(&log, nil))}
	warned := false
	for _, step := range []struct {
		spread int64
		lines  int
	}{{100, 0}, {101, 1}, {5000, 1}, {0, 1}, {101, 2}} {
		warned = s.warnOfSpread(step.spread, warned)
		if got := strings.Count(log.String(), "clocks of primaries are apart"); got != step.lines {
			t.Errorf("%d lines after %d ms, want %d", got, step.spread, step.lines)
		}
	}
}
