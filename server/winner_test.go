package server

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Of many that present one token at once, exactly one gets the next.
func TestExactlyOneWinner(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 200
	}
	wantOneWinner(t, rounds)
}

// testFewWinners is TestExactlyOneWinner for other settings, which change nothing about
// who wins.
func testFewWinners(t *testing.T) { wantOneWinner(t, 50) }

func wantOneWinner(t *testing.T, rounds int) {
	t.Helper()
	const racers = 64
	s := serve(t, Config{})
	clients := make([]*client, racers)
	for i := range clients {
		clients[i] = s.dial(t)
	}
	tok := clients[0].create(`{"winner":-1}`)
	for round := range rounds {
		replies := race(clients, func(i int) string {
			return requestText("PUT", "/token", exchangeBody(tok, fmt.Sprintf(`{"winner":%d}`, i)))
		})
		next := ""
		for i, r := range replies {
			if r.body == invalidToken && r.status == 200 {
				continue
			}
			won, meta, ok := r.exchanged()
			if want := fmt.Sprintf(`{"winner":%d}`, i); !ok || next != "" || meta != want {
				t.Fatalf("round %d: answer %v to racer %d, after a winner: %v", round, r, i, next != "")
			}
			next = won
		}
		if next == "" {
			t.Fatalf("round %d has no winner", round)
		}
		tok = next
	}
	if _, meta := clients[0].exchange(tok, ""); !strings.HasPrefix(meta, `{"winner":`) {
		t.Errorf("metadata after all = %s", meta)
	}
}

// race sends a request on each connection at once.
func race(clients []*client, text func(i int) string) []reply {
	replies := make([]reply, len(clients))
	start := make(chan struct{})
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			<-start
			if _, err := c.conn.Write([]byte(text(i))); err != nil {
				replies[i].body = err.Error()
				return
			}
			r, err := c.tryReceive("PUT")
			if err != nil {
				r.body = err.Error()
			}
			replies[i] = r
		})
	}
	close(start)
	all.Wait()
	return replies
}

// An exchange and a DELETE of one token: either the exchange was first, and the
// DELETE hit nothing, or the session is over.
func TestExchangeAgainstDelete(t *testing.T) {
	s := serve(t, Config{})
	clients := []*client{s.dial(t), s.dial(t)}
	for range 300 {
		tok := clients[0].create(`{}`)
		replies := race(clients, func(i int) string {
			return requestText([]string{"PUT", "DELETE"}[i], "/token", tokenBody(tok))
		})
		if replies[1].status != 202 {
			t.Fatalf("DELETE: %v", replies[1])
		}
		if replies[0].body == invalidToken {
			continue
		}
		next, _, ok := replies[0].exchanged()
		if !ok {
			t.Fatalf("PUT: %v", replies[0])
		}
		clients[0].exchange(next, "")
	}
}

// Sessions that are used at once do not get in each other's way.
func TestManySessionsAtOnce(t *testing.T) {
	s := serve(t, Config{})
	var all sync.WaitGroup
	for n := range 16 {
		c := s.dial(t)
		all.Go(func() {
			tok := c.tryCreate(n)
			for i := range 50 {
				c.send(requestText("PUT", "/token", exchangeBody(tok, fmt.Sprintf(`{"i":%d}`, i))))
				r, err := c.tryReceive("PUT")
				next, meta, ok := r.exchanged()
				if want := fmt.Sprintf(`{"n":%d,"i":%d}`, n, i); !ok || meta != want {
					t.Errorf("session %d: %v, %v, want metadata %s", n, r, err, want)
					return
				}
				tok = next
			}
		})
	}
	all.Wait()
}

// tryCreate is create for goroutines, which must not end the test.
func (c *client) tryCreate(n int) string {
	fmt.Fprint(c.conn, requestText("POST", "/token", fmt.Sprintf(`{"meta":{"n":%d}}`, n)))
	r, _ := c.tryReceive("POST")
	return r.body
}
