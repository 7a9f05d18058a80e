package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
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

// TestLostAnswers: a call whose connection breaks once it was carried out.
func TestLostAnswers(t *testing.T) {
	for _, c := range []struct {
		operation string
		cfg       Config
		requests  int
		want      error
	}{
		{"exchange", Config{}, 1, ErrOutcomeUnknown},
		{"exchange", Config{RetryUnknown: true}, 2, nil},
		{"create", Config{RetryUnknown: true}, 1, ErrOutcomeUnknown},
		{"validate", Config{}, 2, nil},
		{"delete", Config{}, 2, nil},
	} {
		f := newFake("1")
		f.grace = make(map[string]string)
		c.cfg.MaxInFlight = 1
		inBubble(t, c.cfg, func(b *bubble) {
			token := b.create()
			f.requests = nil
			f.mu.Lock()
			f.after = func(*http.Request, *[]byte) {
				f.mu.Lock()
				f.after = nil
				f.mu.Unlock()
				panic(http.ErrAbortHandler)
			}
			f.mu.Unlock()
			var err error
			switch c.operation {
			case "exchange":
				var x Exchanged
				x, err = b.client.Exchange(b.Context(), token, Patch{})
				if err == nil && !x.Reused {
					b.Error("Reused = false, want true")
				}
			case "create":
				_, err = b.client.Create(b.Context(), NewSession{Meta: []byte(`{}`)})
			case "validate":
				_, err = b.client.Validate(b.Context(), token)
			case "delete":
				err = b.client.Delete(b.Context(), token)
			}
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				b.Errorf("%s: error = %v, want %v", c.operation, err, c.want)
			}
			if got := len(f.requests); got != c.requests {
				b.Errorf("%s: %d requests, want %d", c.operation, got, c.requests)
			}
		}, f)
	}
}

// TestNoCallOutlivesItsDeadline, whatever the server does.
func TestNoCallOutlivesItsDeadline(t *testing.T) {
	const limit = 300 * time.Millisecond
	slow := func(r *http.Request) error { <-r.Context().Done(); return nil }
	for _, c := range []struct {
		name    string
		prepare func(b *bubble, f *fake)
		want    error // of an exchange
	}{
		{"the server is slow", func(b *bubble, f *fake) { f.before = slow }, ErrOutcomeUnknown},
		{"no server", func(b *bubble, f *fake) { b.stops[0]() }, ErrUnavailable},
		{"it accepts and says nothing", func(b *bubble, f *fake) {
			b.stops[0]()
			b.network.listen("a:1")
		}, ErrUnavailable},
		{"it is not ready", func(b *bubble, f *fake) {
			f.mu.Lock()
			f.ready = false
			f.mu.Unlock()
			b.client.Ready(b.Context())
		}, ErrUnavailable},
		{"it refuses all", func(b *bubble, f *fake) {
			f.before = func(*http.Request) error {
				return &answerWith{503, `{"Err":"StoreUnavailable","message":"m","done":false}`}
			}
		}, ErrUnavailable},
	} {
		for _, canceled := range []bool{false, true} {
			f := newFake("1")
			inBubble(t, Config{}, func(b *bubble) {
				token := b.create()
				b.client.servers.closeIdle()
				c.prepare(b, f)
				ctx, cancel := context.WithTimeout(b.Context(), limit)
				cause := context.DeadlineExceeded
				if canceled {
					ctx, cancel = context.WithCancel(b.Context())
					time.AfterFunc(limit, cancel)
					cause = context.Canceled
				}
				defer cancel()
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						begun := time.Now()
						_, err := b.client.Exchange(ctx, token, Patch{})
						if took := time.Since(begun); took > limit {
							b.Errorf("%s: a call took %v, want %v at most", c.name, took, limit)
						}
						certain := errors.Is(err, c.want) || errors.Is(err, ErrUnavailable)
						if !errors.Is(err, cause) || !certain && !canceled { // it may leave just before the cancellation
							b.Errorf("%s: error = %v, want %v with %v", c.name, err, c.want, cause)
						}
					})
				}
				wg.Wait()
			}, f)
		}
	}
}

// TestCallsWithoutDeadlineEnd after Timeout, and so do those that wait behind them.
func TestCallsWithoutDeadlineEnd(t *testing.T) {
	f := newFake("1")
	f.before = func(r *http.Request) error { <-r.Context().Done(); return nil }
	inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * DefaultTimeout / 8) // they leave with others that have more time
				begun := time.Now()
				_, err := b.client.Exchange(b.Context(), someToken, Patch{})
				if took := time.Since(begun); took > DefaultTimeout || !errors.Is(err, context.DeadlineExceeded) {
					b.Errorf("a call took %v and ended with %v", took, err)
				}
			})
		}
		wg.Wait()
	}, f)
}

func TestFailOver(t *testing.T) {
	for _, c := range []struct {
		name string
		stop func(b *bubble, f *fake)
	}{
		{"no server", func(b *bubble, f *fake) { b.stops[0]() }},
		{"done:false", func(b *bubble, f *fake) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.before = func(*http.Request) error {
				return &answerWith{503, `{"Err":"StoreUnavailable","message":"m","done":false}`}
			}
		}},
		{"not ready", func(b *bubble, f *fake) {
			f.mu.Lock()
			f.ready = false
			f.mu.Unlock()
			b.client.servers.closeIdle()
		}},
	} {
		one, two := newFake("1"), newFake("1")
		inBubble(t, Config{}, func(b *bubble) {
			b.create()
			c.stop(b, one)
			begun := time.Now()
			for range 20 {
				b.create()
			}
			if took := time.Since(begun); took > 100*time.Millisecond {
				b.Errorf("%s: 20 calls took %v, want no pause", c.name, took)
			}
			if two.made < 20 {
				b.Errorf("%s: the other server has made %d sessions, want 20", c.name, two.made)
			}
		}, one, two)
	}
}

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

func TestSecret(t *testing.T) {
	f := newFake("1")
	var secret atomic.Value
	secret.Store("old")
	valid := "old"
	f.before = func(r *http.Request) error {
		if r.Header.Get("Authorization") != "Bearer "+valid {
			return &answerWith{401, `{"Err":"Unauthorized","message":"m"}`}
		}
		return nil
	}
	var asked []string
	cfg := Config{Secret: func(context.Context) (string, error) {
		s := secret.Load().(string)
		asked = append(asked, s)
		if len(asked) > 2 && s == "old" {
			secret.Store("new") // it has rotated; the next one to ask gets it
		}
		if s == "" {
			return "", errors.New("the vault is closed")
		}
		return s, nil
	}}
	inBubble(t, cfg, func(b *bubble) {
		b.create()
		b.create()
		valid = "new"
		b.create()
		if want := []string{"old", "old", "old", "new"}; !slices.Equal(asked, want) {
			b.Errorf("secrets = %q, want %q", asked, want)
		}
		valid = "other"
		if _, err := b.client.Validate(b.Context(), someToken); !errors.Is(err, ErrUnauthorized) {
			b.Errorf("error = %v, want ErrUnauthorized", err)
		}
		secret.Store("")
		if _, err := b.client.Validate(b.Context(), someToken); !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "vault") {
			b.Errorf("error = %v, want ErrUnauthorized of the vault", err)
		}
	}, f)
}

// TestRefusedBeforeItIsRead: a call whose body is still being written when it is
// refused is sent again whole.
func TestRefusedBeforeItIsRead(t *testing.T) {
	f := newFake("1")
	refused := false
	inBubble(t, Config{}, func(b *bubble) {
		b.stops[0]()
		stop := b.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/readyz" || refused {
				f.ServeHTTP(w, r)
				return
			}
			refused = true
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"Err":"StoreUnavailable","message":"m","done":false}`)
		}), "a:1")
		defer stop()
		meta := `{"a":"` + strings.Repeat("a", 1<<20) + `"}`
		if _, err := b.client.Create(b.Context(), NewSession{Meta: json.RawMessage(meta)}); err != nil {
			b.Errorf("error = %v", err)
		}
		if len(f.requests) != 1 || !strings.HasSuffix(f.requests[0], meta+"}") {
			b.Errorf("%d requests were read, want one with the whole body", len(f.requests))
		}
	}, f)
}

// TestASuccessThatSaysNothing: a batch that is answered with another success than 200
// may have been carried out.
func TestASuccessThatSaysNothing(t *testing.T) {
	for _, with := range []answerWith{{201, `{"Err":"InvalidToken"}`}, {202, ``}, {204, ``}, {304, ``}} {
		f := newFake("1")
		inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
			token := b.create()
			release := b.hold(f)
			f.mu.Lock()
			f.before = func(*http.Request) error { return &with }
			f.mu.Unlock()
			var wg sync.WaitGroup
			wg.Go(func() {
				if got, err := b.client.Create(b.Context(), NewSession{Meta: []byte(`{}`)}); !errors.Is(err, ErrOutcomeUnknown) {
					b.Errorf("status %d: Create = %q, %v, want ErrOutcomeUnknown", with.status, got, err)
				}
			})
			wg.Go(func() {
				if _, err := b.client.Exchange(b.Context(), token, Patch{}); !errors.Is(err, ErrOutcomeUnknown) {
					b.Errorf("status %d: Exchange = %v, want ErrOutcomeUnknown", with.status, err)
				}
			})
			synctest.Wait()
			release()
			wg.Wait()
		}, f)
	}
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

// TestCallsThatAreRefusedHoldUpNoOthers: a server refuses changes for now, as when its
// disk hangs, and answers the rest.
func TestCallsThatAreRefusedHoldUpNoOthers(t *testing.T) {
	f := newFake("1")
	const refusal = `{"Err":"StoreUnavailable","message":"m","done":false}`
	f.before = func(r *http.Request) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		switch items := strings.Count(f.requests[len(f.requests)-1], `"validate"`); {
		case r.Method == "POST" && r.URL.Path == "/token":
			return &answerWith{503, refusal}
		case r.URL.Path == "/token/batch":
			answers := strings.Repeat(","+refusal, strings.Count(f.requests[len(f.requests)-1], `"create"`)) + strings.Repeat(`,{"Err":"InvalidToken"}`, items)
			return &answerWith{200, `{"Ok":[` + answers[1:] + `]}`}
		}
		return nil
	}
	inBubble(t, Config{MaxInFlight: 2}, func(b *bubble) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := b.client.Create(b.Context(), NewSession{Meta: []byte(`{}`)}); !errors.Is(err, ErrUnavailable) {
					b.Errorf("Create = %v, want ErrUnavailable", err)
				}
			})
		}
		time.Sleep(time.Second)
		begun := time.Now()
		if _, err := b.client.Validate(b.Context(), someToken); !errors.Is(err, ErrInvalidToken) {
			b.Errorf("Validate = %v, want ErrInvalidToken", err)
		}
		if took := time.Since(begun); took > 2*maxPause {
			b.Errorf("Validate took %v, want two pauses at most", took)
		}
		wg.Wait()
	}, f)
}
