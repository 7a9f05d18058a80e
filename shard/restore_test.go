package shard

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/clock"
	"tokenserver/token"
)

// TestRestoreSorts restores a subject's sessions in any order.
func TestRestoreSorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		j := newJournal(t)
		s := open(t, Config{Shards: 1, Journal: j})
		for i := range n {
			mustCreateNew(t, s, token.NewSession{Meta: fmt.Appendf(nil, `{"n":%d}`, i), Subject: []byte("ada")})
			time.Sleep(time.Nanosecond)
		}
		s = restored(t, Config{Shards: 1}, j) // the order is that of a map
		list, more, err := s.SubjectSessions(t.Context(), []byte("ada"), token.Page{Limit: n})
		if len(list) != n || more || err != nil {
			t.Fatalf("SubjectSessions = %d sessions, more: %v, error %v, want %d, false", len(list), more, err, n)
		}
		for i, session := range list {
			if want := fmt.Sprintf(`{"n":%d}`, n-1-i); string(session.Meta) != want {
				t.Fatalf("session %d is %s, want %s", i, session.Meta, want)
			}
		}
	})
}

// TestRestoreBeyondLimits restores more sessions than a lowered limit allows: all
// are there, and the excess only blocks new ones.
func TestRestoreBeyondLimits(t *testing.T) {
	const sessions, fit = 10, 7
	meta := `{"a":"` + strings.Repeat("x", 100) + `"}`
	cost := sessionCost(len(meta), false)
	tests := []Config{{MaxSessions: fit}, {MaxSessions: fit, MaxBytes: 10 * sessions * cost}}
	for _, cfg := range tests {
		j := newJournal(t)
		from := open(t, Config{Shards: 4, Journal: j})
		var tokens []token.Token
		for range sessions {
			tokens = append(tokens, mustCreate(t, from, meta))
		}
		s := restored(t, cfg, j)
		create := func(want error) {
			t.Helper()
			_, err := s.Create(t.Context(), token.NewSession{Meta: []byte(meta)})
			if !errors.Is(err, want) {
				t.Errorf("%+v: Create among %d sessions = error %v, want %v", cfg, s.Stats().Sessions, err, want)
			}
		}
		for i := range tokens {
			tokens[i] = mustExchange(t, s, tokens[i], []byte(`{"a":"`+strings.Repeat("y", 100)+`"}`))
		}
		for i := range sessions - fit + 1 {
			create(token.ErrFull)
			if err := s.Delete(t.Context(), tokens[i]); err != nil {
				t.Errorf("Delete = error %v", err)
			}
		}
		create(nil)
		create(token.ErrFull)
	}
}

// TestRestoreBeyondMemory restores more than a lowered limit of memory allows: all
// is there, and nothing more is reserved until there is room.
func TestRestoreBeyondMemory(t *testing.T) {
	const sessions, limit = 1000, 150 << 10
	j := newJournal(t)
	from := open(t, Config{Shards: 4, Journal: j})
	var tokens []token.Token
	for range sessions {
		tokens = append(tokens, mustCreate(t, from, string(metaOf(500))))
	}
	s := restored(t, Config{Shards: 4, MaxBytes: limit}, j)
	before := s.Stats().Reserved
	fillUp(t, s, metaOf(300))
	if got := s.Stats().Reserved; before < 3*limit || got > before {
		t.Errorf("%d bytes reserved after the restore, and %d later, want no more", before, got)
	}
	for i, tok := range tokens {
		tokens[i] = mustExchange(t, s, tok, metaOf(500))
		if i >= 50 {
			s.Delete(t.Context(), tokens[i])
		}
	}
	if got := s.Stats().Reserved; got > limit {
		t.Errorf("most are deleted, and %d bytes reserved, want at most %d", got, limit)
	}
	for _, tok := range tokens[:50] {
		mustExchange(t, s, tok, nil)
	}
}

// TestShrinkBeyondLimit: what is over the limit of bytes can be made smaller, and
// not larger, until it is below.
func TestShrinkBeyondLimit(t *testing.T) {
	j := newJournal(t)
	from := open(t, Config{Shards: 1, Journal: j})
	large := []byte(`{"a":"` + strings.Repeat("x", 1000) + `"}`)
	a, b := mustCreate(t, from, string(large)), mustCreate(t, from, string(large))
	s := restored(t, Config{Shards: 1, MaxBytes: 2000}, j)
	if _, err := s.Exchange(t.Context(), a, token.Patch{Meta: []byte(`{"b":"` + strings.Repeat("x", 1000) + `"}`)}, nil); !errors.Is(err, token.ErrFull) {
		t.Errorf("Exchange that grows = error %v, want %v", err, token.ErrFull)
	}
	a = mustExchange(t, s, a, []byte(`{"a":1}`))
	mustExchange(t, s, b, []byte(`{"a":1}`))
	mustExchange(t, s, a, []byte(`{"b":"`+strings.Repeat("x", 500)+`"}`)) // there is room again
}

