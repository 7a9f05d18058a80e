package client

import (
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: all servers that are ready get calls, and one that comes back too.
func TestTurns(t *testing.T) {
	one, two := newFake("1"), newFake("1")
	inBubble(t, Config{}, func(b *bubble) {
		for range 10 {
			b.create()
		}
		if one.made != 5 || two.made != 5 {
			b.Errorf("sessions = %d and %d, want 5 each", one.made, two.made)
		}
		b.stops[0]()
		for range 10 {
			b.create()
		}
		b.stops[0] = b.start(one, "a:1")
		time.Sleep(2 * probeInterval)
		one.made = 0
		for range 10 {
			b.create()
		}
		if one.made != 5 {
			b.Errorf("the one that came back has made %d sessions, want 5", one.made)
		}
	}, one, two)
}

// TestItComesBack: a server that is away for a while costs time and no call.
func TestItComesBack(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{}, func(b *bubble) {
		b.create()
		b.stops[0]()
		back := make(chan struct{})
		go func() {
			defer close(back)
			time.Sleep(3 * time.Second)
			b.stops[0] = b.start(f, "a:1")
		}()
		begun := time.Now()
		b.create()
		if took := time.Since(begun); took > 3*time.Second+probeInterval {
			b.Errorf("it took %v, want %v at most", took, 3*time.Second+probeInterval)
		}
		<-back
	}, f)
}

func TestStoresThatDiffer(t *testing.T) {
	t.Run("from the start", func(t *testing.T) {
		one, two := newFake("1"), newFake("2")
		inBubble(t, Config{}, func(b *bubble) {
			_, err := b.client.Create(b.Context(), NewSession{Meta: []byte(`{}`)})
			if !errors.Is(err, ErrStoresDiffer) || !strings.Contains(err.Error(), "a:1") || !strings.Contains(err.Error(), "b:1") {
				b.Errorf("error = %v, want ErrStoresDiffer that names both", err)
			}
			if err := b.client.Ready(b.Context()); !errors.Is(err, ErrStoresDiffer) {
				b.Errorf("Ready = %v, want ErrStoresDiffer", err)
			}
			if one.made+two.made > 0 {
				b.Error("a session was made")
			}
		}, one, two)
	})
	t.Run("one says nothing", func(t *testing.T) {
		one, two := newFake("1"), newFake("")
		inBubble(t, Config{}, func(b *bubble) {
			for range 5 {
				b.create()
			}
			if err := b.client.Ready(b.Context()); !errors.Is(err, ErrStoresDiffer) {
				b.Errorf("Ready = %v, want ErrStoresDiffer", err)
			}
			if two.made > 0 {
				b.Error("it got a call")
			}
		}, one, two)
	})
	t.Run("later", func(t *testing.T) {
		one, two := newFake("1"), newFake("2")
		inBubble(t, Config{}, func(b *bubble) {
			b.stops[1]()
			b.client.Ready(b.Context())
			b.create()
			b.stops[1] = b.start(two, "b:1")
			time.Sleep(2 * probeInterval)
			for range 5 {
				b.create()
			}
			if err := b.client.Ready(b.Context()); !errors.Is(err, ErrStoresDiffer) {
				b.Errorf("Ready = %v, want ErrStoresDiffer", err)
			}
			if two.made > 0 {
				b.Error("the one that differs got a call")
			}
			b.stops[0]() // then the other is the only one, and taken
			time.Sleep(2 * probeInterval)
			b.create()
			if two.made != 1 {
				b.Error("it got no call once it was the only one")
			}
		}, one, two)
	})
	t.Run("back with another", func(t *testing.T) {
		one := newFake("1")
		inBubble(t, Config{}, func(b *bubble) {
			b.create()
			b.stops[0]()
			one.id = "3"
			b.stops[0] = b.start(one, "a:1")
			b.create()
		}, one)
	})
}

