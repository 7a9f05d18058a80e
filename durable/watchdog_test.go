package durable

import (
	"context"
	"errors"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"tokenserver/shard"
	"tokenserver/token"
)

// hangingFS is a disk whose syncs of the log don't return while it hangs. A bubble's
// clock goes on meanwhile, which it would not with a mutex.
type hangingFS struct{ back atomic.Pointer[chan struct{}] }

func (h *hangingFS) String() string { return "hangingFS" }

func (h *hangingFS) MaybeError(op errorfs.Op) error {
	if isLogSync(op) {
		h.wait()
	}
	return nil
}

// wait returns once the disk does not hang.
func (h *hangingFS) wait() {
	if back := h.back.Load(); back != nil {
		<-*back
	}
}

func (h *hangingFS) hang() {
	back := make(chan struct{})
	h.back.Store(&back)
}

func (h *hangingFS) goOn() { close(*h.back.Swap(nil)) }

// hangTest is a store on a disk that may hang.
type hangTest struct {
	*testing.T
	*Store
	disk   hangingFS
	cfg    Config
	tokens []token.Token
}

func newHangTest(t *testing.T, fsync Fsync, sessions int) *hangTest {
	h := &hangTest{T: t}
	h.cfg = memConfig(errorfs.Wrap(vfs.NewMem(), &h.disk))
	h.cfg.Fsync, h.cfg.tune = fsync, withoutTicks
	h.Store = mustOpen(t, h.cfg)
	for range sessions {
		tok, err := h.Create(t.Context(), token.NewSession{Meta: []byte(`{}`), Subject: []byte("bob")})
		if err != nil {
			t.Fatal(err)
		}
		h.tokens = append(h.tokens, tok)
	}
	time.Sleep(2 * tickInterval) // so that nothing is under way
	return h
}

// exchange begins an exchange, whose error it returns.
func (h *hangTest) exchange(tok token.Token) <-chan error {
	answer := make(chan error, 1)
	go func() {
		_, err := h.Exchange(h.Context(), tok, token.Patch{}, nil)
		answer <- err
	}()
	synctest.Wait()
	return answer
}

func (h *hangTest) wantRefused(what string, err error) {
	h.Helper()
	var refused *token.UnavailableError
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "the disk does not answer") {
		h.Errorf("%s = error %v, want an UnavailableError that names the disk", what, err)
	}
}

// wantChangesRefused expects that no method decides anything.
func (h *hangTest) wantChangesRefused(tok token.Token) {
	h.Helper()
	before := h.Stats()
	_, err := h.Create(h.Context(), token.NewSession{Meta: []byte(`{}`)})
	h.wantRefused("Create", err)
	_, err = h.Exchange(h.Context(), tok, token.Patch{}, nil)
	h.wantRefused("Exchange", err)
	h.wantRefused("Delete", h.Delete(h.Context(), tok))
	_, err = h.EndSubject(h.Context(), []byte("bob"))
	h.wantRefused("EndSubject", err)
	_, err = h.EndOthers(h.Context(), []byte("bob"), tok)
	h.wantRefused("EndOthers", err)
	_, err = h.EndSession(h.Context(), []byte("bob"), tok.ID.Name())
	h.wantRefused("EndSession", err)
	after := h.Stats()
	if before.Sessions != after.Sessions || before.Exchanged != after.Exchanged {
		h.Errorf("calls that were refused have changed something")
	}
	if _, _, err := h.Validate(h.Context(), tok, nil); err != nil {
		h.Errorf("Validate = error %v, want an answer: nothing of it is under way", err)
	}
	if err := h.Ready(); err == nil || !strings.Contains(err.Error(), "the disk does not answer") {
		h.Errorf("Ready = error %v, want why", err)
	}
}