// TestRestoreWithAnotherSecret loses the successors of what was spent, and no more.
func TestRestoreWithAnotherSecret(t *testing.T) {
	j := newJournal(t)
	s := open(t, Config{Shards: 4, Grace: time.Minute, Journal: j, Secret: testSecret})
	spent := mustCreate(t, s, `{"a":1}`)
	tok := mustExchange(t, s, spent, nil)
	other := token.NewSecret([]byte("the key of nobody else's tokens, 32+"))
	s = restored(t, Config{Shards: 4, Grace: time.Minute, Secret: other}, j)
	if _, err := s.Exchange(t.Context(), spent, token.Patch{}, nil); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("Exchange(spent token) = error %v, want %v", err, token.ErrInvalid)
	}
	next := mustExchange(t, s, tok, nil)
	if x, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); x.Token != next || !x.Reused || err != nil {
		t.Errorf("Exchange(token spent since) = the current one: %v, error %v, want true", x.Token == next, err)
	}
}

// TestKeyIsChanged: what was spent before the key was changed, or since, is a replay as
// long as it is in its grace, and no theft.
func TestKeyIsChanged(t *testing.T) {
	key, previous := []byte("the key of all tests' tokens, 32+"), []byte("the key before that of the tests, 32+")
	cfg := Config{Shards: 4, Grace: time.Minute, RevokeOnReuse: true}
	for before := range token.GraceDepth + 2 {
		for since := range token.GraceDepth + 2 - before {
			j := newJournal(t)
			cfg.Journal, cfg.Secret = j, token.NewSecret(previous)
			s := open(t, cfg)
			chain := exchangeAll(t, s, before, mustCreate(t, s, `{}`))
			cfg.Journal, cfg.Secret = nil, token.NewSecretAfter(key, previous)
			s = restored(t, cfg, j)
			chain = append(chain, exchangeAll(t, s, since, chain[before])[1:]...)
			wantReplays(t, s, chain[max(0, len(chain)-1-token.GraceDepth):])
			if got := s.Stats(); got.Reused != 0 || got.Sessions != 1 {
				t.Errorf("%d exchanges, and %d with another key: %d reuses, %d sessions, want 0 and 1", before, since, got.Reused, got.Sessions)
			}
			if before+since > token.GraceDepth { // chain[0] is too old
				s.Exchange(t.Context(), chain[0], token.Patch{}, nil)
				if got := s.Stats(); got.Revoked != 1 {
					t.Errorf("%d exchanges, and %d with another key: %d sessions are revoked for a token that is too old, want 1", before, since, got.Revoked)
				}
			}
		}
	}
}

// fleetSecrets are those of a fleet that is told to derive by another key: of the servers
// that have not heard of it yet, and of those that have.
var fleetSecrets = func() [2]*token.Secret {
	oldKey, newKey := []byte("the key of all tests' tokens, 32+"), []byte("the key after that of the tests, 32+")
	return [2]*token.Secret{token.NewSecretAfter(oldKey, newKey), token.NewSecretAfter(newKey, oldKey)}
}()

// TestKeyIsChangedInAFleet: while a fleet is told to derive by another key, its servers
// exchange one session in any order, and replays are no theft.
func TestKeyIsChangedInAFleet(t *testing.T) {
	for _, order := range []string{"01010101", "10101010", "00110010", "11101001", "10000001"} {
		s := open(t, Config{Shards: 4, Grace: time.Minute, RevokeOnReuse: true, Secret: fleetSecrets[0]})
		chain := []token.Token{mustCreate(t, s, `{}`)}
		for i, server := range order {
			s.secret = fleetSecrets[server-'0']
			chain = append(chain, mustExchange(t, s, chain[i], nil))
		}
		for _, s.secret = range fleetSecrets {
			wantReplays(t, s, chain)
		}
		if got := s.Stats(); got.Reused != 0 || got.Sessions != 1 {
			t.Errorf("servers %s: %d reuses, %d sessions, want 0 and 1", order, got.Reused, got.Sessions)
		}
		s.Exchange(t.Context(), chain[1].Next(), token.Patch{}, nil)
		if got := s.Stats(); got.Revoked != 1 {
			t.Errorf("servers %s: %d sessions are revoked for a wrong nonce, want 1", order, got.Revoked)
		}
	}
}

