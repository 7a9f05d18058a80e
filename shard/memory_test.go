package shard

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/token"
)

// heapBytes returns how many bytes of the process's memory are in use.
func heapBytes() int64 { return int64(memStats().HeapAlloc) }

// memStats leaves out what is garbage; pools let go at the second collection.
func memStats() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

// TestMemoryServesAgain creates sessions and lets them expire, ten times over:
// each round is served from the memory of the first, also where the sizes of
// sessions change.
func TestMemoryServesAgain(t *testing.T) {
	sessions := 1_000_000
	if raceEnabled || testing.Short() {
		sessions = 50_000
	}
	tests := []struct {
		name     string
		sessions int
		sizes    []int // of metadata, one a round, over and over
		subjects int   // 0 for none
	}{
		{"one size", sessions, []int{115}, 0},
		{"two sizes", sessions / 10, []int{1000, 60}, 0},
		{"mixed sizes", sessions / 10, []int{0}, 0},
		{"subjects", sessions / 10, []int{115}, sessions / 30},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testMemoryServesAgain(t, test.sessions, test.sizes, test.subjects) })
		})
	}
}

func testMemoryServesAgain(t *testing.T, sessions int, sizes []int, subjects int) {
	s := open(t, Config{Shards: 16, Lifetime: time.Hour, PurgeInterval: never})
	names := testNames(subjects)
	metas := testMetas(sizes)
	before := heapBytes()
	var bytes, reserved, process int64 // of the first round
	for round := range 10 {
		for i := range sessions {
			n := token.NewSession{Meta: metas[round%len(metas)][i%16]}
			if subjects > 0 {
				n.Subject = names[i%subjects]
			}
			if _, err := s.Create(t.Context(), n); err != nil {
				t.Fatalf("Create = error %v", err)
			}
		}
		full, used := s.Stats(), heapBytes()-before
		if round == 0 {
			bytes, reserved, process = full.Bytes, full.Reserved, used
			t.Logf("%d sessions: %d bytes, %d reserved, %d of the process", sessions, bytes, reserved, used)
		}
		if outgrows(full.Bytes, bytes) || outgrows(full.Reserved, reserved) || outgrows(used, process) {
			t.Errorf("round %d: %d bytes, %d reserved, %d of the process, want at most 1.2 times %d, %d, %d",
				round, full.Bytes, full.Reserved, used, bytes, reserved, process)
		}
		time.Sleep(time.Hour)
		if purged := s.Purge(); purged != sessions {
			t.Errorf("round %d: Purge = %d, want %d", round, purged, sessions)
		}
		if empty := s.Stats(); empty.Sessions != 0 || empty.Subjects != 0 || empty.Bytes != 0 || outgrows(empty.Reserved, reserved) {
			t.Errorf("round %d, purged: %d sessions, %d bytes, %d reserved", round, empty.Sessions, empty.Bytes, empty.Reserved)
		}
	}
}

func testNames(n int) (names [][]byte) {
	for i := range n {
		names = append(names, fmt.Appendf(nil, "user-%d", i))
	}
	return names
}

func outgrows(got, first int64) bool { return 5*got > 6*first }

// testMetas returns sixteen objects for each size; for size 0, of as many sizes.
func testMetas(sizes []int) (metas [][16][]byte) {
	for _, size := range sizes {
		var group [16][]byte
		for i := range group {
			n := size
			if size == 0 {
				n = 20 * (i + 1)
			}
			group[i] = fmt.Appendf(nil, `{"n":"%x%s"}`, i, strings.Repeat("x", n-len(`{"n":"x"}`)))
		}
		metas = append(metas, group)
	}
	return metas
}

// TestMemoryServesPatches grows and shrinks the metadata of sessions that live on.
func TestMemoryServesPatches(t *testing.T) {
	s := open(t, Config{Shards: 4, PurgeInterval: never})
	tokens := make([]token.Token, 2000)
	for i := range tokens {
		tokens[i] = mustCreate(t, s, `{"a":1}`)
	}
	var reserved int64
	for round := range 10 {
		for _, size := range []int{2000, 300, 20} {
			patch := fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat("x", size))
			for i := range tokens {
				tokens[i] = mustExchange(t, s, tokens[i], patch)
			}
		}
		got := s.Stats()
		if want := int64(len(tokens)) * sessionCost(len(`{"a":""}`)+20, false); got.Bytes+mapSurplus(s) != want {
			t.Errorf("round %d: Bytes = %d, want %d", round, got.Bytes+mapSurplus(s), want)
		}
		if round == 0 {
			reserved = got.Reserved
		}
		if outgrows(got.Reserved, reserved) {
			t.Errorf("round %d: %d bytes reserved, want at most 1.2 times %d", round, got.Reserved, reserved)
		}
	}
}

// TestPatchStaysInBlock changes metadata without another size class.
func TestPatchStaysInBlock(t *testing.T) {
	for _, size := range []int{20, 2000, 100_000} {
		s := open(t, Config{Shards: 1, MaxMeta: 1 << 20, PurgeInterval: never})
		patch := func(b string) []byte { return fmt.Appendf(nil, `{"a":"%s"}`, strings.Repeat(b, size)) }
		tok := mustCreate(t, s, string(patch("x")))
		before := s.shards[0].records.at(0).block
		mustExchange(t, s, tok, patch("y"))
		if after := s.shards[0].records.at(0).block; after != before {
			t.Errorf("%d bytes changed: block %d, want %d as before", size, after, before)
		}
	}
}

