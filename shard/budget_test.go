package shard

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/stats"
	"tokenserver/internal/storetest"
	"tokenserver/token"
)

func TestSessionCost(t *testing.T) {
	// A block begins with eight bytes that are not metadata's.
	tests := []struct {
		meta int
		want int64
	}{
		{2, 90 + 16}, {8, 90 + 16}, {9, 90 + 20}, {115, 90 + 124}, {32 << 10, 90 + 32<<10 + 8}, {16 << 20, 90 + 16<<20 + 8},
	}
	for _, test := range tests {
		if got := sessionCost(test.meta, false); got != test.want {
			t.Errorf("sessionCost(%d) = %d, want %d", test.meta, got, test.want)
		}
	}
}

// TestLimitIsExact has many goroutines create sessions: as many as fit do, and
// not one more, over all shards. What is reserved is no multiple of what a session
// uses, so that of memory it is the limit that holds, and about as many fit.
func TestLimitIsExact(t *testing.T) {
	const fit, creators, creates = 200, 16, 25
	meta := []byte(`{"user":"somebody","roles":["reader","writer"]}`)
	cost := sessionCost(len(meta), false)
	tests := []struct {
		name string
		cfg  Config
	}{
		{"sessions", Config{MaxSessions: fit}},
		{"bytes", Config{MaxBytes: fit * cost}},
		{"both", Config{MaxSessions: fit, MaxBytes: 2 * fit * cost}},
		{"both, bytes first", Config{MaxSessions: 10 * fit, MaxBytes: fit * cost}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Shards = 8
			s := open(t, test.cfg)
			var created, refused atomic.Int64
			var done sync.WaitGroup
			for range creators {
				done.Go(func() {
					for range creates {
						_, err := s.Create(t.Context(), token.NewSession{Meta: meta})
						switch {
						case err == nil:
							created.Add(1)
						case errors.Is(err, token.ErrFull):
							refused.Add(1)
						default:
							t.Errorf("Create = error %v", err)
						}
					}
				})
			}
			done.Wait()
			least := int64(fit)
			if test.cfg.MaxSessions != fit {
				least = fit * 3 / 4
			}
			if created.Load() < least || created.Load() > fit || refused.Load() != creators*creates-created.Load() {
				t.Errorf("%d sessions created, %d refused, want %d, %d",
					created.Load(), refused.Load(), fit, creators*creates-fit)
			}
		})
	}
}

// TestUnderLoad has goroutines do everything at once, with limits and with time
// that passes, and checks the invariants in between and at the end.
func TestUnderLoad(t *testing.T) {
	rounds, calls := 20, 200
	if raceEnabled {
		rounds, calls = 10, 100
	}
	cfg := Config{Shards: 8, Lifetime: 30 * time.Minute, MaxSessions: 150, MaxBytes: 200 << 10, PurgeInterval: time.Minute}
	policies := cfg
	policies.Grace, policies.RevokeOnReuse, policies.MaxLifetime = time.Minute, true, time.Hour
	for name, cfg := range map[string]Config{"plain": cfg, "policies": policies} {
		t.Run(name, func(t *testing.T) { testUnderLoad(t, cfg, rounds, calls) })
	}
}

func testUnderLoad(t *testing.T, cfg Config, rounds, calls int) {
	seed := storetest.Seed(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, cfg)
		for round := range rounds {
			var done sync.WaitGroup
			for i := range 8 {
				l := load{t: t, s: s, rng: storetest.NewRand(seed + uint64(8*round+i))}
				done.Go(func() { l.run(calls) })
			}
			done.Wait()
			checkStore(t, s)
		}
		time.Sleep(2 * cfg.Lifetime) // as no session lives longer
		s.Purge()
		got := s.Stats()
		if got.Sessions != 0 || got.Subjects != 0 || got.Bytes != 0 || s.budget.sessions.taken.Load() != 0 || s.budget.bytes.taken.Load() != got.Reserved {
			t.Errorf("all expired: %+v, want nothing held", got)
		}
		all := []uint64{got.Created, got.Exchanged, got.Invalid, got.Deleted, got.Purged, got.Reused, got.Ended}
		if cfg.Grace != 0 {
			all = append(all, got.Replayed, got.Revoked)
		}
		if slices.Min(all) == 0 {
			t.Errorf("all expired: counters are %+v, want more than 0", got.Counters)
		}
	})
}

// load is one of the goroutines of TestUnderLoad.
type load struct {
	t      *testing.T
	s      *Store
	rng    *rand.Rand
	tokens []token.Token
}

func (l *load) run(calls int) {
	for range calls {
		l.call()
		if b := &l.s.budget; b.sessions.taken.Load() > b.sessions.limit || b.bytes.taken.Load() > b.bytes.limit {
			l.t.Errorf("over the limits: %d sessions, %d bytes", b.sessions.taken.Load(), b.bytes.taken.Load())
		}
	}
}

