package storetest

import (
	"context"
	"iter"
	"time"

	"tokenserver/token"
)

// realLifetime is the lifetime of sessions that expire by a clock that can't be faked: long
// beside what a slow machine takes for a test, and so short that two of them are less than a
// grace of a minute.
const realLifetime = 20 * time.Second

// margin is how far from a moment a test has to stay that needs to know on
// which side of it a call falls; with a fake clock, before it, a nanosecond.
const margin = realLifetime / 4

// ahead is a store whose sessions were made older: it tells times as if its clock were ahead
// by as much.
type ahead struct {
	Store
	by time.Duration
}

func (a *ahead) Validate(ctx context.Context, t token.Token, dst []byte) ([]byte, time.Time, error) {
	meta, expires, err := a.Store.Validate(ctx, t, dst)
	if err == nil {
		expires = expires.Add(a.by)
	}
	return meta, expires, err
}

func (a *ahead) Sessions(ctx context.Context) iter.Seq2[token.Session, error] {
	return func(yield func(token.Session, error) bool) {
		for s, err := range a.Store.Sessions(ctx) {
			s.Expires = s.Expires.Add(a.by)
			if !yield(s, err) {
				return
			}
		}
	}
}

func (a *ahead) SubjectSessions(ctx context.Context, subject []byte, p token.Page) ([]token.Session, bool, error) {
	list, more, err := a.Store.SubjectSessions(ctx, subject, p)
	for i := range list {
		list[i].Created = list[i].Created.Add(a.by)
		list[i].Expires = list[i].Expires.Add(a.by)
	}
	return list, more, err
}

// now returns the time by the store's clock.
func (t *tester) now() time.Time { return time.Now().Add(t.ahead.by) }

func (t *tester) until(moment time.Time) time.Duration { return moment.Sub(t.now()) }

// sleep lets time pass for the store.
func (t *tester) sleep(d time.Duration) {
	t.Helper()
	if !t.realTime() {
		time.Sleep(d)
		return
	}
	if d > 0 {
		t.Advance(t, t.ahead.Store, d)
		t.ahead.by += d
	}
}

// sleepUntilBefore sleeps until shortly before a moment.
func (t *tester) sleepUntilBefore(moment time.Time) {
	t.Helper()
	if t.realTime() {
		t.sleep(t.until(moment) - margin)
		return
	}
	t.sleep(t.until(moment) - 1)
}

// sleepUntil sleeps until a moment, or some time after it if the clock is real.
func (t *tester) sleepUntil(moment time.Time) {
	t.Helper()
	if t.realTime() {
		moment = moment.Add(margin)
	}
	t.sleep(t.until(moment))
}

// expiresIn expects that a time lies d from now, exactly if the clock is fake.
func (t *tester) expiresIn(got time.Time, d time.Duration) {
	t.Helper()
	off := t.until(got) - d
	if t.realTime() && off.Abs() < margin {
		return
	}
	if off != 0 {
		t.Errorf("session expires in %v, want %v", t.until(got), d)
	}
}

// same says whether two deadlines are one. A store with a clock of its own knows it to
// some milliseconds.
func (t *tester) same(a, b time.Time) bool {
	if t.realTime() {
		return a.Sub(b).Abs() < time.Second
	}
	return a.Equal(b)
}
