package shard

import (
	"testing"

	"tokenserver/token"
)

// checkExtras checks that each extra is free or that of one live record, and
// that each subject's list has its sessions, the newest first.
func checkExtras(t testing.TB, sh *shard, live []recordIndex) {
	t.Helper()
	used := make(map[extraIndex]bool)
	subjects := make(map[Subject]int)
	for _, i := range live {
		_, e := sh.contentLocked(sh.records.at(i))
		if e == 0 {
			continue
		}
		if used[e] || sh.extras.at(e).record != i {
			t.Errorf("record %d: extra %d is not its own", i, e)
		}
		used[e] = true
		if subject := sh.extras.at(e).subject; subject != (Subject{}) {
			subjects[subject]++
		}
	}
	free := uint32(0)
	for e := sh.extras.free; e != 0 && free <= sh.extras.n; e = sh.extras.at(e).next {
		if used[e] {
			t.Errorf("extra %d is used and free", e)
		}
		free++
	}
	if int(sh.extras.used) != len(used) || sh.extras.used+free != sh.extras.n {
		t.Errorf("%d extras: %d in use, %d counted, %d free", sh.extras.n, len(used), sh.extras.used, free)
	}
	if len(sh.subjects) != len(subjects) {
		t.Errorf("%d subjects in the index, %d among the sessions", len(sh.subjects), len(subjects))
	}
	for subject, n := range subjects {
		checkSubject(t, sh, subject, n)
	}
}

func checkSubject(t testing.TB, sh *shard, subject Subject, want int) {
	t.Helper()
	newest := sh.subjects[subject]
	if newest == 0 {
		t.Errorf("a subject with %d sessions is not in the index", want)
		return
	}
	n, i := 0, newest
	for {
		e := sh.extras.at(i)
		if e.subject != subject || sh.extras.at(e.next).prev != i {
			t.Errorf("extra %d: the subject's list is broken", i)
			return
		}
		if n++; e.next == newest || n > want {
			break
		}
		if e.created < sh.extras.at(e.next).created {
			t.Errorf("extra %d: an older session comes before a newer one", e.next)
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