func (l *load) call() {
	ctx := l.t.Context()
	switch n := l.rng.IntN(100); {
	case n < 30 || len(l.tokens) == 0:
		tok, err := l.s.Create(ctx, l.new())
		if l.allowed(err, token.ErrFull) {
			l.tokens = append(l.tokens, tok)
		}
	case n < 80:
		i := l.rng.IntN(len(l.tokens))
		var patch []byte
		if l.rng.IntN(2) == 0 {
			patch = l.meta()
		}
		x, err := l.s.Exchange(ctx, l.tokens[i], token.Patch{Meta: patch}, nil)
		if l.allowed(err, token.ErrFull, token.ErrInvalid) && l.rng.IntN(5) > 0 { // else it is presented again
			l.tokens[i] = x.Token
		}
	case n < 90:
		_, _, err := l.s.Validate(ctx, l.tokens[l.rng.IntN(len(l.tokens))], nil)
		l.allowed(err, token.ErrInvalid)
	case n < 95:
		l.s.Delete(ctx, l.tokens[l.rng.IntN(len(l.tokens))])
	case n < 96:
		l.s.Purge()
		l.s.Stats()
	case n < 97:
		_, err := l.s.EndSubject(ctx, l.subject())
		l.allowed(err)
		_, _, err = l.s.SubjectSessions(ctx, l.subject(), token.Page{Limit: 1 + l.rng.IntN(20)})
		l.allowed(err)
	case n < 98:
		for _, err := range l.s.Sessions(ctx) {
			l.allowed(err)
		}
	default: // the goroutines wake together
		time.Sleep(time.Until(time.Now().Truncate(10 * time.Minute).Add(10 * time.Minute)))
	}
}

// allowed says whether a call went well, and notes an error that is none of those.
func (l *load) allowed(err error, allowed ...error) bool {
	for _, a := range allowed {
		if errors.Is(err, a) {
			return false
		}
	}
	if err != nil {
		l.t.Errorf("call = error %v, want none or one of %v", err, allowed)
	}
	return err == nil
}

func (l *load) new() token.NewSession {
	n := token.NewSession{Meta: l.meta()}
	if l.rng.IntN(2) == 0 {
		n.Subject = l.subject()
	}
	if l.rng.IntN(4) == 0 {
		n.Lifetime = time.Duration(1 + l.rng.Int64N(int64(time.Hour)))
	}
	return n
}

func (l *load) subject() []byte { return fmt.Appendf(nil, "user-%d", l.rng.IntN(5)) }

func (l *load) meta() []byte {
	return fmt.Appendf(nil, `{"k%d":"%s"}`, l.rng.IntN(3), strings.Repeat("x", l.rng.IntN(1<<l.rng.IntN(14))))
}

// TestOutOfPages has no page number left in a shard: what needs one is refused,
// and nothing changes.
func TestOutOfPages(t *testing.T) {
	s := New(Config{Shards: 1, MaxSessions: 10, MaxBytes: 1 << 20, PurgeInterval: never})
	defer s.Close()
	tok := mustCreate(t, s, `{"a":1}`)
	for _, got := range []stats.Store{s.Stats(), s.StatsInDetail(new(stats.Detail))} {
		if got.MaxSessions != 10 || got.MaxReserved != 1<<20 {
			t.Errorf("limits %d, %d, want those of the configuration", got.MaxSessions, got.MaxReserved)
		}
	}
	before := s.Stats()
	taken := s.budget.bytes.taken.Load()
	s.shards[0].meta.pages = maxPages - 1

	big := []byte(`{"a":"` + strings.Repeat("x", 1000) + `"}`)
	if _, err := s.Create(t.Context(), token.NewSession{Meta: big}); !errors.Is(err, token.ErrFull) {
		t.Errorf("Create = error %v, want %v", err, token.ErrFull)
	}
	if _, err := s.Exchange(t.Context(), tok, token.Patch{Meta: big}, nil); !errors.Is(err, token.ErrFull) {
		t.Errorf("Exchange = error %v, want %v", err, token.ErrFull)
	}
	if got := s.budget.bytes.taken.Load(); got != taken || s.budget.sessions.taken.Load() != 1 {
		t.Errorf("%d bytes, %d sessions taken, want %d, 1", got, s.budget.sessions.taken.Load(), taken)
	}
	after := s.Stats()
	after.LongestPurgeHold = before.LongestPurgeHold // of those that looked for room
	if after != before {
		t.Errorf("Stats = %+v, want %+v", after, before)
	}
	if meta, _, err := s.Validate(t.Context(), tok, nil); string(meta) != `{"a":1}` || err != nil {
		t.Errorf("Validate = %q, error %v, want %q", meta, err, `{"a":1}`)
	}
	mustExchange(t, s, tok, []byte(`{"a":2}`))
}

// sessionCost is the room that a session with n bytes of metadata uses, without
// its subject.
func sessionCost(n int, hasPolicy bool) int64 {
	cost := sessionOverhead + int64(blockSize(blockLen(n, hasPolicy)))
	if hasPolicy {
		cost += policySize
	}
	return cost
}
