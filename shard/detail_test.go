package shard

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"tokenserver/internal/stats"
	"tokenserver/token"
)

func TestDetail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Config{Shards: 4, PurgeInterval: time.Minute})
		for _, lifetime := range []time.Duration{7 * time.Minute, 8 * time.Minute, time.Hour, 3 * time.Hour} {
			mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Lifetime: lifetime})
		}
		var d stats.Detail
		st := s.StatsInDetail(&d)
		sum := int64(0)
		for _, shard := range d.Shards {
			sum += shard.Sessions
		}
		if len(d.Shards) != 4 || sum != 4 || st.Sessions != 4 || st.Created != 4 {
			t.Errorf("%d shards with %d sessions, and %+v, want 4 with 4", len(d.Shards), sum, st)
		}
		want := stats.Expiring{Later: 1, Sampled: 4, Exact: true}
		want.Steps[1], want.Steps[12] = 2, 1
		if d.Expiring != want {
			t.Errorf("expiring = %+v, want %+v", d.Expiring, want)
		}
		if len(d.Purges) != 0 {
			t.Errorf("purges = %v, want none yet", d.Purges)
		}
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		s.StatsInDetail(&d)
		purged := 0
		for _, p := range d.Purges {
			purged += p.Sessions
		}
		if len(d.Purges) != maxRecent || purged != 2 || !d.Purges[0].Ended.After(d.Purges[1].Ended) {
			t.Errorf("purges = %+v, want %d, the newest first, with 2 sessions", d.Purges, maxRecent)
		}
	})
}

// What is estimated from some of the sessions is near what there is.
func TestDetailOfManySessions(t *testing.T) {
	for _, shards := range []int{1, 16} {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Config{Shards: shards, PurgeInterval: never})
			const n = 20_000
			for i := range n {
				mustCreateNew(t, s, token.NewSession{Meta: []byte(`{}`), Lifetime: time.Duration(1+i%100)*time.Minute + time.Second})
			}
			var d stats.Detail
			var got stats.Expiring
			const looks = 100
			for range looks {
				s.StatsInDetail(&d)
				for i, count := range d.Expiring.Steps {
					got.Steps[i] += count / looks
				}
				got.Later += d.Expiring.Later / looks
			}
			if d.Expiring.Exact || got.Later != 0 {
				t.Errorf("%d shards: exact = %v, later = %v, want an estimate and none", shards, d.Expiring.Exact, got.Later)
			}
			for i, count := range got.Steps[1:20] {
				if want := float64(n) / 20; math.Abs(count-want) > 0.25*want {
					t.Errorf("%d shards: step %d has %.0f, want about %.0f", shards, i+1, count, want)
				}
			}
		})
	}
}
