package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"tokenserver/token"
)

const (
	winnerRounds = 1000
	contestants  = 64
)

// testOneWinner has many goroutines exchange one token at once, again and again.
func (h Harness) testOneWinner(t *testing.T) {
	s := h.open(t, Config{Lifetime: time.Hour})
	tok := s.create(`{"a":1}`)
	for round := range h.rounds(winnerRounds) {
		winners := s.contest(tok)
		if len(winners) != 1 {
			t.Fatalf("round %d: %d of %d exchanges of one token won, want 1", round, len(winners), contestants)
		}
		s.exchangeError(tok, "", token.ErrInvalid)
		tok = winners[0]
		s.live(tok, `{"a":1}`)
	}
	s.exchange(tok, "", `{"a":1}`)
	h.check(t, s.store)
}

// atOnce runs n goroutines that start at the same time.
func atOnce(n int, run func(i int)) {
	var done sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		done.Go(func() {
			<-start
			run(i)
		})
	}
	close(start)
	done.Wait()
}

// contest returns the tokens of those exchanges of old that won.
func (t *tester) contest(old token.Token) (winners []token.Token) {
	t.Helper()
	var results [contestants]token.ExchangeResult
	var errs [contestants]error
	atOnce(contestants, func(i int) {
		patch := patchOf([]string{"", `{"a":1}`}[i%2])
		results[i], errs[i] = t.store.Exchange(t.Context(), old, patch, nil)
	})
	for i, err := range errs {
		switch {
		case err == nil:
			winners = append(winners, results[i].Token)
		case !errors.Is(err, token.ErrInvalid):
			t.Fatalf("Exchange = error %v, want %v", err, token.ErrInvalid)
		}
	}
	return winners
}
