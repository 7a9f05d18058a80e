package durable

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/internal/clock"
	"tokenserver/token"
)

// machine is a machine whose clocks jump, with a data directory.
type machine struct {
	*clock.Fake
	*Store
	cfg   Config
	fs    *vfs.MemFS
	fails *failingFS // what the store is told of its writes
}

// newMachine is used in a bubble.
func newMachine() *machine {
	m := &machine{Fake: clock.NewFake(), fs: vfs.NewCrashableMem(), fails: new(failingFS)}
	m.cfg = memConfig(m.fs)
	m.cfg.tune = withoutTicks
	return m
}

// start starts the store, with an idle lifetime.
func (m *machine) start(t testing.TB, lifetime time.Duration) {
	t.Helper()
	m.cfg.FS = errorfs.Wrap(m.fs, m.fails)
	m.open(t, lifetime)
}

// open is start with a file system of the test's own.
func (m *machine) open(t testing.TB, lifetime time.Duration) {
	t.Helper()
	m.cfg.Store.Lifetime = lifetime
	m.cfg.Store.Clock = clock.New(m.Fake)
	m.Store = mustOpen(t, m.cfg)
}

func (m *machine) stop(t testing.TB) {
	t.Helper()
	mustClose(t, m.Store)
	m.cfg.Store.Clock.Close()
}

// kill stops the store without a last word.
func (m *machine) kill(t testing.TB) {
	t.Helper()
	left := m.fs.CrashClone(vfs.CrashCloneCfg{})
	m.stop(t)
	m.fs = left
}

// noticed lets what the clocks did be seen.
func noticed() {
	time.Sleep(clock.LookInterval)
	synctest.Wait()
}

// wantLeft expects that a session lives for a time.
func (m *machine) wantLeft(t testing.TB, tok token.Token, want time.Duration) {
	t.Helper()
	left, err := m.left(t, tok)
	if left != want || err != nil {
		t.Errorf("the session lives for %v, error %v, want %v", left, err, want)
	}
}

// left returns for how long a session lives.
func (m *machine) left(t testing.TB, tok token.Token) (time.Duration, error) {
	_, expires, err := m.Validate(t.Context(), tok, nil)
	if err != nil {
		return 0, err
	}
	return expires.Sub(m.Wall(time.Now())), nil
}

// TestClockCorrectedAfterBoot: a machine without a clock of its own starts far in the
// past, and is told the time later. Nobody is logged out, whatever comes then.
func TestClockCorrectedAfterBoot(t *testing.T) {
	const lifetime = 2 * time.Hour
	for _, correction := range []time.Duration{24 * time.Hour, 50 * 365 * 24 * time.Hour, -24 * time.Hour} {
		for _, kill := range []bool{false, true} {
			for _, reboot := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/kill=%v/reboot=%v", correction, kill, reboot), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						m := newMachine()
						m.SetWall(-correction)
						m.start(t, lifetime)
						before := mustCreate(t, m.Store, `{}`)
						time.Sleep(time.Minute)
						m.SetWall(correction)
						noticed()
						after := mustCreate(t, m.Store, `{}`)
						if kill {
							m.kill(t)
						} else {
							m.stop(t)
						}
						if reboot {
							m.Reboot()
						}
						time.Sleep(time.Minute)
						m.start(t, lifetime)
						defer m.stop(t)
						m.wantLeft(t, before, lifetime-2*time.Minute-clock.LookInterval)
						m.wantLeft(t, after, lifetime-time.Minute)
					})
				})
			}
		}
	}
}

// TestBootClockDecides: in the same boot of the machine the wall clock says nothing.
func TestBootClockDecides(t *testing.T) {
	for _, jump := range []time.Duration{-time.Hour, time.Hour, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			m.start(t, 2*time.Hour)
			tok := mustCreate(t, m.Store, `{}`)
			m.stop(t)
			m.SetWall(jump)
			m.Suspend(10 * time.Minute)
			time.Sleep(10 * time.Minute)
			m.start(t, 2*time.Hour)
			defer m.stop(t)
			m.wantLeft(t, tok, 100*time.Minute)
		})
	}
}

// TestWallClockDecides: over a boot there is nothing but the wall clock. One that was
// set back makes no session live for longer than its lifetime.
func TestWallClockDecides(t *testing.T) {
	tests := map[time.Duration]time.Duration{ // what is left after jumps of the wall clock
		0: 110 * time.Minute, time.Hour: 50 * time.Minute, 24 * time.Hour: 0,
		-5 * time.Minute: 115 * time.Minute, -time.Hour: 2 * time.Hour, -24 * time.Hour: 2 * time.Hour,
	}
	for jump, want := range tests {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine()
			m.start(t, 2*time.Hour)
			tok := mustCreate(t, m.Store, `{}`)
			m.stop(t)
			m.Reboot()
			m.SetWall(jump)
			time.Sleep(10 * time.Minute)
			m.start(t, 2*time.Hour)
			defer m.stop(t)
			if left, err := m.left(t, tok); left != want || (err == nil) != (want > 0) {
				t.Errorf("after a jump of %v the session lives for %v, error %v, want %v", jump, left, err, want)
			}
		})
	}
}

