package shard

import (
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/token"
)

// TestMemoryGivenBack deletes half a million sessions: a minute later the process has
// next to nothing left of them.
func TestMemoryGivenBack(t *testing.T) {
	sessions := 500_000
	if raceEnabled || testing.Short() {
		sessions = 100_000
	}
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 32, PurgeInterval: never})
		meta := metaOf(112)
		tokens := make([]token.Token, sessions)
		before := heapBytes()
		for i := range tokens {
			tokens[i] = mustCreateNew(t, s, token.NewSession{Meta: meta, Subject: []byte{byte(i), byte(i >> 8), byte(i >> 16), 1}})
		}
		full := heapBytes() - before
		for _, tok := range tokens {
			s.Delete(t.Context(), tok)
		}
		wantBound(t, s)
		time.Sleep(time.Minute + giveBackInterval)
		synctest.Wait()
		empty, limit := heapBytes()-before, full/10+16<<20
		t.Logf("%d sessions: %d bytes of the heap; without them %d", sessions, full, empty)
		if empty > limit {
			t.Errorf("the heap has %d bytes of %d left, want at most %d", empty, full, limit)
		}
		runtime.KeepAlive(tokens)
	})
}

func TestGiveBack(t *testing.T) {
	var pool pagePool
	taken := make([]poolPage, 3*pagesPerRegion)
	for i := range taken {
		taken[i] = pool.take()
	}
	give := func(pages []poolPage) {
		for _, page := range pages {
			pool.give(page.number)
		}
	}
	want := func(what string, regions int, released ...int) {
		t.Helper()
		pool.giveBack()
		n := 0
		var got []int
		for i, r := range pool.regions {
			if r.data != nil {
				n++
			}
			for page := range pagesPerRegion {
				if r.released>>page&1 != 0 {
					got = append(got, i*pagesPerRegion+page)
				}
			}
		}
		if n != regions || !slices.Equal(got, released) {
			t.Errorf("%s: %d regions, pages %v released, want %d, %v", what, n, got, regions, released)
		}
	}
	want("all taken", 3)
	give(taken[3:6])
	give(taken[9:10])
	give(taken[2*pagesPerRegion:])
	want("just freed", 3)
	want("free for long", 2, 3, 4, 5, 9)
	want("again", 2, 3, 4, 5, 9)

	page := pool.take()
	if page.number != taken[3].number {
		t.Fatalf("take = page %d, want %d", page.number, taken[3].number)
	}
	page.data[0], page.data[pageSize-1] = 1, 1
	want("one taken", 2, 4, 5, 9)
	pool.give(page.number)
	pool.take()
	pool.give(page.number)
	want("free for a moment", 2, 4, 5, 9)
	for range 4 {
		pool.take()
	}
	if got := pool.take().number; got != 2*pagesPerRegion+1 { // in place of the one that is gone
		t.Errorf("take = page %d, want %d", got, 2*pagesPerRegion+1)
	}
	want("region made anew", 3)
}

// TestReleasedIsZero holds that what the system has taken back can be used again.
func TestReleasedIsZero(t *testing.T) {
	memory := make([]byte, 4*pageSize)
	for i := range memory {
		memory[i] = byte(i) | 1
	}
	kept := slices.Clone(memory[:pageSize])
	releaseMemory(memory[pageSize:][:2*pageSize])
	if !slices.Equal(memory[:pageSize], kept) {
		t.Error("the page before it changed")
	}
	if runtime.GOOS == "linux" && slices.Max(memory[pageSize:][:2*pageSize]) != 0 {
		t.Error("what was released is not zero")
	}
}