func TestEmptyShardIsSmall(t *testing.T) {
	const shards, limit = 4096, 4 << 10
	before := heapBytes()
	s := open(t, Config{Shards: shards})
	if got := (heapBytes() - before) / shards; got >= limit {
		t.Errorf("an empty shard takes %d bytes, want less than %d", got, limit)
	} else {
		t.Logf("an empty shard takes %d bytes", got)
	}
	runtime.KeepAlive(s)
}

// TestNoPointersGrow holds that the garbage collector finds next to nothing to
// scan in a store: its objects are few.
func TestNoPointersGrow(t *testing.T) {
	const sessions = 100_000
	tests := []struct {
		name     string
		cfg      Config
		subjects int
	}{
		{"plain", Config{}, 0},
		{"policies", Config{Grace: time.Minute, MaxLifetime: time.Hour}, sessions / 3},
	}
	for _, test := range tests {
		test.cfg.Shards = 4
		s, names := open(t, test.cfg), testNames(test.subjects)
		before := memStats().HeapObjects
		for i := range sessions {
			n := token.NewSession{Meta: []byte(`{"user":"somebody","roles":["reader","writer"]}`)}
			if test.subjects > 0 {
				n.Subject = names[i%test.subjects]
			}
			mustCreateNew(t, s, n)
		}
		if got, limit := int64(memStats().HeapObjects-before), int64(sessions/100); got > limit {
			t.Errorf("%s: %d sessions make %d objects on the heap, want at most %d", test.name, sessions, got, limit)
		}
		runtime.KeepAlive(s)
		runtime.KeepAlive(names)
	}
}

func TestExchangeAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	tests := []struct {
		name, patch, unset string
		cfg                Config
		new                token.NewSession
	}{
		{name: "no patch"},
		{name: "small patch", patch: `{"n":2}`},
		{name: "new members", patch: `{"m":"abc","n":3}`},
		{name: "twenty members", patch: manyMembers(20)},
		{name: "unset", unset: `["user","m"]`},
		{name: "patch and unset", patch: `{"n":2,"m":3}`, unset: `["user","m"]`},
		{name: "own lifetime", patch: `{"n":2}`, new: token.NewSession{Lifetime: time.Hour}},
		{name: "absolute deadline", patch: `{"n":2}`, cfg: Config{MaxLifetime: time.Hour}},
		{name: "subject", patch: `{"n":2}`, new: token.NewSession{Subject: []byte("ada")}},
		{name: "grace", patch: `{"n":2}`, cfg: Config{Grace: time.Second}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.cfg.Shards, test.cfg.PurgeInterval = 8, never
			test.new.Meta = []byte(`{"user":"somebody","n":1}`)
			s := open(t, test.cfg)
			tok, dst := mustCreateNew(t, s, test.new), make([]byte, 0, 4096)
			var patch token.Patch
			if test.patch != "" {
				patch.Meta = []byte(test.patch)
			}
			if test.unset != "" {
				patch.Unset = []byte(test.unset)
			}
			allocs := testing.AllocsPerRun(1000, func() {
				x, err := s.Exchange(t.Context(), tok, patch, dst)
				if err != nil {
					t.Fatalf("Exchange = error %v", err)
				}
				tok = x.Token
			})
			if allocs != 0 {
				t.Errorf("an exchange makes %v allocations, want 0", allocs)
			}
		})
	}
}

func manyMembers(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"member%d":%d`, i, i)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestValidateAllocatesNothing(t *testing.T) {
	s := open(t, Config{Shards: 8, PurgeInterval: never})
	tok, dst := mustCreate(t, s, `{"user":"somebody","n":1}`), make([]byte, 0, 1024)
	allocs := testing.AllocsPerRun(1000, func() {
		if _, _, err := s.Validate(t.Context(), tok, dst); err != nil {
			t.Fatalf("Validate = error %v", err)
		}
	})
	if allocs != 0 {
		t.Errorf("a look makes %v allocations, want 0", allocs)
	}
}

// mapSurplus is by how much less the sessions' maps take than they may.
func mapSurplus(s *Store) (surplus int64) {
	for i := range s.shards {
		sh := &s.shards[i]
		surplus += int64(sh.sessions.n)*mapCost - sh.sessions.used(mapCost)
		surplus += int64(sh.subjects.n)*subjectCost - sh.subjects.used(subjectCost)
	}
	return surplus
}

// What is used is never more than what is reserved.
func TestUsedIsReserved(t *testing.T) {
	s := open(t, Config{Shards: 4})
	for n := range 20_000 {
		mustCreate(t, s, `{}`)
		if n%1000 == 0 {
			if got := s.Stats(); got.Bytes > got.Reserved {
				t.Errorf("%d sessions: %d bytes used, %d reserved, want no more used", n+1, got.Bytes, got.Reserved)
			}
		}
	}
}