// TestHangingDisk: what was decided before is not known in the end, and after a
// second nothing is decided any more.
func TestHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangTest(t, Always, 10)
		h.disk.hang()
		start := time.Now()
		decided := h.exchange(h.tokens[0])
		time.Sleep(hangAfter - time.Millisecond)
		late := h.exchange(h.tokens[1])
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		h.wantChangesRefused(h.tokens[2])

		if err := <-decided; err != errNoAnswer {
			t.Errorf("Exchange before = error %v, want %v", err, errNoAnswer)
		}
		if got, want := time.Since(start), hangAfter+outageLimit; got != want {
			t.Errorf("it was answered after %v, want %v", got, want)
		}
		if err := <-late; err != errNoAnswer {
			t.Errorf("the last Exchange before = error %v, want %v", err, errNoAnswer)
		}
		h.wantListsRefused(h.tokens[0])
		time.Sleep(time.Minute)
		h.wantChangesRefused(h.tokens[2])

		h.disk.goOn()
		time.Sleep(gatherTime)
		synctest.Wait()
		h.wantAllWell()
	})
}

// wantListsRefused expects that what rests on a change under way is not told.
func (h *hangTest) wantListsRefused(changed token.Token) {
	h.Helper()
	_, _, err := h.Validate(h.Context(), changed, nil)
	h.wantRefused("Validate", err)
	_, _, err = h.SubjectSessions(h.Context(), []byte("bob"), token.Page{Limit: 10})
	h.wantRefused("SubjectSessions", err)
	for _, err = range h.Sessions(h.Context()) {
	}
	h.wantRefused("Sessions", err)
}

// wantAllWell expects that two tokens are spent and the others are not, also on disk.
func (h *hangTest) wantAllWell() {
	h.Helper()
	if err := h.Ready(); err != nil {
		h.Errorf("Ready = error %v after all", err)
	}
	for i := range 2 {
		wantInvalid(h, h.Store, h.tokens[i])
	}
	h.tokens[2] = mustExchange(h, h.Store, h.tokens[2], "")
	mustClose(h, h.Store)
	s := mustOpen(h, h.cfg)
	defer mustClose(h, s)
	for i, tok := range h.tokens {
		if i < 2 {
			wantInvalid(h, s, tok)
		} else {
			mustExchange(h, s, tok, "")
		}
	}
}

// TestHangingDiskEverySecond: nobody waits for the sync of a tick, but it is watched.
func TestHangingDiskEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangTest(t, EverySecond, 10)
		h.disk.hang()
		for i := range 2 {
			if err := <-h.exchange(h.tokens[i]); err != nil {
				t.Errorf("Exchange = error %v", err)
			}
		}
		time.Sleep(tickInterval + hangAfter)
		synctest.Wait()
		h.wantChangesRefused(h.tokens[2])
		h.disk.goOn()
		synctest.Wait()
		h.wantAllWell()
	})
}

// TestHangsInARow: whoever waits through two short ones is not given up.
func TestHangsInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangTest(t, Always, 2)
		defer mustClose(t, h.Store)
		h.disk.hang()
		first := h.exchange(h.tokens[0])
		time.Sleep(hangAfter / 2)
		second := h.exchange(h.tokens[1]) // in the next group
		for range 2 {
			time.Sleep(outageLimit - time.Second)
			goOn := *h.disk.back.Load()
			h.disk.hang()
			close(goOn)
			synctest.Wait()
		}
		h.disk.goOn()
		for _, answer := range []<-chan error{first, second} {
			if err := <-answer; err != nil {
				t.Errorf("Exchange = error %v, want success", err)
			}
		}
	})
}

// TestCloseOfAHangingDisk: a stop waits as long as a call, or goes well.
func TestCloseOfAHangingDisk(t *testing.T) {
	for name, hang := range map[string]time.Duration{"short": outageLimit - 1, "long": outageLimit + time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHangTest(t, Always, 1)
				var fatal atomic.Int32
				h.failure.notify = func(error) { fatal.Add(1) }
				h.disk.hang()
				answer := h.exchange(h.tokens[0])
				time.AfterFunc(hang, h.disk.goOn)
				start := time.Now()
				err := h.Close()
				if name == "short" {
					if err != nil || <-answer != nil {
						t.Errorf("Close = error %v, want that all is written", err)
					}
					return
				}
				if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "does not answer") {
					t.Errorf("Close = error %v, want %v and why", err, ErrFailed)
				}
				if got := time.Since(start); got != outageLimit {
					t.Errorf("Close took %v, want %v", got, outageLimit)
				}
				if err := <-answer; !errors.Is(err, ErrFailed) || fatal.Load() != 1 {
					t.Errorf("Exchange = error %v, Fatal called %d times, want %v, once", err, fatal.Load(), ErrFailed)
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// TestCloseOfAHangingList: a list of epochs that can't be written holds up no Close, nor
// does one that was being written when it began.
func TestCloseOfAHangingList(t *testing.T) {
	for _, before := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			m, disk := newMachine(), new(hangingFS)
			m.cfg.Fatal = func(error) {}
			m.cfg.FS = errorfs.Wrap(m.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == errorfs.OpFileSync && strings.HasPrefix(path.Base(op.Path), epochsFile) {
					disk.wait()
				}
				return nil
			}))
			m.open(t, time.Hour)
			disk.hang()
			m.SetWall(time.Hour)
			time.Sleep(before)
			wantBoundClose(t, m.Store)
			disk.goOn()
			time.Sleep(time.Minute)
			if before != 0 { // else the Close has come to its end
				m.abandonForTest(t)
			}
			m.cfg.Store.Clock.Close()
		})
	}
}

