package shard

import (
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/token"
)

// checkPolicies checks that each policy state is free or that of one live record, and
// that each subject's list has its sessions, the newest first.
func checkPolicies(t testing.TB, sh *shard, live []recordIndex) {
	t.Helper()
	used := make(map[policyIndex]bool)
	subjects := make(map[Subject]int)
	for _, i := range live {
		_, e := sh.contentLocked(sh.records.at(i))
		if e == 0 {
			continue
		}
		if used[e] || sh.policies.at(e).record != i {
			t.Errorf("record %d: policy state %d is not its own", i, e)
		}
		used[e] = true
		if subject := sh.policies.at(e).subject; subject != (Subject{}) {
			subjects[subject]++
		}
	}
	free := uint32(0)
	prev := policyIndex(0)
	for e := sh.policies.free; e != 0 && free <= sh.policies.n; e = sh.policies.at(e).next {
		if used[e] || sh.policies.at(e).record != noRecord || sh.policies.at(e).prev != prev {
			t.Errorf("policy state %d is used and free, or not linked to %d", e, prev)
		}
		prev = e
		free++
	}
	if int(sh.policies.used) != len(used) || sh.policies.used+free != sh.policies.n {
		t.Errorf("%d policies: %d in use, %d counted, %d free", sh.policies.n, len(used), sh.policies.used, free)
	}
	if sh.subjects.n != len(subjects) {
		t.Errorf("%d subjects in the index, %d among the sessions", sh.subjects.n, len(subjects))
	}
	for subject, n := range subjects {
		checkSubject(t, sh, subject, n)
	}
}

func checkSubject(t testing.TB, sh *shard, subject Subject, want int) {
	t.Helper()
	newest, _ := sh.subjects.get(subject)
	if newest == 0 {
		t.Errorf("a subject with %d sessions is not in the index", want)
		return
	}
	n, i := 0, newest
	for {
		e := sh.policies.at(i)
		if e.subject != subject || sh.policies.at(e.next).prev != i {
			t.Errorf("policy state %d: the subject's list is broken", i)
			return
		}
		if n++; e.next == newest || n > want {
			break
		}
		if e.created < sh.policies.at(e.next).created {
			t.Errorf("policy state %d: an older session comes before a newer one", e.next)
		}
		i = e.next
	}
	if n != want {
		t.Errorf("a subject's list has %d sessions, want %d", n, want)
	}
}

func TestIDForKeepsSubjectsTogether(t *testing.T) {
	for _, shards := range []int{1, 2, 64, MaxShards} {
		s := New(Config{Shards: shards})
		for range 100 {
			name := token.Generate().Append(nil)
			subject := NewSubject(name)
			want := &s.shards[subject.hash()>>s.shift]
			seen := make(map[token.ID]bool)
			for range 10 {
				id := idFor(subject, token.Generate().ID)
				if s.shard(id) != want {
					t.Fatalf("%d shards: a session is not in its subject's shard", shards)
				}
				seen[id] = true
			}
			if len(seen) != 10 {
				t.Fatalf("10 random ids of a subject are %d", len(seen))
			}
		}
		s.Close()
	}
}

func TestPolicyStateRenewed(t *testing.T) {
	tests := []struct {
		own              time.Duration
		absoluteDeadline timestamp
		now              timestamp
		lifetime         time.Duration
		want             timestamp
	}{
		{0, 0, 100, 50, 150},
		{30, 0, 100, 50, 130},
		{80, 0, 100, 50, 180},
		{0, 151, 100, 50, 150},
		{0, 150, 100, 50, 150},
		{0, 149, 100, 50, 149},
		{30, 149, 100, 50, 130},
		{80, 149, 100, 50, 149},
		{0, -1, -100, 50, -50}, // of a session that was restored
		{0, -60, -100, 50, -60},
	}
	for _, test := range tests {
		e := policyState{lifetime: test.own, absoluteDeadline: test.absoluteDeadline}
		if got := e.renewed(test.now, test.lifetime); got != test.want {
			t.Errorf("renewed(%d, %d), own lifetime %d, absolute deadline %d, = %d, want %d",
				test.now, test.lifetime, test.own, test.absoluteDeadline, got, test.want)
		}
	}
}

func TestPolicyStateSpentAt(t *testing.T) {
	var e policyState
	for spends := 1; spends <= 3*token.GraceDepth; spends++ {
		e.spend(timestamp(10 * spends))
		for age := 1; age <= min(spends, token.GraceDepth); age++ {
			if got, want := e.spentAt(age), timestamp(10*(spends-age+1)); got != want {
				t.Errorf("after %d exchanges: spentAt(%d) = %d, want %d", spends, age, got, want)
			}
		}
	}
}

