package durable

import (
	"math"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/shard"
)

// timeline has the epochs of a data directory, related to the current one, in their
// order. The first is that of the wall clock, and the last the current one.
type timeline []relation

// relation is how an epoch's timestamps, and the deadlines of its values, are
// related to the current epoch.
type relation struct {
	epoch
	boot  *bootRun
	shift time.Duration   // from a timestamp of it to one of the current epoch
	start clock.Timestamp // Start as one of the current epoch
	own   limits          // what the epoch left of sessions of those before it
	later limits          // what the epochs after it have left of its own sessions
	keep  clock.Timestamp // until when keys of it stay although their sessions have expired
	used  atomic.Bool     // by a value
}

// limits are what epochs leave of sessions that were written before: at the start of
// each of them a session got its lifetime at most. A session that has ended so does
// not come back in the next epoch, whatever lifetime holds there.
type limits struct {
	start       clock.Timestamp // from which on a lifetime of a session's own counts
	idle        clock.Timestamp // deadline of a session without one
	absolute    clock.Timestamp // deadline of any session
	maxLifetime time.Duration   // from a session's creation on
}

// never is later than all timestamps, and longer than all lifetimes.
const never = math.MaxInt64

var noLimits = limits{start: never, idle: never, absolute: never, maxLifetime: never}

// least returns what two limits leave together.
func (l limits) least(m limits) limits {
	return limits{
		start: min(l.start, m.start), idle: min(l.idle, m.idle),
		absolute: min(l.absolute, m.absolute), maxLifetime: min(l.maxLifetime, m.maxLifetime),
	}
}

// newTimeline relates epochs to the last of them. In the same boot of the machine its
// clock decides, and not the wall clock, which may have been set. In another boot it
// is the wall clock as it was last set there.
func newTimeline(epochs []epoch) timeline {
	t := make(timeline, len(epochs)+1)
	for i := range epochs {
		t[i+1].epoch = epochs[i]
	}
	t.findBoots()
	for i := range t { // not that of another epoch, which may be forgotten
		t[i].WallZero = t[i].boot.wallZero + int64(t[i].BootZero)
	}
	earliest, later, keep := clock.Timestamp(never), noLimits, clock.Timestamp(0)
	for i := len(t) - 1; i >= 0; i-- {
		r := &t[i]
		r.shift = time.Duration(r.WallZero - t.current().WallZero)
		if r.boot == t[len(t)-1].boot {
			r.shift = r.BootZero - t.current().BootZero
		}
		r.start = r.here(r.Start)
		r.later, r.keep = later, keep
		if earliest < r.start && r.start <= t.current().Start {
			r.later = t.laterLimits(i)
		}
		r.own = r.ownLimits()
		earliest, later = min(earliest, r.start), later.least(r.own)
		keep = max(keep, r.keepUntil(t.current().Start))
	}
	return t
}

// laterLimits returns what the epochs after the i-th have left of its sessions. A boot
// that seems to have come before it had a clock that was behind and was never set: when
// its epochs were is unknown, and they leave all. If the i-th lies in the future, it is
// the one whose clock was wrong, and this is not asked for.
func (t timeline) laterLimits(i int) limits {
	left, behind := noLimits, make(map[*bootRun]bool)
	for j := i + 1; j < len(t); j++ {
		r := &t[j]
		if _, known := behind[r.boot]; !known { // the first one decides: needed has it as long as others of the boot
			behind[r.boot] = r.start < t[i].start && r.boot != t[i].boot && r.boot != t[len(t)-1].boot
		}
		if !behind[r.boot] {
			left = left.least(r.own)
		}
	}
	return left
}

func (t timeline) current() *epoch { return &t[len(t)-1].epoch }

// bootRun is a boot of the machine, as far as epochs tell of it.
type bootRun struct {
	last     *epoch
	wallZero int64 // what the wall clock, as it was last set in the boot, said at its begin
}

// findBoots finds the boot that each epoch was in. It is another one if the boot is
// unknown, or its clock has gone back, as it does where a machine is restored from a
// snapshot.
func (t timeline) findBoots() {
	byID := make(map[string]*bootRun)
	for i := range t {
		e := &t[i].epoch
		b := byID[e.Boot]
		if b == nil || e.Boot == "" || e.BootZero < b.last.BootZero {
			b = new(bootRun)
			byID[e.Boot] = b
		}
		b.last, b.wallZero = e, e.WallZero-int64(e.BootZero)
		t[i].boot = b
	}
}