// TestExpiredStaysExpired: what a shorter lifetime has ended does not come back, also
// if the lifetime is longer again at the next restart.
func TestExpiredStaysExpired(t *testing.T) {
	const long, short = 2 * time.Hour, 30 * time.Minute
	for _, absolute := range []bool{false, true} {
		for _, again := range []time.Duration{short, long} {
			for _, reboot := range []bool{false, true} {
				t.Run(fmt.Sprintf("absolute=%v/%v/reboot=%v", absolute, again, reboot), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						testExpiredStaysExpired(t, absolute, short, again, reboot)
					})
				})
			}
		}
	}
}

func testExpiredStaysExpired(t *testing.T, absolute bool, short, again time.Duration, reboot bool) {
	m := newMachine()
	m.cfg.Store.PurgeInterval = 90 * time.Minute
	start := func(lifetime time.Duration) {
		if absolute {
			m.cfg.Store.MaxLifetime, lifetime = lifetime, 3*time.Hour
		}
		m.start(t, lifetime)
	}
	start(2 * time.Hour)
	plain := mustCreate(t, m.Store, `{}`)
	own, err := m.Create(t.Context(), token.NewSession{Meta: []byte(`{}`), Lifetime: 90 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	m.stop(t)
	start(short)
	time.Sleep(31 * time.Minute)
	wantInvalid(t, m.Store, plain)
	m.kill(t)
	if reboot {
		m.Reboot()
	}
	start(again)
	wantInvalid(t, m.Store, plain)
	if absolute {
		wantInvalid(t, m.Store, own)
	} else {
		m.wantLeft(t, own, 59*time.Minute) // which no flag shortens
	}
	m.stop(t)
}

// TestShorterLifetimeLasts: the lifetime of a run that has changed nothing counts too.
func TestShorterLifetimeLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.start(t, 2*time.Hour)
		tok := mustCreate(t, m.Store, `{}`)
		m.stop(t)
		for _, lifetime := range []time.Duration{30 * time.Minute, 2 * time.Hour, 4 * time.Hour} {
			m.start(t, lifetime)
			time.Sleep(time.Minute)
			m.kill(t)
		}
		m.start(t, 2*time.Hour)
		m.wantLeft(t, tok, 27*time.Minute)
		tok = mustExchange(t, m.Store, tok, "")
		m.stop(t)
		m.start(t, 2*time.Hour)
		m.wantLeft(t, tok, 2*time.Hour) // it was exchanged since
		m.stop(t)
	})
}

// TestAllExpired: keys stay for an hour, so that the clock can be set, and a warning
// says so.
func TestAllExpired(t *testing.T) {
	for _, sessions := range []int{1, maxExpiredKeys + 10} {
		synctest.Test(t, func(t *testing.T) { testAllExpired(t, sessions) })
	}
}

func testAllExpired(t *testing.T, sessions int) {
	m := newMachine()
	m.start(t, 2*time.Hour)
	var tok token.Token
	for range sessions {
		tok = mustCreate(t, m.Store, `{}`)
	}
	m.stop(t)
	m.Reboot()
	m.SetWall(365 * 24 * time.Hour)
	var log bytes.Buffer
	m.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	m.start(t, 2*time.Hour)
	wantInvalid(t, m.Store, tok)
	if got := strings.Count(log.String(), "level=WARN"); got != 1 || !strings.Contains(log.String(), "clock=2000-12-31T") {
		t.Errorf("the log has %d warnings, want one with the time: %s", got, log.String())
	}
	m.cfg.Logger = nil
	time.Sleep(30 * time.Minute)
	young := mustCreate(t, m.Store, `{}`)
	m.stop(t)

	// Also if others live meanwhile, and it is started once more.
	m.start(t, 2*time.Hour)
	time.Sleep(5 * time.Minute)
	if got, want := keys(t, m.Store), sessions+1; got != want {
		t.Errorf("after 35 minutes there are %d keys, want %d", got, want)
	}
	m.SetWall(-365 * 24 * time.Hour)
	m.stop(t)
	m.start(t, 2*time.Hour) // with the clock set right
	m.wantLeft(t, tok, 85*time.Minute)
	m.wantLeft(t, young, 115*time.Minute)
	m.stop(t)
	m.SetWall(365 * 24 * time.Hour)
	m.Reboot()
	m.start(t, 2*time.Hour)
	time.Sleep(keepExpired + sweepPause*(keyRanges+10) + 2*tickInterval)
	if got := keys(t, m.Store); got != 0 {
		t.Errorf("after an hour there are %d keys, want none", got)
	}
	m.stop(t)
}