// TestKeyIsChangedConcurrently makes each call with a session's first token while another
// server exchanges the session by both keys.
func TestKeyIsChangedConcurrently(t *testing.T) {
	calls := map[string]func(*Store, token.Token) error{
		"Exchange": func(s *Store, tok token.Token) error {
			_, err := s.Exchange(t.Context(), tok, token.Patch{}, nil)
			return err
		},
		"Validate": func(s *Store, tok token.Token) error {
			_, _, err := s.Validate(t.Context(), tok, nil)
			return err
		},
		"EndOthers": func(s *Store, tok token.Token) error {
			_, err := s.EndOthers(t.Context(), []byte("ada"), tok)
			return err
		},
		"Delete": func(s *Store, tok token.Token) error {
			err := s.Delete(t.Context(), tok)
			if n := s.Stats().Sessions; n != 0 {
				return fmt.Errorf("%d sessions are left", n)
			}
			return err
		},
	}
	for name, call := range calls {
		for range 50 {
			s := open(t, Config{Shards: 1, Grace: time.Minute, RevokeOnReuse: true, Secret: fleetSecrets[0]})
			first := mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
			next := first
			for range token.GraceDepth - 2 { // by the other key alone, which is found last
				next = exchangeBy(s, fleetSecrets[1], next)
			}
			var others sync.WaitGroup
			others.Go(func() {
				next = exchangeBy(s, fleetSecrets[0], next)
				runtime.Gosched()
				exchangeBy(s, fleetSecrets[1], next)
			})
			runtime.Gosched()
			if err := call(s, first); err != nil {
				t.Errorf("%s = error %v", name, err)
			}
			others.Wait()
		}
	}
}

// exchangeBy exchanges a token, if it is its session's, as a server with another key would.
func exchangeBy(s *Store, secret *token.Secret, tok token.Token) token.Token {
	next := secret.Next(tok)
	x := exchangeArgs{credential: credential{id: tok.ID, now: s.now()}}
	x.digest, x.new = token.Digests(tok, next)
	s.shard(tok.ID).exchange(&x, nil)
	return next
}

// TestExchangedWhileDeriving has a session exchanged on and on, by both keys, while a
// replay's successors are derived.
func TestExchangedWhileDeriving(t *testing.T) {
	s := open(t, Config{Shards: 4, Grace: time.Minute, RevokeOnReuse: true, Secret: fleetSecrets[0]})
	first := mustCreate(t, s, `{}`)
	sh, c := s.shard(first.ID), credential{id: first.ID, digest: first.Digest(), now: s.now()}
	current := first
	for age := 1; age <= token.GraceDepth; age++ {
		s.secret = fleetSecrets[age%2]
		current = mustExchange(t, s, current, nil)
		s.secret = fleetSecrets[1]
		if _, _, _, err := sh.validate(&c, nil); err != errUnproven {
			t.Fatalf("age %d: validate = error %v, want %v", age, err, errUnproven)
		}
		s.derive(&c, first)
		if _, _, _, err := sh.validate(&c, nil); err != nil {
			t.Fatalf("age %d: validate with successors = error %v", age, err)
		}
	}
	current = mustExchange(t, s, current, nil)
	if _, _, _, err := sh.validate(&c, nil); err != errUnproven {
		t.Fatalf("too late: validate = error %v, want %v", err, errUnproven)
	}
	s.derive(&c, first)
	for range 2 { // nothing that comes later makes it a replay again
		if _, _, _, err := sh.validate(&c, nil); err != token.ErrInvalid {
			t.Fatalf("too late: validate with successors = error %v, want %v", err, token.ErrInvalid)
		}
		current = mustExchange(t, s, current, nil)
	}
}

// exchangeAll returns a token and those that n exchanges make of it.
func exchangeAll(t *testing.T, s *Store, n int, tok token.Token) []token.Token {
	t.Helper()
	chain := []token.Token{tok}
	for i := range n {
		chain = append(chain, mustExchange(t, s, chain[i], nil))
	}
	return chain
}

// wantReplays expects that all tokens of a chain stand for the last.
func wantReplays(t *testing.T, s *Store, chain []token.Token) {
	t.Helper()
	last := len(chain) - 1
	for age, tok := range chain[:last] {
		if _, _, err := s.Validate(t.Context(), tok, nil); err != nil {
			t.Errorf("Validate of token %d of %d = error %v", age, last, err)
		}
		if x, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); x.Token != chain[last] || !x.Reused || err != nil {
			t.Errorf("Exchange of token %d of %d = the current token: %v, error %v, want true", age, last, x.Token == chain[last], err)
		}
	}
}