// wantBoundClose expects that a Close of a store whose disk hangs fails in time.
func wantBoundClose(t *testing.T, s *Store) {
	t.Helper()
	start := time.Now()
	err := s.Close()
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Close = error %v, want %v and why", err, ErrFailed)
	}
	if took, most := time.Since(start), outageLimit+2*hangAfter; took > most {
		t.Errorf("Close took %v, want %v at most", took, most)
	}
}

// TestCloseDuringALongHang has the disk another ten seconds.
func TestCloseDuringALongHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangTest(t, Always, 1)
		h.disk.hang()
		answer := h.exchange(h.tokens[0])
		time.Sleep(time.Minute)
		time.AfterFunc(outageLimit-1, h.disk.goOn)
		if err := h.Close(); err != nil {
			t.Errorf("Close = error %v, want success", err)
		}
		if err := <-answer; err != errNoAnswer {
			t.Errorf("Exchange = error %v, want %v", err, errNoAnswer)
		}
	})
}

// TestSilence: a Close that waits for a table gives up too, by what Pebble reports.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{log: testLogger(t), watchdog: newWatchdog(testLogger(t))}
		report := s.events().DiskSlow
		for _, test := range []struct {
			took, ago time.Duration
			want      bool
		}{
			{outageLimit - 1, 0, false},
			{outageLimit, 0, true},
			{time.Minute, slowReportValid - 1, true},
			{time.Minute, slowReportValid, false},
		} {
			report(pebble.DiskSlowInfo{Path: "000007.sst", Duration: test.took})
			time.Sleep(test.ago)
			if got := s.watchdog.silence(); (got != nil) != test.want {
				t.Errorf("%v after a report of %v: silence = %v, want one: %v", test.ago, test.took, got, test.want)
			}
		}
	})
}

// TestFullGroupOfAHangingDisk: no shard's lock is held for longer than a second
// because there is no room in a group, and no change is left out.
func TestFullGroupOfAHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHangTest(t, Always, 0)
		h.disk.hang()
		var saved atomic.Int64
		go func() {
			h.journal.Save(&shard.State{Meta: []byte(`{}`)})
			time.Sleep(gatherTime) // the rest is for the next group
			state := shard.State{Meta: make([]byte, h.journal.maxGroup/4)}
			for range 8 {
				h.journal.Save(&state)
				saved.Add(1)
			}
		}()
		time.Sleep(hangAfter - 1)
		synctest.Wait()
		if got := saved.Load(); got >= 8 {
			t.Errorf("%d changes have room before the disk hangs, want fewer", got)
		}
		time.Sleep(2 * gatherTime)
		synctest.Wait()
		if got := saved.Load(); got != 8 {
			t.Errorf("%d changes are enqueued, want 8", got)
		}
		h.disk.goOn()
		mustClose(t, h.Store)
	})
}

// TestUnconfirmedReason: the outage may be over when its reason is asked for.
func TestUnconfirmedReason(t *testing.T) {
	s := &Store{watchdog: newWatchdog(testLogger(t))}
	var refused *token.UnavailableError
	if err := s.unconfirmed(errNoAnswer); !errors.As(err, &refused) || refused.Reason == "" {
		t.Errorf("unconfirmed = error %v, want an UnavailableError with a reason", err)
	}
	if got := s.unconfirmed(context.Canceled); got != context.Canceled {
		t.Errorf("unconfirmed = error %v, want it as it is", got)
	}
}
