// Package storetest is the suite of tests that every store passes.
//
// # Basics
//
// The test of a store describes it in a Harness and calls Run. The suite covers
// what the Store interface promises: the contract and the session policies call
// by call, one winner among many, a random walk beside a naive model, and the
// linearizability of concurrent histories.
//
// # Caveats
//
// Random tests log their seed; the flag -storetest.seed repeats one.
package storetest

import (
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/server"
)

// Store is what the suite tests: the interface that the server needs of a store.
type Store = server.Store

// Config is what a store under test is opened with. A field that is 0 means the
// store's default, and of MaxSessions, MaxBytes and MaxLifetime no limit.
type Config struct {
	Lifetime    time.Duration
	MaxSessions int64
	MaxBytes    int64
	MaxMeta     int // bytes

	// Session policies.
	Grace         time.Duration // a minute at most
	RevokeOnReuse bool          // only with a grace
	MaxLifetime   time.Duration
}

// Harness describes the store under test.
type Harness struct {
	// Open opens an empty store, which lives until the end of t.
	Open func(t testing.TB, cfg Config) Store
	// Advance is for a store that goes by a clock that testing/synctest can't fake.
	// It makes all that s holds so much older, as if d had passed. Time is then held
	// to seconds instead of to the nanosecond, so that a machine may be slow, and the
	// random walk makes no steps in time.
	Advance func(t testing.TB, s Store, d time.Duration)
	// Unlimited says that the store knows neither MaxSessions nor MaxBytes.
	Unlimited bool
	// Divide is for a store whose calls take long: tests that do something again and
	// again, at random or at once, do it so many times less often. 0 is 1.
	Divide int
	// Cost returns what a session with so many bytes of metadata takes of
	// MaxBytes at least; hasPolicy says that it has a subject or a lifetime of its own, or the
	// store a Grace or a MaxLifetime. If it is nil, the random walk has no such limit.
	// A store may refuse what does not fit into a quarter of MaxBytes.
	Cost func(meta int, hasPolicy bool) int64
	// Check, if it is not nil, is called again and again during a random walk and
	// after each concurrent test, while no call is under way.
	Check func(t testing.TB, s Store)
}

// Run runs the whole suite.
func Run(t *testing.T, h Harness) {
	t.Run("Contract", func(t *testing.T) { h.runAll(t, contractTests) })
	t.Run("Metadata", func(t *testing.T) { h.runAll(t, metadataTests()) })
	t.Run("Expiry", func(t *testing.T) { h.runAll(t, h.expiryTests()) })
	if !h.Unlimited {
		t.Run("Limits", func(t *testing.T) { h.runAll(t, h.limitTests()) })
	}
	t.Run("Sessions", func(t *testing.T) { h.runAll(t, h.listingTests()) })
	t.Run("Grace", func(t *testing.T) { h.runAll(t, h.graceTests()) })
	t.Run("Reuse", func(t *testing.T) { h.runAll(t, h.reuseTests()) })
	t.Run("Lifetimes", func(t *testing.T) { h.runAll(t, h.lifetimeTests()) })
	t.Run("Subjects", func(t *testing.T) { h.runAll(t, h.subjectTests()) })
	t.Run("OneWinner", h.testOneWinner)
	t.Run("Linearizable", h.testLinearizable)
	t.Run("RandomWalk", h.testRandomWalks)
	t.Run("Batches", h.testBatches)
}

// test is one test of the suite, on a store of its own.
type test struct {
	name string
	cfg  Config
	run  func(*tester)
}

func (h Harness) runAll(t *testing.T, tests []test) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h.inBubble(t, func(t *testing.T) { test.run(h.open(t, test.cfg)) })
		})
	}
}

// inBubble runs f with a fake clock, unless the store would not go by it.
func (h Harness) inBubble(t *testing.T, f func(*testing.T)) {
	if h.realTime() {
		f(t)
		return
	}
	synctest.Test(t, f)
}

// rounds returns how often a test does what it does n times on a fast store.
func (h Harness) rounds(n int) int { return max(1, n/max(1, h.Divide)) }

// realTime says that the store's clock can't be faked.
func (h Harness) realTime() bool { return h.Advance != nil }

func (h Harness) check(t testing.TB, s Store) {
	t.Helper()
	if h.Check != nil {
		h.Check(t, s)
	}
}

var seedFlag = flag.Uint64("storetest.seed", 0, "seed of random tests; 0 picks one")

// Seed returns a seed for a random test, which it logs.
func Seed(t testing.TB) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-storetest.seed=%d", seed)
	return seed
}

// NewRand returns a source of random numbers for a seed.
func NewRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }
