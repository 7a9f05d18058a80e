package durable

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"tokenserver/token"
)

const (
	// hangAfter is how long an operation may take before changes are refused.
	hangAfter = time.Second
	// outageLimit is how long what was decided before an outage waits for its
	// end, and how long a Close does.
	outageLimit = 10 * time.Second
)

// errNoAnswer is the error of a change that was decided before an outage and could
// not be confirmed in time.
var errNoAnswer = errors.New("durable: the disk has not answered in time: whether the change lasts is not known")

// watchdog notices when the disk does not answer. An operation that takes longer
// than hangAfter begins an outage: until no such operation is under way no change
// is decided, since clients give up on what waits for the disk, and their tokens
// would be spent.
type watchdog struct {
	log *slog.Logger
	// late counts the operations that take too long: all that a call looks at
	// while there is none.
	late atomic.Int32
	// outage is the present one or the next one.
	outage atomic.Pointer[outage]
	// slow is what Pebble has last said to be slow.
	slow atomic.Pointer[slowOperation]

	// mu guards the rest, and the operations. It is held for a few steps.
	mu     sync.Mutex
	lates  []*operation
	began  time.Time   // when the outage did
	limit  *time.Timer // ends what waits for its end
	reason string      // of an outage without end
}

// outage is a time in which the disk does not answer.
type outage struct {
	begun  chan struct{} // closed when it begins
	ended  chan struct{} // closed when nobody waits for its end any more
	gaveUp bool          // before it was over; set before ended is closed
}

func newWatchdog(log *slog.Logger) *watchdog {
	w := &watchdog{log: log}
	w.outage.Store(newOutage())
	return w
}

func newOutage() *outage {
	return &outage{begun: make(chan struct{}), ended: make(chan struct{})}
}

// check returns a [token.UnavailableError] if nothing may be decided at present.
func (w *watchdog) check() error {
	if w.late.Load() == 0 {
		return nil
	}
	if reason := w.why(); reason != "" {
		return &token.UnavailableError{Reason: reason}
	}
	return nil
}

// why returns the reason of the outage, and none if there is no outage.
func (w *watchdog) why() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.reason != "":
		return w.reason
	case len(w.lates) > 0:
		return w.worstLocked().why()
	}
	return ""
}

// worstLocked returns the operation that the others may be waiting for. It requires mu.
func (w *watchdog) worstLocked() *operation {
	for _, op := range w.lates {
		if op.err != nil {
			return op
		}
	}
	return w.lates[0]
}

// whyUnconfirmed returns the reason of an outage that may be over by now.
func (w *watchdog) whyUnconfirmed() string {
	if reason := w.why(); reason != "" {
		return reason
	}
	return "the disk has not answered in time"
}

// refuse begins an outage that has no end.
func (w *watchdog) refuse(reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reason == "" {
		w.reason = reason
		w.addLateLocked()
	}
}

// addLateLocked counts one more reason for an outage, which the first begins. It
// requires mu.
func (w *watchdog) addLateLocked() (begins bool) {
	if w.late.Add(1) > 1 {
		return false
	}
	o := w.outage.Load()
	w.began = time.Now()
	w.limit = time.AfterFunc(outageLimit, func() { w.giveUp(o) })
	close(o.begun)
	return true
}

// removeLateLocked takes a reason back. The last one ends the outage, and those who
// wait look again. It requires mu.
func (w *watchdog) removeLateLocked() (over bool) {
	if w.late.Add(-1) > 0 {
		return false
	}
	w.limit.Stop()
	o := w.outage.Swap(newOutage())
	if !o.gaveUp {
		close(o.ended)
	}
	return true
}

// giveUp ends the waiting for the end of an outage.
func (w *watchdog) giveUp(o *outage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.outage.Load() == o {
		o.gaveUp = true
		close(o.ended)
	}
}

// operation is what the disk may take long for.
type operation struct {
	watchdog *watchdog
	reason   func(took time.Duration) string
	err      error // of a Close that it holds up; nil for a disk that does not answer

	// The watchdog's mu guards these.
	running int       // how many of its kind
	since   time.Time // when the first of them began
	timer   *time.Timer
	late    bool
}

// write returns an operation that writes.
func (w *watchdog) write(what string) *operation {
	return &operation{watchdog: w, reason: func(took time.Duration) string {
		return fmt.Sprintf("the disk does not answer: %s has been under way for %d s", what, int(took.Seconds()))
	}}
}

// shortage returns an operation that waits for a descriptor.
func (w *watchdog) shortage() *operation {
	return &operation{watchdog: w, reason: func(time.Duration) string { return tooManyFiles }, err: errTooManyFiles}
}

func (op *operation) begin() {
	op.watchdog.mu.Lock()
	defer op.watchdog.mu.Unlock()
	if op.running++; op.running > 1 {
		return
	}
	op.since = time.Now()
	if op.timer == nil {
		op.timer = time.AfterFunc(hangAfter, op.check)
	} else {
		op.timer.Reset(hangAfter)
	}
}

func (op *operation) end() {
	w := op.watchdog
	w.mu.Lock()
	op.running--
	if op.running > 0 {
		w.mu.Unlock()
		return
	}
	op.timer.Stop()
	over := op.late && op.inTimeLocked()
	began := w.began
	w.mu.Unlock()
	if over {
		w.log.Warn("changes are accepted again", "seconds", seconds(began))
	}
}

// check is called when the operation may have taken too long.
func (op *operation) check() {
	w := op.watchdog
	w.mu.Lock()
	if op.running == 0 || op.late || time.Since(op.since) < hangAfter {
		w.mu.Unlock()
		return
	}
	op.late = true
	w.lates = append(w.lates, op)
	begins, reason := w.addLateLocked(), op.why()
	w.mu.Unlock()
	if begins {
		w.log.Error("changes are refused", "reason", reason)
	}
}

// inTimeLocked takes back that the operation is late. It requires the watchdog's mu.
func (op *operation) inTimeLocked() (over bool) {
	w := op.watchdog
	op.late = false
	for i, late := range w.lates {
		if late == op {
			w.lates = append(w.lates[:i:i], w.lates[i+1:]...)
			break
		}
	}
	return w.removeLateLocked()
}

// why returns the reason that the operation gives.
func (op *operation) why() string { return op.reason(time.Since(op.since)) }

// failure returns the error of a Close that the operation has held up.
func (op *operation) failure() error {
	if op.err != nil {
		return op.err
	}
	return errors.New(op.why())
}

// slowOperation is one of Pebble's own that it says to be slow. Only a Close cares.
type slowOperation struct {
	reported time.Time
	took     time.Duration
	reason   string
}

// slowReportValid is how long a report of Pebble's holds; there is one every two
// seconds while an operation is under way.
const slowReportValid = 5 * time.Second

func newSlowOperation(info *pebble.DiskSlowInfo) *slowOperation {
	reason := fmt.Sprintf("the disk does not answer: %s of %s has been under way for %d s",
		info.OpType.String(), info.Path, int(info.Duration.Seconds()))
	return &slowOperation{reported: time.Now(), took: info.Duration, reason: reason}
}

// silence returns an error if the disk has not answered for outageLimit.
func (w *watchdog) silence() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, op := range w.lates {
		if time.Since(op.since) >= outageLimit {
			return w.worstLocked().failure()
		}
	}
	if slow := w.slow.Load(); slow != nil && slow.took >= outageLimit && time.Since(slow.reported) < slowReportValid {
		return errors.New(slow.reason)
	}
	return nil
}

// boundClose fails a Close that finds a disk that does not answer. It returns what
// ends that.
func (s *Store) boundClose() (stop func()) {
	done := make(chan struct{})
	go func() {
		for wait := outageLimit; ; wait = hangAfter {
			select {
			case <-done:
				return
			case <-time.After(wait):
			}
			if err := s.watchdog.silence(); err != nil {
				s.failure.set(err)
				return
			}
		}
	}()
	return func() { close(done) }
}