// TestRestoreWithOtherPolicies restores sessions of a store with other policies.
func TestRestoreWithOtherPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := Config{Shards: 4, Lifetime: time.Hour, Grace: time.Minute, MaxLifetime: 2 * time.Hour, Secret: testSecret}
		grace := Config{Shards: 4, Lifetime: time.Hour, Grace: time.Minute, Secret: testSecret}
		none := Config{Shards: 4, Lifetime: time.Hour}
		tests := []struct {
			name       string
			from, to   Config
			wantPolicy bool
			wantWindow bool
			wantAll    time.Duration // lifetime of a session exchanged again and again
		}{
			{"all to none", all, none, true, false, 2 * time.Hour},
			{"grace to none", grace, none, false, false, 24 * time.Hour},
			{"none to all", none, all, true, true, 2 * time.Hour},
			{"none to grace", none, grace, true, true, 24 * time.Hour},
			{"none to none", none, none, false, false, 24 * time.Hour},
		}
		for _, test := range tests {
			j := newJournal(t)
			test.from.Journal = j
			tok := mustCreate(t, open(t, test.from), `{"a":1}`)
			created := time.Now()
			s := restored(t, test.to, j)
			if got := s.Stats().Bytes != sessionCost(7, false); got != test.wantPolicy {
				t.Errorf("%s: the session has a policy state: %v, want %v", test.name, got, test.wantPolicy)
			}
			next := mustExchange(t, s, tok, nil)
			if x, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); (err == nil) != test.wantWindow || x.Reused != test.wantWindow {
				t.Errorf("%s: Exchange(spent token) = reused: %v, error %v, want %v", test.name, x.Reused, err, test.wantWindow)
			}
			for time.Since(created) < 24*time.Hour {
				time.Sleep(30 * time.Minute)
				x, err := s.Exchange(t.Context(), next, token.Patch{}, nil)
				if err != nil {
					break
				}
				next = x.Token
			}
			if got := time.Since(created); got != test.wantAll {
				t.Errorf("%s: the session lived for %v, want %v", test.name, got, test.wantAll)
			}
		}
	})
}

// TestRestoreAfterClockStep restores sessions that, by a clock that was set
// back, were created and exchanged in the future: they are as old as the store.
func TestRestoreAfterClockStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		s := open(t, Config{Shards: 4, Grace: time.Minute, Journal: j, Secret: testSecret})
		spent := mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
		tok := mustExchange(t, s, spent, nil)
		state := j.states[tok.ID]
		for _, moment := range []*clock.Timestamp{&state.Created, &state.Expires, &state.Spent[0]} {
			*moment = moment.Add(10 * time.Minute)
		}
		j.states[tok.ID] = state
		s = restored(t, Config{Shards: 4, Grace: time.Minute, Secret: testSecret}, j)
		if _, _, err := s.Validate(t.Context(), spent, nil); err != nil {
			t.Errorf("Validate(spent token) = error %v, want none", err)
		}
		time.Sleep(time.Minute)
		if _, _, err := s.Validate(t.Context(), spent, nil); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("Validate(spent token after its grace) = error %v, want %v", err, token.ErrInvalid)
		}
		if ended, err := s.EndSubject(t.Context(), []byte("ada")); ended != 1 || err != nil {
			t.Errorf("EndSubject = %d, error %v, want 1", ended, err)
		}
		if _, _, err := s.Validate(t.Context(), tok, nil); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("Validate(ended) = error %v, want %v", err, token.ErrInvalid)
		}
	})
}

