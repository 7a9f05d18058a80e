package shard

import (
	"bytes"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/stats"
	"tokenserver/token"
)

func TestSuccessorsAreTheSecretsChain(t *testing.T) {
	s := open(t, Config{Shards: 1, Grace: time.Minute, Secret: testSecret})
	tok := token.Generate()
	var c credential
	s.derive(&c, tok)
	next := c.successors
	for i := range token.GraceDepth {
		tok = testSecret.Next(tok)
		if next.tokens[i] != tok || next.digests[i] != tok.Digest() {
			t.Errorf("successor %d is not the token after the one before", i+1)
		}
	}
}

// TestSecret holds that a grace, and only a grace, makes tokens follow from the
// ones before.
func TestSecret(t *testing.T) {
	tests := []struct {
		name string
		cfg  Config
		want bool // that a token follows from the one before by testSecret
	}{
		{"grace", Config{Grace: time.Minute, Secret: testSecret}, true},
		{"grace, random secret", Config{Grace: time.Minute}, false},
		{"no grace", Config{Secret: testSecret}, false},
	}
	for _, test := range tests {
		s := open(t, test.cfg)
		tok := mustCreate(t, s, `{}`)
		next := mustExchange(t, s, tok, nil)
		if got := next == testSecret.Next(tok); got != test.want {
			t.Errorf("%s: the token follows from the one before: %v, want %v", test.name, got, test.want)
		}
	}
	a, b := open(t, Config{Grace: time.Minute}), open(t, Config{Grace: time.Minute})
	tok := token.Generate()
	if a.next(tok) == b.next(tok) {
		t.Error("two stores have one random secret")
	}
}

// TestPolicyCounters counts reuses of each kind.
func TestPolicyCounters(t *testing.T) {
	type reuse struct {
		name string
		call func(s *Store, chain []token.Token)
		want stats.Counters // beside Created and Exchanged
	}
	exchange := func(s *Store, tok token.Token, patch string) {
		s.Exchange(t.Context(), tok, token.Patch{Meta: []byte(patch)}, nil)
	}
	last := token.GraceDepth + 1 // the current one in a chain
	reuses := []reuse{
		{"replay", func(s *Store, chain []token.Token) { exchange(s, chain[1], `{}`) }, stats.Counters{Replayed: 1}},
		{"refused replay", func(s *Store, chain []token.Token) { exchange(s, chain[1], tooLarge) }, stats.Counters{}},
		{"look in grace", func(s *Store, chain []token.Token) { s.Validate(t.Context(), chain[1], nil) }, stats.Counters{}},
		{"late look", func(s *Store, chain []token.Token) { s.Validate(t.Context(), chain[0], nil) }, stats.Counters{}},
		{"delete in grace", func(s *Store, chain []token.Token) { s.Delete(t.Context(), chain[1]) }, stats.Counters{Deleted: 1}},
		{"late", func(s *Store, chain []token.Token) { exchange(s, chain[0], `{}`) }, stats.Counters{Invalid: 1, Reused: 1}},
		{"late, too large", func(s *Store, chain []token.Token) { exchange(s, chain[0], tooLarge) }, stats.Counters{Invalid: 1, Reused: 1}},
		{"late delete", func(s *Store, chain []token.Token) { s.Delete(t.Context(), chain[0]) }, stats.Counters{Reused: 1}},
		{"wrong nonce", func(s *Store, chain []token.Token) { exchange(s, chain[last].Next(), `{}`) }, stats.Counters{Invalid: 1, Reused: 1}},
		{"unknown", func(s *Store, chain []token.Token) { exchange(s, token.Generate(), `{}`) }, stats.Counters{Invalid: 1}},
		{"unknown delete", func(s *Store, chain []token.Token) { s.Delete(t.Context(), token.Generate()) }, stats.Counters{}},
	}
	for _, revoke := range []bool{false, true} {
		for _, r := range reuses {
			s := open(t, Config{Shards: 4, Grace: time.Minute, RevokeOnReuse: revoke, MaxMeta: 100})
			chain := []token.Token{mustCreate(t, s, `{}`)}
			for i := range last {
				chain = append(chain, mustExchange(t, s, chain[i], nil))
			}
			r.call(s, chain)
			want := r.want
			want.Created, want.Exchanged = 1, uint64(last)
			if revoke {
				want.Revoked = want.Reused
			}
			got := s.Stats()
			if got.Counters != want {
				t.Errorf("%s, revoke %v: counters are %+v, want %+v", r.name, revoke, got.Counters, want)
			}
			if sessions := int64(1 - want.Deleted - want.Revoked); got.Sessions != sessions {
				t.Errorf("%s, revoke %v: %d sessions, want %d", r.name, revoke, got.Sessions, sessions)
			}
		}
	}
}

