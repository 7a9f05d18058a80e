package shard

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/storetest"
	"tokenserver/token"
)

// TestListingBatches reads a shard batch by batch.
func TestListingBatches(t *testing.T) {
	tests := []struct {
		name                string
		sessions, meta      int
		batches, first, max int // batches, sessions in the first one and at most
	}{
		{"none", 0, 0, 0, 0, 0},
		{"one", 1, 20, 1, 1, 1},
		{"a whole batch", listRecords, 20, 1, listRecords, listRecords},
		{"one more", listRecords + 1, 20, 2, listRecords, listRecords},
		{"large", 10, listBytes / 2, 5, 2, 2},
		{"too large", 3, 2 * listBytes, 3, 1, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, Config{Shards: 1, MaxMeta: 4 * listBytes, PurgeInterval: never})
			for range test.sessions {
				mustCreate(t, s, `{"a":"`+strings.Repeat("x", test.meta-len(`{"a":""}`))+`"}`)
			}
			var b listing
			var sizes []int
			for b.read(&s.shards[0], s.now()) {
				sizes = append(sizes, len(b.sessions))
			}
			sum := 0
			for i, n := range sizes {
				if sum += n; n > test.max || i == 0 && n != test.first {
					t.Errorf("batch %d has %d sessions, want %d in the first and at most %d", i, n, test.first, test.max)
				}
			}
			if len(sizes) != test.batches || sum != test.sessions {
				t.Errorf("%d sessions in %d batches, want %d in %d", sum, len(sizes), test.sessions, test.batches)
			}
		})
	}
}

// TestListingHoldsNoLock stops a listing in the middle of a batch.
func TestListingHoldsNoLock(t *testing.T) {
	s := open(t, Config{Shards: 1})
	for range 2 * listRecords {
		mustCreate(t, s, `{}`)
	}
	next, stop := iter.Pull2(s.Sessions(t.Context()))
	defer stop()
	for range listRecords + 10 {
		if _, err, ok := next(); err != nil || !ok {
			t.Fatalf("next = error %v, %v", err, ok)
		}
		if !s.shards[0].mu.TryLock() {
			t.Fatal("the listing holds the lock while a session is looked at")
		}
		s.shards[0].mu.Unlock()
	}
}

// TestListingWhileExchanging lists sessions that are being exchanged and patched
// all the time, while others come and go: each that stays is listed once, with
// metadata that it had.
func TestListingWhileExchanging(t *testing.T) {
	const sessions, callers, listings = 2000, 3, 5
	s := open(t, Config{Shards: 4})
	var stop atomic.Bool
	var done sync.WaitGroup
	for caller := range callers {
		tokens := make([]token.Token, sessions/callers)
		for i := range tokens {
			tokens[i] = mustCreate(t, s, fmt.Sprintf(`{"id":"%d-%d"}`, caller, i))
		}
		done.Go(func() {
			for n := 0; !stop.Load(); n++ {
				i := n % len(tokens)
				patch := fmt.Appendf(nil, `{"n":"%s"}`, strings.Repeat("n", n%300))
				tokens[i] = mustExchange(t, s, tokens[i], patch)
				s.Delete(t.Context(), mustCreate(t, s, `{"id":"passing"}`))
			}
		})
	}
	for range listings {
		seen := make(map[string]int)
		for session, err := range s.Sessions(t.Context()) {
			if err != nil {
				t.Errorf("Sessions: error %v", err)
			}
			id, _, _ := strings.Cut(strings.TrimPrefix(string(session.Meta), `{"id":"`), `"`)
			seen[id]++
		}
		delete(seen, "passing")
		for id, n := range seen {
			if n != 1 {
				t.Errorf("session %s is listed %d times", id, n)
			}
		}
		if want := sessions / callers * callers; len(seen) != want {
			t.Errorf("%d sessions listed, want %d", len(seen), want)
		}
	}
	stop.Store(true)
	done.Wait()
}

// TestListingWhileExpiring has a session expire between two batches.
func TestListingWhileExpiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 1, Lifetime: time.Hour, PurgeInterval: never})
		for range 2 * listRecords {
			mustCreate(t, s, `{}`)
		}
		n := 0
		for range s.Sessions(t.Context()) {
			if n++; n == 1 {
				time.Sleep(time.Hour)
			}
		}
		if n != listRecords {
			t.Errorf("%d sessions listed, want the %d of the batch that was read before they expired", n, listRecords)
		}
	})
}