func (r *relation) ownLimits() limits {
	if r.Number == wallClockEpoch {
		return noLimits
	}
	l := limits{start: r.start, idle: addTo(r.start, r.Lifetime), absolute: never, maxLifetime: never}
	if r.MaxLifetime != 0 {
		l.absolute, l.maxLifetime = addTo(r.start, r.MaxLifetime), r.MaxLifetime
	}
	return l
}

// keepUntil returns KeepUntil as a timestamp of the current epoch, which began just
// now; 0 if that has passed. By a clock that was set back it is not longer than usual.
func (r *relation) keepUntil(now clock.Timestamp) clock.Timestamp {
	if r.KeepUntil == 0 {
		return 0
	}
	until := r.here(r.KeepUntil)
	if until <= now {
		r.KeepUntil = 0
		return 0
	}
	if limit := now.Add(keepExpired); until > limit {
		r.KeepUntil -= clock.Timestamp(until - limit)
		until = limit
	}
	return until
}

// here returns a timestamp of the epoch as one of the current epoch. What is too far
// away is as far as can be; none is 0, which would be no timestamp.
func (r *relation) here(t clock.Timestamp) clock.Timestamp {
	sum := t.Add(r.shift)
	switch {
	case r.shift > 0 && sum < t:
		return never
	case r.shift < 0 && sum > t:
		return -never
	case sum == 0:
		return 1
	}
	return sum
}

// find returns the relation of an epoch, or nil.
func (t timeline) find(number uint32) *relation {
	i := sort.Search(len(t), func(i int) bool { return t[i].Number >= number })
	if i == len(t) || t[i].Number != number {
		return nil
	}
	return &t[i]
}

// bringHere turns a state that the epoch has written into one of the current epoch.
func (r *relation) bringHere(s *shard.State) {
	s.Expires = r.here(s.Expires)
	if s.AbsoluteDeadline != 0 {
		s.AbsoluteDeadline = r.here(s.AbsoluteDeadline)
	}
	if s.Created != 0 {
		s.Created = r.here(s.Created)
	}
	for i := range s.Spent {
		s.Spent[i] = r.here(s.Spent[i])
	}
	r.later.apply(s)
}

// apply ends a session where epochs have ended it.
func (l *limits) apply(s *shard.State) {
	if s.Lifetime != 0 {
		s.Expires = min(s.Expires, addTo(l.start, s.Lifetime))
	} else {
		s.Expires = min(s.Expires, l.idle)
	}
	if l.maxLifetime == never {
		return
	}
	deadline := l.absolute
	if s.Created != 0 {
		deadline = min(deadline, addTo(s.Created, l.maxLifetime))
	}
	if s.AbsoluteDeadline != 0 {
		deadline = min(s.AbsoluteDeadline, l.absolute) // a rule that is new moves none
	}
	s.AbsoluteDeadline = deadline
	s.Expires = min(s.Expires, s.AbsoluteDeadline)
}

// addTo returns t and d together, and never if that is later.
func addTo(t clock.Timestamp, d time.Duration) clock.Timestamp {
	if t > never-clock.Timestamp(d) {
		return never
	}
	return t.Add(d)
}

// needed returns the epochs that have to be remembered: those that a value is of, and
// of the others each that has left less of earlier sessions than one before it. So a
// program that is started again and again does not fill the disk with its epochs.
func (t timeline) needed() (list []epoch) {
	var kept []*relation              // since the last one that is used
	older := false                    // there may be values of earlier epochs
	latest := clock.Timestamp(-never) // start of those
	for i := range t {
		r := &t[i]
		asMuch := func(earlier *relation) bool { return r.leavesAsMuchAs(earlier, latest) }
		switch {
		case r.used.Load():
			older, kept, latest = true, nil, max(latest, r.start)
		case i == len(t)-1, r.KeepUntil != 0:
		case !older, slices.ContainsFunc(kept, asMuch):
			continue
		default:
			kept = append(kept, r)
		}
		if r.Number != wallClockEpoch {
			list = append(list, r.epoch)
		}
	}
	return list
}

// leavesAsMuchAs says that r leaves as much as an earlier epoch, or more, of values whose
// epochs started at latest or before. In another boot it may turn out to leave less,
// once the wall clock is set. Of boots that are unknown each has its own clock, and the
// earlier one's may have been behind.
func (r *relation) leavesAsMuchAs(earlier *relation, latest clock.Timestamp) bool {
	unknown := r.Boot == "" && earlier.Boot == "" && earlier.start >= latest
	return (unknown || r.boot == earlier.boot) && earlier.own == earlier.own.least(r.own)
}