// TestSpendWraps exchanges a session until its count of exchanges overflows:
// what is remembered goes on.
func TestSpendWraps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 1, Grace: time.Minute, PurgeInterval: never})
		tok := mustCreate(t, s, `{}`)
		sh := &s.shards[0]
		sh.policyLocked(sh.liveLocked(tok.ID, s.now())).spends = 1<<32 - 5
		chain := []token.Token{tok}
		for i := range token.GraceDepth + 2 {
			time.Sleep(time.Second)
			chain = append(chain, mustExchange(t, s, chain[i], nil))
		}
		for i, want := range []bool{false, false, true, true, true, true, true, true, true, true, true} {
			if _, _, err := s.Validate(t.Context(), chain[i], nil); (err == nil) != want {
				t.Errorf("token %d: Validate = error %v, want none: %v", i, err, want)
			}
		}
		time.Sleep(time.Minute - 7*time.Second)
		for i, want := range []bool{false, false, false, true, true} { // spent 60, 59 … s ago
			if _, _, err := s.Validate(t.Context(), chain[i], nil); (err == nil) != want {
				t.Errorf("later, token %d: Validate = error %v, want none: %v", i, err, want)
			}
		}
	})
}

// TestSpentWhileMakingRoom has an exchange find the store full, and another one
// of the same token win while room is made for it: it is a replay then.
func TestSpentWhileMakingRoom(t *testing.T) {
	grown := []byte(`{"a":"` + strings.Repeat("x", 1000) + `"}`)
	s := open(t, Config{Shards: 1, Grace: time.Minute, MaxBytes: 2700, PurgeInterval: never, Secret: testSecret})
	tok := mustCreate(t, s, `{"a":1}`)
	filler := mustCreate(t, s, string(grown))
	type result struct {
		x   token.ExchangeResult
		err error
	}
	done := make(chan result, 1)
	s.purge.makingRoom.Lock()
	go func() {
		x, err := s.Exchange(t.Context(), tok, token.Patch{Meta: grown}, nil)
		done <- result{x, err}
	}()
	for giveUp := time.Now().Add(10 * time.Second); goroutinesIn("shard.(*Store).makeRoom(") == 0; runtime.Gosched() {
		if time.Now().After(giveUp) {
			t.Fatal("the exchange makes no room")
		}
	}
	next := mustExchange(t, s, tok, nil)
	s.Delete(t.Context(), filler)
	s.purge.makingRoom.Unlock()
	got := <-done
	if got.err != nil || got.x.Token != next || !got.x.Reused || !bytes.Equal(got.x.Meta, grown) {
		t.Errorf("Exchange = the current token: %v, reused: %v, error %v, want a replay", got.x.Token == next, got.x.Reused, got.err)
	}
}

// TestNoGraceNeedsNoSuccessors holds that a wrong nonce costs nothing more where
// there is no grace.
func TestNoGraceNeedsNoSuccessors(t *testing.T) {
	s := open(t, Config{Shards: 1, PurgeInterval: never})
	tok := mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := s.Exchange(t.Context(), tok.Next(), token.Patch{}, nil); !errors.Is(err, token.ErrInvalid) {
			t.Fatalf("Exchange = error %v, want %v", err, token.ErrInvalid)
		}
		s.Delete(t.Context(), tok.Next())
		s.Validate(t.Context(), tok.Next(), nil)
	})
	if allocs != 0 && !raceEnabled {
		t.Errorf("refusals make %v allocations, want 0", allocs)
	}
}
