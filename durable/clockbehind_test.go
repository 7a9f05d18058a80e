package durable

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestClockBehind: a boot whose clock is behind for all of it ends no session that was
// written before, but those that it has seen expire.
func TestClockBehind(t *testing.T) {
	const lifetime, behind = 2 * time.Hour, 24 * time.Hour
	for _, kill := range []bool{false, true} {
		for _, runs := range []int{1, 3} {
			t.Run(fmt.Sprintf("kill=%v/runs=%d", kill, runs), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMachine()
					end := m.stop
					if kill {
						end = m.kill
					}
					m.start(t, lifetime)
					tok := mustCreate(t, m.Store, `{}`)
					end(t)
					m.Reboot()
					m.SetWall(-behind)
					for n := range runs {
						m.start(t, lifetime)
						m.wantLeft(t, tok, lifetime-time.Duration(n)*time.Minute)
						time.Sleep(time.Minute)
						end(t)
					}
					m.Reboot()
					m.SetWall(behind)
					m.start(t, lifetime)
					defer m.stop(t)
					m.wantLeft(t, tok, lifetime-time.Duration(runs)*time.Minute)
				})
			})
		}
	}
}

// TestExpiredWhileClockBehind: what has expired in a boot stays so for all of it.
func TestExpiredWhileClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.cfg.Store.PurgeInterval = 90 * time.Minute
		m.start(t, 2*time.Hour)
		tok := mustCreate(t, m.Store, `{}`)
		m.stop(t)
		m.Reboot()
		m.SetWall(-24 * time.Hour)
		m.start(t, 30*time.Minute)
		time.Sleep(31 * time.Minute)
		m.kill(t)
		m.start(t, 2*time.Hour)
		wantInvalid(t, m.Store, tok)
		m.stop(t)
	})
}

// TestClockWasAhead: what was written while the clock was ahead has its lifetime once,
// and not once in each boot since.
func TestClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.SetWall(24 * time.Hour)
		m.start(t, 2*time.Hour)
		tok := mustCreate(t, m.Store, `{}`)
		m.stop(t)
		m.Reboot()
		m.SetWall(-24 * time.Hour)
		m.start(t, 2*time.Hour)
		m.wantLeft(t, tok, 2*time.Hour)
		time.Sleep(90 * time.Minute)
		m.stop(t)
		m.Reboot()
		m.start(t, 2*time.Hour)
		m.wantLeft(t, tok, 30*time.Minute)
		m.stop(t)
	})
}
