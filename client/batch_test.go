package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hold keeps a call under way, behind which others gather, until release.
func (b *bubble) hold(f *fake) (release func()) {
	held := make(chan struct{})
	f.mu.Lock()
	before := f.before
	f.before = func(*http.Request) error {
		f.mu.Lock()
		f.before = before
		f.mu.Unlock()
		<-held
		return &answerWith{200, `{"Err":"InvalidToken"}`}
	}
	f.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.client.Validate(b.Context(), "held")
	}()
	synctest.Wait()
	return func() { close(held); <-done }
}

// TestCallsTravelTogether: those that gather behind one under way leave in one
// request, in their order, and each gets its own answer.
func TestCallsTravelTogether(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
		const n = 50
		var tokens []string
		for range n {
			tokens = append(tokens, b.create())
		}
		release := b.hold(f)
		f.requests = nil
		var wg sync.WaitGroup
		for i, token := range tokens {
			wg.Go(func() {
				meta := fmt.Sprintf(`{"user":%d}`, i)
				x, err := b.client.Exchange(b.Context(), token, Patch{Meta: json.RawMessage(meta)})
				if err != nil || string(x.Meta) != meta {
					b.Errorf("exchange %d = %s, %v, want %s", i, x.Meta, err, meta)
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		if len(f.requests) != 1 || strings.Count(f.requests[0], "exchange") != n {
			b.Errorf("%d requests, want one batch of %d", len(f.requests), n)
		}
	}, f)
}

// TestACallAloneLeavesAtOnce, and so do as many as may be in flight.
func TestACallAloneLeavesAtOnce(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{MaxInFlight: 2}, func(b *bubble) {
		release := b.hold(f)
		begun := time.Now()
		b.create()
		if took := time.Since(begun); took != 0 {
			b.Errorf("it took %v, want 0s", took)
		}
		release()
	}, f)
}

func TestBatchesAreBounded(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		want []int // items of each request
	}{
		{"items", Config{MaxInFlight: 1, MaxBatch: 4}, []int{4, 4, 2}},
		{"bytes", Config{MaxInFlight: 1, MaxBatchBytes: 3*(44+frame) + len(batchHead+batchTail)}, []int{3, 3, 3, 1}},
		{"none fits", Config{MaxInFlight: 1, MaxBatchBytes: 1}, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
	} {
		f := newFake("1")
		inBubble(t, c.cfg, func(b *bubble) {
			release := b.hold(f)
			f.requests = nil
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() { b.client.Validate(b.Context(), someToken) })
			}
			synctest.Wait()
			release()
			wg.Wait()
			var got []int
			for _, r := range f.requests {
				got = append(got, strings.Count(r, `"token"`))
			}
			if !slices.Equal(got, c.want) {
				b.Errorf("%s: requests of %v items, want %v", c.name, got, c.want)
			}
		}, f)
	}
}

// TestCancelTakesOneOut: the others of a batch go on, whether it has left or not.
func TestCancelTakesOneOut(t *testing.T) {
	for _, underWay := range []bool{false, true} {
		f := newFake("1")
		inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
			tokens := []string{b.create(), b.create(), b.create()}
			release := b.hold(f)
			ctx, cancel := context.WithCancel(b.Context())
			errs := make([]error, len(tokens))
			var wg sync.WaitGroup
			for i, token := range tokens {
				wg.Go(func() {
					ctx := ctx
					if i > 0 {
						ctx = b.Context()
					}
					_, errs[i] = b.client.Exchange(ctx, token, Patch{})
				})
			}
			synctest.Wait()
			if underWay {
				held := make(chan struct{})
				f.mu.Lock()
				f.before = func(*http.Request) error { <-held; return nil }
				f.mu.Unlock()
				go release()
				synctest.Wait()
				cancel()
				synctest.Wait()
				close(held)
			} else {
				cancel()
				synctest.Wait()
				release()
			}
			wg.Wait()
			want := ErrUnavailable
			if underWay {
				want = ErrOutcomeUnknown
			}
			if !errors.Is(errs[0], want) || !errors.Is(errs[0], context.Canceled) {
				b.Errorf("under way %v: the canceled call = %v, want %v", underWay, errs[0], want)
			}
			if errs[1] != nil || errs[2] != nil {
				b.Errorf("under way %v: the others = %v, want no error", underWay, errs[1:])
			}
			if got, want := f.seen[tokens[0]], map[bool]int{true: 1}[underWay]; got != want {
				b.Errorf("under way %v: the canceled exchange was carried out %d times, want %d", underWay, got, want)
			}
		}, f)
	}
}

// TestARequestEndsWithItsLastCall: once nobody waits for it, others get its place.
func TestARequestEndsWithItsLastCall(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
		release := b.hold(f)
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { b.client.Validate(ctx, someToken) })
		}
		synctest.Wait()
		f.mu.Lock()
		f.before = func(r *http.Request) error {
			if r.URL.Path == "/token/batch" {
				<-r.Context().Done()
			}
			return nil
		}
		f.mu.Unlock()
		go release()
		synctest.Wait()
		cancel()
		wg.Wait()
		begun := time.Now()
		b.create()
		if took := time.Since(begun); took > time.Second {
			b.Errorf("the next call took %v, want less than a second", took)
		}
	}, f)
}

// TestAHarmfulCallHarmsOnlyItself: a batch that is refused whole is halved until who is
// the reason is alone.
func TestAHarmfulCallHarmsOnlyItself(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
		var tokens []string
		for range 9 {
			tokens = append(tokens, b.create())
		}
		release := b.hold(f)
		f.mu.Lock()
		f.before = func(*http.Request) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if strings.Contains(f.requests[len(f.requests)-1], "harmful") {
				return &answerWith{400, `{"Err":"MalformedJSON","message":"m"}`}
			}
			return nil
		}
		f.mu.Unlock()
		var wg sync.WaitGroup
		for i, token := range tokens {
			wg.Go(func() {
				patch := Patch{}
				var want error
				if i == 4 {
					patch.Unset, want = []string{"harmful"}, ErrInvalidRequest
				}
				if _, err := b.client.Exchange(b.Context(), token, patch); !errors.Is(err, want) {
					b.Errorf("exchange %d = %v, want %v", i, err, want)
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		for i, token := range tokens {
			if got, want := f.seen[token], 1; i != 4 && got != want {
				b.Errorf("exchange %d was carried out %d times, want %d", i, got, want)
			}
		}
	}, f)
}

// TestWhatIsTooLargeGoesAgain: the items that were not carried out, in smaller batches.
func TestWhatIsTooLargeGoesAgain(t *testing.T) {
	f := newFake("1")
	inBubble(t, Config{MaxInFlight: 1}, func(b *bubble) {
		var tokens []string
		for range 20 {
			tokens = append(tokens, b.create())
		}
		release := b.hold(f)
		f.mu.Lock()
		f.fits = 3
		f.mu.Unlock()
		var wg sync.WaitGroup
		for _, token := range tokens {
			wg.Go(func() {
				if _, err := b.client.Exchange(b.Context(), token, Patch{}); err != nil {
					b.Error(err)
				}
			})
		}
		synctest.Wait()
		release()
		wg.Wait()
		for i, token := range tokens {
			if f.seen[token] != 1 {
				b.Errorf("exchange %d was carried out %d times, want 1", i, f.seen[token])
			}
		}
	}, f)
}