// TestADrainingServerLosesNoConnectionInUse: idle connections to it are given up while
// it still answers on them.
func TestADrainingServerLosesNoConnectionInUse(t *testing.T) {
	f := newFake("1")
	const connections = 10 // more than looks could use up
	inBubble(t, Config{MaxInFlight: connections}, func(b *bubble) {
		var open atomic.Int64
		b.network.wrap = func(c net.Conn) net.Conn { open.Add(1); return &watched{Conn: c, open: &open} }
		var releases []func()
		for range connections {
			releases = append(releases, b.hold(f))
		}
		for _, release := range releases {
			release()
		}
		if got := open.Load(); got < connections {
			b.Errorf("%d connections, want %d for a start", got, connections)
		}
		f.mu.Lock()
		f.ready = false
		f.mu.Unlock()
		time.Sleep(time.Second - time.Millisecond)
		if got := open.Load(); got > 0 {
			b.Errorf("%d connections lie idle when the server closes them", got)
		}
	}, f)
}

// watched is the client's side of a connection, counted while it is open.
type watched struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (w *watched) Close() error {
	w.once.Do(func() { w.open.Add(-1) })
	return w.Conn.Close()
}

// TestNothingIsAskedWhileNothingIsCalled: a client that is not used leaves servers alone.
func TestNothingIsAskedWhileNothingIsCalled(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{}, func(b *bubble) {
		looks := func() int {
			synctest.Wait()
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.looks
		}
		b.create()
		time.Sleep(idleTimeout + time.Minute)
		before := looks()
		time.Sleep(time.Hour)
		if got := looks() - before; got > 0 {
			b.Errorf("it was asked %d times", got)
		}
		b.create()
	}, f)
}

func TestReady(t *testing.T) {
	one, two := newFake("1"), newFake("1")
	inBubble(t, Config{}, func(b *bubble) {
		if err := b.client.Ready(b.Context()); err != nil {
			b.Errorf("both are ready: %v", err)
		}
		b.stops[0]()
		if err := b.client.Ready(b.Context()); err != nil {
			b.Errorf("one is ready: %v", err)
		}
		two.mu.Lock()
		two.ready = false
		two.mu.Unlock()
		err := b.client.Ready(b.Context())
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "Draining") || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "%!") {
			b.Errorf("none is ready: %v, want ErrUnavailable with both reasons", err)
		}
	}, one, two)
}

// TestAnotherStoreGetsNoCall: a server that comes back with another store is refused
// before it is looked at again.
func TestAnotherStoreGetsNoCall(t *testing.T) {
	one, two, other := newFake("1"), newFake("1"), newFake("2")
	inBubble(t, Config{}, func(b *bubble) {
		for range 4 {
			b.create()
		}
		b.stops[1]()
		b.stops[1] = b.start(other, "b:1")
		for range 20 {
			b.create()
		}
		if got := len(other.requests); got > 0 {
			b.Errorf("it got %d requests", got)
		}
		if err := b.client.Ready(b.Context()); !errors.Is(err, ErrStoresDiffer) {
			b.Errorf("Ready = %v, want ErrStoresDiffer", err)
		}
		b.stops[1]()
		two.made = 0
		b.stops[1] = b.start(two, "b:1")
		time.Sleep(2 * probeInterval)
		for range 10 {
			b.create()
		}
		if two.made != 5 {
			b.Errorf("with its own store again it has made %d sessions, want 5", two.made)
		}
	}, one, two)
}

// TestAShortAbsenceKeepsTheStore: calls wait for the store in use, though there is
// another one, which is taken when that is away for long.
func TestAShortAbsenceKeepsTheStore(t *testing.T) {
	for _, c := range []struct {
		away   time.Duration
		others int // sessions that the other one makes
	}{{probeInterval / 2, 0}, {2*probeInterval - time.Millisecond, 0}, {10 * switchAfter, 1}} {
		one, other := newFake("1"), newFake("2")
		inBubble(t, Config{}, func(b *bubble) {
			b.stops[1]()
			b.client.Ready(b.Context())
			b.create()
			b.stops[1] = b.start(other, "b:1")
			time.Sleep(2 * probeInterval)
			b.stops[0]()
			back := make(chan struct{})
			go func() {
				defer close(back)
				time.Sleep(c.away)
				b.stops[0] = b.start(one, "a:1")
			}()
			begun := time.Now()
			b.create()
			if took, most := time.Since(begun), min(c.away, switchAfter)+2*probeInterval; took > most {
				b.Errorf("away for %v: a call took %v, want %v at most", c.away, took, most)
			}
			<-back
			if other.made != c.others {
				b.Errorf("away for %v: the other one has made %d sessions, want %d", c.away, other.made, c.others)
			}
		}, one, other)
	}
}
