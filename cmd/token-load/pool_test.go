package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

func newTestPool(n int) *pool {
	p := new(pool)
	for i := range n {
		p.add(session{token: rawToken{1}, user: uint32(i)})
	}
	p.settle()
	return p
}

func TestPoolTakesEachSessionOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	p := newTestPool(20)
	for range 100 {
		seen := map[uint32]bool{}
		for range 20 {
			s := p.take(rng)
			if s == nil || seen[s.user] {
				t.Fatalf("take = %+v, want one of those that were not taken", s)
			}
			seen[s.user] = true
		}
		if s := p.take(rng); s != nil {
			t.Fatalf("take of an empty pool = %+v, want nil", s)
		}
		p.settle()
	}
}

func TestPoolTakesUniformly(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	p := newTestPool(10)
	const batches, depth = 20_000, 3
	counts := map[uint32]float64{}
	for range batches {
		for range depth {
			counts[p.take(rng).user]++
		}
		p.settle()
	}
	want := float64(batches * depth / 10)
	for user, got := range counts {
		if math.Abs(got-want) > 6*math.Sqrt(want) {
			t.Errorf("session %d was taken %v times, want about %v", user, got, want)
		}
	}
}

func TestPoolSettles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	p := newTestPool(10)
	gone := map[uint32]bool{}
	for i := range 6 {
		s := p.take(rng)
		s.visits = 1
		if i%2 == 0 {
			gone[s.user] = true
			s.drop()
		}
	}
	p.add(session{token: rawToken{1}, user: 10, visits: 1})
	p.settle()
	if len(p.sessions) != 8 {
		t.Fatalf("%d sessions, want 8", len(p.sessions))
	}
	visits := uint32(0)
	for _, s := range p.sessions {
		visits += s.visits
		if gone[s.user] {
			t.Errorf("session %d is there, want it gone", s.user)
		}
		gone[s.user] = true
	}
	if len(gone) != 11 || visits != 4 {
		t.Errorf("%d different sessions with %d visits, want 11 with 4", len(gone), visits)
	}
}

func TestSpentTokens(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var s spentTokens
	if got := s.pick(rng); got != nil {
		t.Errorf("pick = %v, want nil", got)
	}
	for i := range 100 {
		s.remember(rawToken{byte(i)})
	}
	seen := map[rawToken]bool{}
	for range 10_000 {
		seen[*s.pick(rng)] = true
	}
	for i := range 100 {
		if got, want := seen[rawToken{byte(i)}], i >= 36; got != want {
			t.Errorf("token %d picked: %v, want %v: only the latest 64", i, got, want)
		}
	}
}
