package durable

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/token"
)

var long = flag.Bool("durable.long", false, "run TestDiskStaysSmall with 10^7 exchanges of 10^5 sessions, and TestLoadTime, on disk")

// TestDiskStaysSmall: what is overwritten and deleted does not pile up. Its
// short form has the same proportions.
func TestDiskStaysSmall(t *testing.T) {
	sessions, exchanges := 2_000, 100_000
	cfg := memConfig(vfs.NewMem())
	cfg.MemTableBytes = 1 << 20
	if *long {
		sessions, exchanges = 100_000, 10_000_000
		cfg = diskConfig(t)
		cfg.MemTableBytes = 0
	}
	cfg.Fsync = EverySecond
	s := mustOpen(t, cfg)
	defer mustClose(t, s)
	meta := fmt.Sprintf(`{"user":"somebody@example.org","csrf":"%032d"}`, 0)
	tokens := make([]token.Token, sessions)
	for i := range tokens {
		tokens[i] = mustCreate(t, s, meta)
	}
	record := int64(len(meta) + fixedLen + len(token.ID{}))
	limit := 3*int64(sessions)*record + 4*cfg.withDefaults().MemTableBytes
	rng, most := rand.New(rand.NewPCG(1, 2)), int64(0)
	for n := range exchanges {
		i := rng.IntN(sessions)
		if n%50 == 49 { // some end, and others begin
			if err := s.Delete(t.Context(), tokens[i]); err != nil {
				t.Fatal(err)
			}
			tokens[i] = mustCreate(t, s, meta)
			continue
		}
		tokens[i] = mustExchange(t, s, tokens[i], "")
		if n%1000 == 0 {
			most = max(most, s.Stats().Disk.Bytes)
		}
	}
	t.Logf("%d bytes on disk at most, %d at the end, the limit is %d", most, s.Stats().Disk.Bytes, limit)
	if most > limit {
		t.Errorf("there are up to %d bytes on disk, want %d at most", most, limit)
	}
}

// TestLoadTime loads a million sessions, which may take five seconds.
func TestLoadTime(t *testing.T) {
	if !*long {
		t.Skip("takes half a minute: -durable.long")
	}
	const sessions, creators = 1_000_000, 4
	cfg := diskConfig(t)
	cfg.MemTableBytes, cfg.Fsync = 0, EverySecond
	s := mustOpen(t, cfg)
	var done sync.WaitGroup
	for range creators {
		done.Go(func() {
			for i := range sessions / creators {
				mustCreate(t, s, fmt.Sprintf(`{"user":"somebody%d@example.org","roles":["reader","writer"],"cart":[1,2,3]}`, i))
			}
		})
	}
	done.Wait()
	mustClose(t, s)
	start := time.Now()
	s = mustOpen(t, cfg)
	took := time.Since(start)
	if got := s.Stats().Sessions; got != sessions || took > 5*time.Second {
		t.Errorf("%d sessions loaded in %v, want %d in 5s at most", got, took, sessions)
	}
	t.Logf("%d sessions loaded in %v", sessions, took)
	mustClose(t, s)
}