func TestPolicySlabReuse(t *testing.T) {
	s := policySlab{chunks: chunked[policyState]{memory: newMemory()}}
	const n = 3000
	for i := range policyIndex(n) {
		s.reserve()
		if got := s.alloc(); got != i+1 {
			t.Fatalf("alloc = policy state %d, want %d", got, i+1)
		}
		*s.at(i + 1) = policyState{created: timestamp(i)}
	}
	for i := range policyIndex(n) {
		s.release(i + 1)
	}
	if s.used != 0 || *s.at(7) != (policyState{record: noRecord, next: 6, prev: 8}) {
		t.Errorf("all released: %d in use, policy state 7 is %+v", s.used, *s.at(7))
	}
	for i := range policyIndex(n) {
		if got, want := s.alloc(), n-i; got != want {
			t.Fatalf("alloc = policy state %d, want %d again", got, want)
		}
	}
	if s.n != n || s.used != n {
		t.Errorf("%d policies made, %d in use, want %d, %d", s.n, s.used, n, n)
	}
}

// TestPolicyStateIsSmall holds how much more a session takes that has a policy state.
func TestPolicyStateIsSmall(t *testing.T) {
	if policySize != 120 {
		t.Errorf("a policy state has %d bytes, want 120", policySize)
	}
}

// TestPlainSessionsHaveNoPolicyState makes all kinds of calls on sessions without a
// subject and a lifetime of their own, in a store without grace and absolute
// deadline: nothing of the policies takes memory.
func TestPlainSessionsHaveNoPolicyState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sessions = 1000
		s := open(t, Config{Shards: 4, Lifetime: time.Hour, PurgeInterval: never})
		for range sessions {
			tok := mustCreateNew(t, s, token.NewSession{Meta: []byte(`{"a":1}`), Subject: []byte{}})
			next := mustExchange(t, s, mustExchange(t, s, tok, nil), []byte(`{"a":2}`))
			s.Exchange(t.Context(), tok, token.Patch{}, nil)
			s.Delete(t.Context(), tok)
			s.Validate(t.Context(), next, nil)
		}
		s.EndSubject(t.Context(), []byte("ada"))
		s.SubjectSessions(t.Context(), []byte("ada"), token.Page{Limit: 10})
		for i := range s.shards {
			sh := &s.shards[i]
			if sh.policies.n != 0 || len(sh.policies.chunks.chunks) != 0 || sh.subjects.m != nil || sh.pending.writes != nil {
				t.Errorf("shard %d: %d policies in %d chunks, %d subjects, %d changes under way, want none",
					i, sh.policies.n, len(sh.policies.chunks.chunks), sh.subjects.n, len(sh.pending.writes))
			}
		}
		const want = sessions * (90 + 16) // a block of 16 bytes holds 7 of metadata
		if got := s.Stats().Bytes + mapSurplus(s); got != want {
			t.Errorf("%d sessions take %d bytes, want %d", sessions, got, want)
		}
	})
}

// TestOnlySomeSessionsHavePolicyState counts policy states beside plain sessions, whose
// memory they leave alone.
func TestOnlySomeSessionsHavePolicyState(t *testing.T) {
	const meta = `{"a":1}`
	tests := []struct {
		name string
		cfg  Config
		new  token.NewSession
		want bool
	}{
		{"plain", Config{}, token.NewSession{}, false},
		{"subject", Config{}, token.NewSession{Subject: []byte("ada")}, true},
		{"own lifetime", Config{}, token.NewSession{Lifetime: time.Hour}, true},
		{"grace", Config{Grace: time.Second}, token.NewSession{}, true},
		{"absolute deadline", Config{MaxLifetime: time.Hour}, token.NewSession{}, true},
		{"all", Config{Grace: time.Second, MaxLifetime: time.Hour}, token.NewSession{Subject: []byte("ada"), Lifetime: time.Hour}, true},
	}
	for _, test := range tests {
		s := open(t, test.cfg)
		test.new.Meta = []byte(meta)
		tok := mustCreateNew(t, s, test.new)
		want := sessionCost(len(meta), test.want)
		if test.new.Subject != nil {
			want += subjectCost
		}
		if got := s.Stats().Bytes + mapSurplus(s); got != want {
			t.Errorf("%s: a session takes %d bytes, want %d", test.name, got, want)
		}
		s.Delete(t.Context(), tok)
		if got := s.Stats().Bytes; got != 0 {
			t.Errorf("%s: deleted: %d bytes in use, want 0", test.name, got)
		}
	}
	s := open(t, Config{})
	for range 10 {
		mustCreate(t, s, meta)
		createFor(t, s, "ada", 1)
	}
	if got, want := s.Stats().Bytes+mapSurplus(s), 10*(sessionCost(len(meta), false)+sessionCost(len(meta), true))+subjectCost; got != want {
		t.Errorf("10 sessions with a subject and 10 without take %d bytes, want %d", got, want)
	}
}
