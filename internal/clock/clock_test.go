package clock

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newFake returns a clock of a fake system, both for the length of a test.
func newFake(t testing.TB) (*Fake, *Clock) {
	f := NewFake()
	c := New(f)
	t.Cleanup(c.Close)
	return f, c
}

func TestNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(nil)
		defer c.Close()
		if got, want := c.Now(), Timestamp(1); got != want {
			t.Errorf("Now at the start = %d, want %d", got, want)
		}
		time.Sleep(time.Hour)
		if got, want := c.Now(), Timestamp(1).Add(time.Hour); got != want {
			t.Errorf("Now an hour later = %d, want %d", got, want)
		}
	})
}

// TestSleepCounts: the time of a suspended machine is seen within LookInterval.
func TestSleepCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t)
		time.Sleep(time.Minute)
		before := c.Now()
		f.Suspend(time.Hour)
		time.Sleep(LookInterval)
		synctest.Wait()
		if got, want := c.Now().Sub(before), time.Hour+LookInterval; got != want {
			t.Errorf("over an hour's sleep %v passed, want %v", got, want)
		}
		f.Suspend(time.Hour)
		c.WallZero() // looks at once
		if got, want := c.Now().Sub(before), 2*time.Hour+LookInterval; got != want {
			t.Errorf("over two hours' sleep %v passed, want %v", got, want)
		}
	})
}

// TestNoise: what is no sleep does not move the clock, forward or back.
func TestNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t)
		before := c.Now()
		for _, d := range []time.Duration{noise, -noise, -time.Hour} {
			f.Suspend(d)
			c.look()
			if got := c.Now(); got != before {
				t.Errorf("after the clocks differed by %v, Now = %d, want %d", d, got, before)
			}
		}
	})
}

// TestTimeIsByTheWallClockOfNow: whoever asks after a correction is told a corrected
// time, whenever the timestamp was taken.
func TestTimeIsByTheWallClockOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t)
		start, moment := time.Now(), c.Now()
		if got := c.Time(moment); !got.Equal(start) {
			t.Errorf("Time = %v, want %v", got, start)
		}
		time.Sleep(time.Hour)
		f.SetWall(24 * time.Hour)
		if got, want := c.Time(moment), start.Add(24*time.Hour); !got.Equal(want) {
			t.Errorf("Time after a correction = %v, want %v", got, want)
		}
		if got, want := c.WallZero(), start.Add(24*time.Hour).UnixNano()-1; got != want {
			t.Errorf("WallZero = %d, want %d", got, want)
		}
		f.Suspend(time.Hour) // is no correction
		if got, want := c.WallZero(), start.Add(24*time.Hour).UnixNano()-1; got != want {
			t.Errorf("WallZero after a sleep = %d, want %d", got, want)
		}
	})
}

// TestLast: a look sees how the wall clock is set, and until then it is as before.
func TestLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, c := newFake(t)
		start, moment := time.Now(), c.Now()
		f.SetWall(time.Hour)
		if got := c.Last().Time(moment); !got.Equal(start) {
			t.Errorf("Last before the look = %v, want %v", got, start)
		}
		time.Sleep(LookInterval)
		synctest.Wait()
		if got, want := c.Last().Time(moment), start.Add(time.Hour); !got.Equal(want) {
			t.Errorf("Last after the look = %v, want %v", got, want)
		}
	})
}

// TestTimeUntil: what is left until a timestamp is exact by the real clock too,
// however the wall clock is set meanwhile.
func TestTimeUntil(t *testing.T) {
	c := New(nil)
	defer c.Close()
	const hour = time.Hour
	before := c.Now()
	for name, in := range map[string]func(Timestamp) time.Time{"Time": c.Time, "Last": c.Last().Time} {
		left := time.Until(in(before.Add(hour)))
		if after := c.Now(); left > hour || left < hour-after.Sub(before) {
			t.Errorf("%s: an hour later is in %v, want between %v and an hour", name, left, hour-after.Sub(before))
		}
	}
}

func TestBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFake()
		time.Sleep(time.Minute)
		f.Suspend(time.Hour)
		first := New(f)
		defer first.Close()
		if got, want := first.Boot().Age, time.Hour+time.Minute-1; got != want {
			t.Errorf("the boot's age at 0 = %v, want %v", got, want)
		}
		f.Reboot()
		second := New(f)
		defer second.Close()
		if first.Boot().ID == second.Boot().ID {
			t.Errorf("two boots have the id %q", first.Boot().ID)
		}
	})
}

// TestBubble: in a bubble the boot is unknown, since its clock would not be the fake one.
func TestBubble(t *testing.T) {
	outside := New(nil)
	defer outside.Close()
	if outside.FollowsWall() {
		t.Errorf("the real clock follows the wall clock")
	}
	synctest.Test(t, func(t *testing.T) {
		c := New(nil)
		defer c.Close()
		if got := c.Boot().ID; got != "" || !c.FollowsWall() {
			t.Errorf("in a bubble the boot is %q, follows the wall clock: %v, want none, true", got, c.FollowsWall())
		}
	})
}

func TestRealSystemDoesNotSleep(t *testing.T) {
	c := New(nil)
	defer c.Close()
	for range 1000 {
		c.look()
	}
	if got := c.slept.Load(); got != 0 {
		t.Errorf("the machine has slept for %v, want none", time.Duration(got))
	}
}

func TestNowAllocatesNothing(t *testing.T) {
	c := New(nil)
	defer c.Close()
	if got := testing.AllocsPerRun(100, func() { c.Time(c.Now()) }); got != 0 {
		t.Errorf("Now and Time allocate %v times, want 0", got)
	}
}

// panicky is a system that can't be asked once.
type panicky struct {
	*Fake
	panics atomic.Bool
}

func (p *panicky) Slept() time.Duration {
	if p.panics.CompareAndSwap(true, false) {
		panic("a panic")
	}
	return p.Fake.Slept()
}

// TestLookOutlivesPanics: after a panic the clock is looked at as ever.
func TestLookOutlivesPanics(t *testing.T) {
	var log strings.Builder
	before := slog.Default()
	defer slog.SetDefault(before)
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	synctest.Test(t, func(t *testing.T) {
		p := &panicky{Fake: NewFake()}
		c := New(p)
		defer c.Close()
		p.panics.Store(true)
		p.Suspend(time.Hour)
		time.Sleep(2*LookInterval + 1)
		if got := c.Now(); got < Timestamp(time.Hour) {
			t.Errorf("Now = %d, want that the sleep is seen", got)
		}
	})
	if got := log.String(); strings.Count(got, "recovered panic") != 1 || !strings.Contains(got, "look(…)") {
		t.Errorf("log = %s, want one panic with its stack", got)
	}
}