// TestManyExpired deletes the keys of more sessions than are remembered.
func TestManyExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.start(t, time.Hour)
		for range 3 * maxExpiredKeys {
			mustCreate(t, m.Store, `{}`)
		}
		tok, err := m.Create(t.Context(), token.NewSession{Meta: []byte(`{}`), Lifetime: 3 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		m.stop(t)
		time.Sleep(time.Hour)
		m.start(t, time.Hour)
		time.Sleep(time.Minute)
		if got := keys(t, m.Store); got != 1 {
			t.Errorf("a minute after the start there are %d keys, want 1", got)
		}
		mustExchange(t, m.Store, tok, "")
		m.stop(t)
	})
}

// TestFormat1 opens a data directory that a program wrote whose values have the wall
// clock's times, at 2000-01-01, when it was killed half an hour later.
func TestFormat1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.cfg.Store.Grace = time.Minute
		tokens := copyFormat1(t, m.fs)
		m.Reboot()
		time.Sleep(35 * time.Minute)

		s, err := Open(m.cfg)
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		if got := string(contents(t, m.fs, path.Join(testDir, formatFile))); got != wallClockFormat {
			t.Errorf("before the load the format is %q, want %q", got, wallClockFormat)
		}
		for range 2 { // the second time as a program of today left it
			m.start(t, 2*time.Hour)
			if got := string(contents(t, m.fs, path.Join(testDir, formatFile))); got != format {
				t.Errorf("the format is %q, want %q", got, format)
			}
			m.wantLeft(t, tokens["plain"], 115*time.Minute)
			m.wantLeft(t, tokens["own"], 5*time.Minute)
			wantInvalid(t, m.Store, tokens["spent"])
			wantInvalid(t, m.Store, tokens["ended"])
			list, _, err := m.SubjectSessions(t.Context(), []byte("bob"), token.Page{Limit: 10})
			if len(list) != 1 || err != nil {
				t.Fatalf("SubjectSessions = %d sessions, error %v, want 1", len(list), err)
			}
			if got, want := time.Since(list[0].Created), 35*time.Minute; got != want {
				t.Errorf("the session was created %v ago, want %v", got, want)
			}
			m.kill(t)
		}
		m.start(t, 2*time.Hour)
		tok := mustExchange(t, m.Store, tokens["plain"], "")
		m.kill(t)
		m.start(t, 2*time.Hour)
		m.wantLeft(t, tok, 2*time.Hour)
		m.stop(t)
	})
}

// copyFormat1 copies the data directory in testdata, and returns its tokens by name.
func copyFormat1(t testing.TB, fs vfs.FS) map[string]token.Token {
	const from = "testdata/format-1"
	if err := fs.MkdirAll(testDir, dirMode); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if err := vfs.CopyAcrossFS(vfs.Default, path.Join(from, entry.Name()), fs, path.Join(testDir, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := fs.OpenDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	dir.Sync()
	dir.Close()
	text, err := os.ReadFile(from + ".tokens")
	if err != nil {
		t.Fatal(err)
	}
	tokens := make(map[string]token.Token)
	for line := range strings.Lines(string(text)) {
		name, tok, _ := strings.Cut(strings.TrimSpace(line), " ")
		if tokens[name], err = token.Parse([]byte(tok)); err != nil {
			t.Fatal(err)
		}
	}
	return tokens
}

// TestEpochMissing: a value whose epoch is not in the list has no deadline that could
// be known.
func TestEpochMissing(t *testing.T) {
	cfg := memConfig(vfs.NewMem())
	s := mustOpen(t, cfg)
	mustCreate(t, s, `{}`)
	mustClose(t, s)
	if err := cfg.FS.Remove(path.Join(testDir, epochsFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := openAndLoad(cfg); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), epochsFile) {
		t.Errorf("Load without %s = error %v, want %v with the name", epochsFile, err, ErrCorrupt)
	}
}

// TestEpochsDontPileUp starts again and again: no more epochs are remembered than
// there are values of.
func TestEpochsDontPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		m.start(t, 2*time.Hour)
		var tok [3]token.Token
		for i := range tok {
			tok[i] = mustCreate(t, m.Store, `{}`)
		}
		m.stop(t)
		for n := range 60 {
			m.start(t, []time.Duration{2 * time.Hour, 3 * time.Hour}[n%2])
			if n%20 == 7 {
				tok[n/20] = mustExchange(t, m.Store, tok[n/20], "")
			}
			time.Sleep(time.Second)
			m.kill(t)
			list, err := m.dataDir.readEpochs()
			if err != nil {
				t.Fatal(err)
			}
			// Of each of the three values, what two lifetimes left of it, and the current one.
			if got, limit := len(list), 3+2*3+1; got > limit {
				t.Fatalf("after %d starts there are %d epochs, want %d at most", n, got, limit)
			}
		}
	})
}
