package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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
