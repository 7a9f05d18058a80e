package durable

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tokenserver/internal/stats"
)

func TestStatsInDetail(t *testing.T) {
	s := mustOpen(t, memConfig(vfs.NewMem()))
	defer mustClose(t, s)
	var detail stats.Detail
	before := s.StatsInDetail(&detail).Disk
	for range 3 {
		mustCreate(t, s, `{}`)
	}
	st := s.StatsInDetail(&detail)
	if st.Sessions != 3 || len(detail.Shards) == 0 {
		t.Errorf("%d sessions in %d shards, want 3 in some", st.Sessions, len(detail.Shards))
	}
	got := st.Disk
	if got.Changes-before.Changes != 3 || got.Groups-before.Groups != 3 || got.Syncs-before.Syncs < 3 {
		t.Errorf("disk = %+v, before %+v, want 3 changes in 3 groups, with a sync each", got, before)
	}
}