// subjectMetas returns the metadata of a listing's sessions.
func subjectMetas(l *subjectListing) (metas []string) {
	for _, session := range l.sessions {
		metas = append(metas, string(session.Meta))
	}
	return metas
}

// createNumbered creates sessions of ada with the numbers first … last, and
// returns the token of each.
func createNumbered(t testing.TB, s *Store, first, last int) map[int]token.Token {
	t.Helper()
	tokens := make(map[int]token.Token)
	for n := first; n <= last; n++ {
		tokens[n] = mustCreateNew(t, s, token.NewSession{Meta: fmt.Appendf(nil, `{"n":%d}`, n), Subject: []byte("ada")})
	}
	return tokens
}

// numbered returns the metadata of sessions with the numbers newest … oldest.
func numbered(newest, oldest int) (metas []string) {
	for n := newest; n >= oldest; n-- {
		metas = append(metas, fmt.Sprintf(`{"n":%d}`, n))
	}
	return metas
}

// TestSubjectListingBatches lists a subject hold by hold of the lock.
func TestSubjectListingBatches(t *testing.T) {
	tests := []struct {
		name                 string
		sessions, meta       int // how many, and bytes of metadata of each
		expired              int // that are newer
		holds, first, atMost int // holds, sessions listed in the first one and at most
	}{
		{"none", 0, 0, 0, 1, 0, 0},
		{"one", 1, 20, 0, 1, 1, 1},
		{"a whole batch", subjectBatch, 20, 0, 2, subjectBatch, subjectBatch}, // the second finds the end
		{"several", 3*subjectBatch + 1, 20, 0, 4, subjectBatch, subjectBatch},
		{"large", 9, listBytes / 2, 0, 5, 2, 2},
		{"too large", 3, 2 * listBytes, 0, 4, 1, 1},
		{"over expired ones", 2, 20, 10 * subjectBatch, 11, 0, 2},
		{"only expired ones", 0, 20, 2*subjectBatch - 1, 2, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, Config{Shards: 1, Lifetime: time.Hour, MaxMeta: 4 * listBytes, PurgeInterval: never})
				for range test.sessions {
					meta := `{"a":"` + strings.Repeat("x", test.meta-len(`{"a":""}`)) + `"}`
					mustCreateNew(t, s, token.NewSession{Meta: []byte(meta), Subject: []byte("ada"), Lifetime: 2 * time.Hour})
				}
				createFor(t, s, "ada", test.expired)
				time.Sleep(time.Hour)
				l := subjectListing{walk: subjectWalk{subject: NewSubject([]byte("ada"))}, now: s.rules.clock.Read(), limit: 1000}
				holds, goesOn := 0, true
				for ; goesOn; holds++ {
					before, purged := len(l.sessions), s.Stats().Purged
					goesOn = s.shards[0].listSubject(&l)
					if n := len(l.sessions) - before; n > test.atMost || holds == 0 && n != test.first {
						t.Errorf("hold %d lists %d sessions, want %d in the first and at most %d", holds, n, test.first, test.atMost)
					}
					if n := s.Stats().Purged - purged; n > subjectBatch {
						t.Errorf("hold %d purges %d sessions, want at most %d", holds, n, subjectBatch)
					}
					if !s.shards[0].mu.TryLock() {
						t.Fatal("listSubject kept the lock")
					}
					s.shards[0].mu.Unlock()
				}
				if holds != test.holds || len(l.sessions) != test.sessions || l.more {
					t.Errorf("%d sessions in %d holds, more: %v, want %d in %d", len(l.sessions), holds, l.more, test.sessions, test.holds)
				}
			})
		})
	}
}

