package client

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// cut is the client's side of a connection that breaks after so many bytes each way.
type cut struct {
	net.Conn
	out, in *atomic.Int64 // bytes that are left
}

func (c cut) Write(b []byte) (n int, err error) {
	n = int(min(c.out.Add(-int64(len(b)))+int64(len(b)), int64(len(b))))
	if n > 0 {
		n, err = c.Conn.Write(b[:n])
	}
	if n < len(b) && err == nil {
		c.Close()
		return max(n, 0), net.ErrClosed
	}
	return n, err
}

func (c cut) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if rest := c.in.Add(-int64(n)); rest < 0 {
		c.Close()
		return max(n+int(rest), 0), net.ErrClosed
	}
	return n, err
}

// TestCutAnywhere: a connection breaks at each byte of a request and of its answer, of a
// call alone and of a batch. What a call says is what has happened, and no exchange is
// carried out or sent twice.
func TestCutAnywhere(t *testing.T) {
	for _, c := range []struct {
		name  string
		items int
		size  int64 // more than request and answer have
	}{{"alone", 1, 400}, {"batch", 3, 700}} {
		for _, answer := range []bool{false, true} {
			var told []int // how many calls have their answer, whenever that changes
			for at := int64(0); at < c.size; at++ {
				n := cutAt(t, c.items, at, answer)
				if len(told) == 0 || told[len(told)-1] != n {
					told = append(told, n)
				}
			}
			if want := []int{0, 1, 2, 3}[:c.items+1]; answer && !slices.Equal(told, want) {
				t.Errorf("%s: the longer the answer is, %v calls have theirs, want %v", c.name, told, want)
			}
		}
	}
}

func cutAt(t *testing.T, items int, at int64, answer bool) (told int) {
	f := newFake("1")
	inBubble(t, Config{MaxInFlight: 1, Timeout: time.Second}, func(b *bubble) {
		var out, in atomic.Int64
		const plenty = 1 << 40
		out.Store(plenty)
		in.Store(plenty)
		b.network.wrap = func(c net.Conn) net.Conn { return cut{c, &out, &in} }
		var tokens []string
		for range items {
			tokens = append(tokens, b.create())
		}
		release := func() {}
		if items > 1 {
			release = b.hold(f)
		}
		errs := make([]error, items)
		var wg sync.WaitGroup
		begin := func() {
			for i, token := range tokens {
				wg.Go(func() { _, errs[i] = b.client.Exchange(b.Context(), token, Patch{}) })
			}
		}
		once := func() { // the next connection is whole again
			b.network.mu.Lock()
			defer b.network.mu.Unlock()
			b.network.wrap = nil
			if answer {
				in.Store(at)
			} else {
				out.Store(at)
			}
		}
		if items > 1 {
			begin()
			synctest.Wait()
			if answer {
				f.mu.Lock()
				f.before = func(*http.Request) error {
					f.mu.Lock()
					f.before = nil
					f.mu.Unlock()
					once()
					return nil
				}
				f.mu.Unlock()
			} else {
				once()
			}
			release()
		} else {
			once()
			begin()
		}
		wg.Wait()
		synctest.Wait() // the server may still be at it
		for i, token := range tokens {
			if errs[i] == nil {
				told++
			}
			switch {
			case f.seen[token] > 1:
				b.Errorf("cut at %d (answer %v): carried out %d times", at, answer, f.seen[token])
			case errs[i] == nil && f.seen[token] == 1:
			case errors.Is(errs[i], ErrOutcomeUnknown):
			default:
				b.Errorf("cut at %d (answer %v): error = %v, carried out %d times", at, answer, errs[i], f.seen[token])
			}
			sent := strings.Count(strings.Join(f.requests, ""), `"exchange":{"token":"`+token) + strings.Count(strings.Join(f.requests, ""), `PUT /token {"token":"`+token)
			if sent > 1 {
				b.Errorf("cut at %d (answer %v): sent %d times", at, answer, sent)
			}
			if !answer && at < int64(minHead+len(`{"token":"`)+len(token)) && errs[i] != nil {
				b.Errorf("cut at %d of the request: error = %v, though it can't have been whole", at, errs[i])
			}
		}
	}, f)
	return told
}