// TestRestoreLimits restores sessions whose deadlines are further away than they
// can be by the store's rules.
func TestRestoreLimits(t *testing.T) {
	const hour = time.Hour
	tests := []struct {
		name                                         string
		cfg                                          Config        // of the store; its lifetime is 2 hours
		lifetime, expires, absoluteDeadline, created time.Duration // of the session, from now on; 0 for none
		want, wantAbsolute                           time.Duration
	}{
		{"as it was", Config{}, 0, 90 * time.Minute, 0, 0, 90 * time.Minute, 0},
		{"just in time", Config{}, 0, 2 * hour, 0, 0, 2 * hour, 0},
		{"clock set back", Config{}, 0, 2*hour + 1, 0, 0, 2 * hour, 0},
		{"clock set back by years", Config{}, 0, 90_000 * hour, 0, 0, 2 * hour, 0},
		{"own lifetime", Config{}, 3 * hour, 3 * hour, 0, -hour, 3 * hour, 0},
		{"own lifetime, clock set back", Config{}, 3 * hour, 5 * hour, 0, 2 * hour, 3 * hour, 0},
		{"own lifetime is shorter", Config{}, hour, 2 * hour, 0, 2 * hour, hour, 0},
		{"grace, clock set back", Config{Grace: time.Minute}, 0, 3 * hour, 0, hour, 2 * hour, 0},
		{"unknown creation", Config{MaxLifetime: 5 * hour}, 0, hour, 0, 0, hour, 5 * hour},
		{"unknown creation, shorter than its lifetime", Config{MaxLifetime: hour}, 0, 2 * hour, 0, 0, hour, hour},
		{"known creation", Config{MaxLifetime: 5 * hour}, hour, hour, 0, -hour, hour, 4 * hour},
		{"known creation, nearly over", Config{MaxLifetime: 5 * hour}, hour, hour, 0, -5*hour + 1, 1, 1},
		{"known creation, clock set back", Config{MaxLifetime: 5 * hour}, hour, 2 * hour, 0, hour, hour, 5 * hour},
		{"absolute deadline", Config{MaxLifetime: 5 * hour}, 0, hour, 4 * hour, -hour, hour, 4 * hour},
		{"absolute deadline, clock set back", Config{MaxLifetime: 5 * hour}, 0, 9 * hour, 9 * hour, 8 * hour, 2 * hour, 5 * hour},
		{"absolute deadline of a longer rule", Config{MaxLifetime: 5 * hour}, 0, hour, 9 * hour, -hour, hour, 5 * hour},
		{"absolute deadline of a shorter rule", Config{MaxLifetime: 5 * hour}, 0, hour, 3 * hour, -hour, hour, 3 * hour},
		{"absolute deadline of no rule any more", Config{}, 0, hour, 3 * hour, -hour, hour, 3 * hour},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			j, tok := newJournal(t), token.Generate()
			fromNow := func(d time.Duration) (at clock.Timestamp) {
				if d != 0 {
					at = j.clock.Now().Add(d)
				}
				return at
			}
			j.states[tok.ID] = State{
				ID: tok.ID, Digest: tok.Digest(), Meta: []byte(`{}`), Lifetime: test.lifetime,
				Expires: fromNow(test.expires), AbsoluteDeadline: fromNow(test.absoluteDeadline), Created: fromNow(test.created),
			}
			s := restored(t, test.cfg, j)
			if _, expires, err := s.Validate(t.Context(), tok, nil); time.Until(expires) != test.want || err != nil {
				t.Errorf("%s: expires in %v, error %v, want %v", test.name, time.Until(expires), err, test.want)
			}
			state := s.shard(tok.ID).stateLocked(s.shard(tok.ID).records.at(0))
			if got := fromNow(test.wantAbsolute); state.AbsoluteDeadline != got {
				t.Errorf("%s: ends at %v in any case, want %v", test.name, state.AbsoluteDeadline, got)
			}
		})
	}
}

// TestRestoreOld restores a session that is older than the store lets it be: it
// has ended.
func TestRestoreOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		s := open(t, Config{Shards: 1, Lifetime: 4 * time.Hour, Journal: j})
		tok := mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Subject: []byte("ada")})
		time.Sleep(3 * time.Hour)
		s = restored(t, Config{Shards: 1, Lifetime: 4 * time.Hour, MaxLifetime: 2 * time.Hour, PurgeInterval: never}, j)
		if _, err := s.Exchange(t.Context(), tok, token.Patch{}, nil); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("Exchange = error %v, want %v", err, token.ErrInvalid)
		}
		if got := s.Purge(); got != 1 {
			t.Errorf("Purge = %d, want 1", got)
		}
	})
}

// TestRestoredMakeRoom restores a session that an exchange makes expire earlier
// than it would have: it makes room when it has expired.
func TestRestoredMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(t)
		tok := mustCreate(t, open(t, Config{Shards: 1, Lifetime: 4 * time.Hour, Journal: j}), `{}`)
		s := restored(t, Config{Shards: 1, Lifetime: time.Hour, MaxSessions: 1, PurgeInterval: never}, j)
		create := func(want error) {
			t.Helper()
			if _, err := s.Create(t.Context(), token.NewSession{Meta: []byte(`{}`)}); !errors.Is(err, want) {
				t.Errorf("Create = error %v, want %v", err, want)
			}
		}
		create(token.ErrFull)
		mustExchange(t, s, tok, nil)
		time.Sleep(time.Hour - 1)
		create(token.ErrFull)
		time.Sleep(time.Nanosecond)
		create(nil)
	})
}