// TestSubjectListingKeepsItsPlace changes a subject's sessions between two holds
// of the lock: what was there throughout is listed once.
func TestSubjectListingKeepsItsPlace(t *testing.T) {
	const n = 3 * subjectBatch // sessions 1 … n, and last is the last one that the first hold lists
	const last = n - subjectBatch + 1
	type tokens = map[int]token.Token
	end := func(t *testing.T, s *Store, all tokens, first, last int) {
		for i := first; i <= last; i++ {
			if err := s.Delete(t.Context(), all[i]); err != nil {
				t.Errorf("Delete = error %v", err)
			}
		}
	}
	tests := []struct {
		name   string
		change func(*testing.T, *Store, tokens)
		want   []string // listed after the first hold
	}{
		{"nothing", func(*testing.T, *Store, tokens) {}, numbered(last-1, 1)},
		{"the last one listed ends", func(t *testing.T, s *Store, all tokens) { end(t, s, all, last, last) }, numbered(last-1, 1)},
		{"all listed but one end", func(t *testing.T, s *Store, all tokens) { end(t, s, all, last, n-1) }, numbered(last-1, 1)},
		{"all listed end", func(t *testing.T, s *Store, all tokens) { end(t, s, all, last, n) }, numbered(last-1, 1)},
		{"more end than were listed", func(t *testing.T, s *Store, all tokens) { end(t, s, all, last-5, n) }, numbered(last-6, 1)},
		{"the next ones end", func(t *testing.T, s *Store, all tokens) { end(t, s, all, last-5, last-1) }, numbered(last-6, 1)},
		{"the oldest end", func(t *testing.T, s *Store, all tokens) { end(t, s, all, 1, 5) }, numbered(last-1, 6)},
		{"all that are left end", func(t *testing.T, s *Store, all tokens) { end(t, s, all, 1, last-1) }, nil},
		{"all end", func(t *testing.T, s *Store, all tokens) { end(t, s, all, 1, n) }, nil},
		{"newer ones begin", func(t *testing.T, s *Store, _ tokens) { createNumbered(t, s, n+1, 2*n) }, numbered(last-1, 1)},
		{"policies are used again", func(t *testing.T, s *Store, all tokens) {
			end(t, s, all, last, n)
			createFor(t, s, "bob", subjectBatch)
		}, numbered(last-1, 1)},
		{"another is ended by its name", func(t *testing.T, s *Store, all tokens) {
			if n, err := s.EndSession(t.Context(), []byte("ada"), all[last].ID.Name()); n != 1 || err != nil {
				t.Errorf("EndSession = %d, error %v, want 1", n, err)
			}
		}, numbered(last-1, 1)},
		{"an exchange", func(t *testing.T, s *Store, all tokens) {
			mustExchange(t, s, all[last], []byte(`{"n":0}`))
			mustExchange(t, s, all[last-1], []byte(`{"m":1}`))
		}, append([]string{fmt.Sprintf(`{"n":%d,"m":1}`, last-1)}, numbered(last-2, 1)...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, Config{Shards: 1, PurgeInterval: never})
			all := createNumbered(t, s, 1, n)
			createFor(t, s, "bob", 1)
			l := subjectListing{walk: subjectWalk{subject: NewSubject([]byte("ada"))}, now: s.rules.clock.Read(), limit: 1000}
			s.shards[0].listSubject(&l)
			test.change(t, s, all)
			for s.shards[0].listSubject(&l) {
			}
			if got, want := subjectMetas(&l), append(numbered(n, last), test.want...); !slices.Equal(got, want) || l.more {
				t.Errorf("listed %q, more: %v, want %q", got, l.more, want)
			}
		})
	}
}

// TestSubjectListingAmongOthers makes random changes between all holds of a
// listing's lock: what is there throughout is listed once, what had expired is
// not listed, and all is in the order of creation.
func TestSubjectListingAmongOthers(t *testing.T) {
	rng := storetest.NewRand(storetest.Seed(t))
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{Shards: 1, Lifetime: time.Hour, PurgeInterval: never})
			all := make(map[int]token.Token)
			n := 0
			create := func() {
				n++
				lifetime := time.Duration(1+rng.IntN(2)) * time.Hour
				meta := fmt.Appendf(nil, `{"n":%d}`, n)
				all[n] = mustCreateNew(t, s, token.NewSession{Meta: meta, Subject: []byte("ada"), Lifetime: lifetime})
				if lifetime == time.Hour {
					delete(all, n)
				}
			}
			for range rng.IntN(20 * subjectBatch) {
				create()
			}
			time.Sleep(time.Hour)
			l := subjectListing{walk: subjectWalk{subject: NewSubject([]byte("ada"))}, now: s.rules.clock.Read(), limit: 10_000}
			existed, lived := n, maps.Clone(all)
			for s.shards[0].listSubject(&l) {
				if rng.IntN(4) == 0 {
					s.Purge()
				}
				for number := range n {
					if tok, lives := all[number]; lives && rng.IntN(10) == 0 {
						s.Delete(t.Context(), tok)
						delete(all, number)
					}
				}
				create()
			}
			seen, before := make(map[int]bool), n+1
			for _, meta := range subjectMetas(&l) {
				var number int
				fmt.Sscanf(meta, `{"n":%d}`, &number)
				if number >= before {
					t.Errorf("session %d is listed after session %d", number, before)
				}
				if _, ok := lived[number]; number <= existed && !ok {
					t.Errorf("session %d is listed, and had expired", number)
				}
				seen[number], before = true, number
			}
			for number := range all {
				if number <= existed && !seen[number] {
					t.Errorf("session %d of %d is not listed", number, existed)
				}
			}
		})
	}
}

