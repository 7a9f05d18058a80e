package shard

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/token"
)

// panicJournal is a Journal that panics at the first expiry.
type panicJournal struct{ panicked bool }

func (j *panicJournal) Save(*State) Write     { return nil }
func (j *panicJournal) Forget(token.ID) Write { return nil }
func (j *panicJournal) Expired(token.ID) {
	if !j.panicked {
		j.panicked = true
		panic("a panic")
	}
}

// A panic of the purge is logged without arguments, and the next purge comes.
func TestPurgeGoesOnAfterAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := open(t, Config{Shards: 1, Lifetime: time.Minute, Journal: new(panicJournal), Logger: slog.New(slog.NewTextHandler(&log, nil))})
		mustCreate(t, s, `{}`)
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		if got := log.String(); strings.Count(got, `msg="recovered panic"`) != 1 || !strings.Contains(got, "purgeBatch(…)") {
			t.Errorf("log = %s, want one panic with its stack, without arguments", got)
		}
		if got := s.Stats().Sessions; got != 0 {
			t.Errorf("%d sessions after the next purge, want 0", got)
		}
	})
}
