package bench

import (
	"context"
	"time"

	"github.com/allegro/bigcache/v3"
	"github.com/maypok86/otter/v2"
)

// engines makes each engine by name, for n sessions. Ours is the last: the
// memory for which it has asked for huge pages stays with the process, and would
// speed up whoever comes after.
var engines = []struct {
	name string
	make func(n int) engine
}{
	{"map", func(n int) engine { return newMapStore(n) }},
	{"otter", func(n int) engine { return newOtter(n) }},
	{"bigcache", func(n int) engine { return newBigcache(n) }},
	{"ours", func(n int) engine { return newOurs(n, 0) }},
}

// otterStore keeps sessions in github.com/maypok86/otter/v2. Its cache removes
// and returns a value in one step, so that of two exchanges one wins.
type otterStore struct {
	cache  *otter.Cache[string, []byte]
	tokens []string
}

func newOtter(n int) *otterStore {
	return &otterStore{
		cache: otter.Must(&otter.Options[string, []byte]{
			InitialCapacity:  n,
			ExpiryCalculator: otter.ExpiryWriting[string, []byte](lifetime),
		}),
		tokens: make([]string, n),
	}
}

func (o *otterStore) close() { o.cache.StopAllGoroutines() }

func (o *otterStore) create(i int) {
	o.tokens[i] = newStringToken()
	o.cache.Set(o.tokens[i], append([]byte(nil), meta...))
}

func (o *otterStore) exchange(i int, dst []byte) []byte {
	next := newStringToken()
	value, ok := o.cache.Invalidate(o.tokens[i])
	if !ok {
		panic("bench: session lost")
	}
	o.cache.Set(next, value)
	o.tokens[i] = next
	return append(dst[:0], value...)
}

// bigcacheStore keeps sessions in github.com/allegro/bigcache/v3. The cache
// can't remove and return in one step, so that two exchanges of one token could
// both win here; and what is removed takes memory until its lifetime is over.
type bigcacheStore struct {
	cache  *bigcache.BigCache
	tokens []string
}

func newBigcache(n int) *bigcacheStore {
	config := bigcache.DefaultConfig(lifetime)
	config.CleanWindow = time.Minute
	config.MaxEntriesInWindow = n
	config.MaxEntrySize = len(meta)
	config.Verbose = false
	cache, err := bigcache.New(context.Background(), config)
	must(err)
	return &bigcacheStore{cache, make([]string, n)}
}

func (s *bigcacheStore) close() { must(s.cache.Close()) }

func (s *bigcacheStore) create(i int) {
	s.tokens[i] = newStringToken()
	must(s.cache.Set(s.tokens[i], meta))
}

func (s *bigcacheStore) exchange(i int, dst []byte) []byte {
	next := newStringToken()
	value, err := s.cache.Get(s.tokens[i])
	must(err)
	must(s.cache.Delete(s.tokens[i]))
	must(s.cache.Set(next, value))
	s.tokens[i] = next
	return append(dst[:0], value...)
}