// TestSubjectListingRestsOnChanges has a session change between two holds of a
// listing's lock.
func TestSubjectListingRestsOnChanges(t *testing.T) {
	j := newJournal(t)
	w := newWaiting(t, j, time.Minute)
	createFor(t, w.s, "ada", subjectBatch)
	l := subjectListing{walk: subjectWalk{subject: NewSubject([]byte("ada"))}, now: w.s.rules.clock.Read(), limit: 1000}
	sh := &w.s.shards[0]
	if !sh.listSubject(&l) {
		t.Fatal("the listing is complete after one hold, want two")
	}
	held := j.hold(w.tok.ID)
	change := w.start(func() error { return w.exchange(w.tok, `{"a":2}`) })
	w.mustWait(1, change)
	if sh.listSubject(&l) || len(l.underWay) != 1 || l.underWay[0] != sh.pending.writes[w.tok.ID] {
		t.Errorf("the listing rests on %d changes, want that of its last session", len(l.underWay))
	}
	if got := subjectMetas(&l); got[len(got)-1] != `{"a":2}` {
		t.Errorf("the last session is %s, want %s", got[len(got)-1], `{"a":2}`)
	}
	held.release(nil)
	<-change
}

func TestOfSubject(t *testing.T) {
	s := open(t, Config{Shards: 1, PurgeInterval: never})
	sh := &s.shards[0]
	mine := createFor(t, s, "ada", 2)
	s.Delete(t.Context(), mine[1])
	tests := map[string]struct {
		id   token.ID
		want bool
	}{
		"its own":                            {mine[0].ID, true},
		"one that has ended":                 {mine[1].ID, false},
		"another subject's":                  {createFor(t, s, "bob", 1)[0].ID, false},
		"nobody's":                           {mustCreate(t, s, `{}`).ID, false},
		"nobody's, with its own policyState": {mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Lifetime: time.Hour}).ID, false},
		"unknown":                            {token.Generate().ID, false},
	}
	for name, test := range tests {
		if got := sh.ofSubjectLocked(test.id, NewSubject([]byte("ada"))); (got != 0) != test.want {
			t.Errorf("%s: ofSubjectLocked = policyState %d, want one: %v", name, got, test.want)
		}
	}
}

// TestPageLosesItsPlace has the last session of the page before end while the next one
// is listed: what was listed before can't be told from what was not.
func TestPageLosesItsPlace(t *testing.T) {
	const n = 3 * subjectBatch
	s := open(t, Config{Shards: 1, PurgeInterval: never})
	all := createNumbered(t, s, 1, n)
	for _, holds := range []int{0, 1} {
		l := subjectListing{walk: subjectWalk{subject: NewSubject([]byte("ada"))}, now: s.rules.clock.Read(), limit: 1000}
		l.goesOn, l.walk.trail = true, []token.ID{all[n].ID}
		for range holds {
			if !s.shards[0].listSubject(&l) || l.isLost() {
				t.Fatal("the listing is complete after one hold, or lost")
			}
		}
		for i := n - len(l.sessions); i <= n; i++ {
			s.Delete(t.Context(), all[i])
		}
		for s.shards[0].listSubject(&l) {
		}
		if !l.isLost() {
			t.Errorf("after %d holds: the listing goes on with %d sessions, want it lost", holds, len(l.sessions))
		}
		all = createNumbered(t, s, 1, n)
	}
}
