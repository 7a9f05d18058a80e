package main

import (
	"tokenserver/admin"
	"tokenserver/durable"
	"tokenserver/server"
)

// storeStats translates the statistics of the store for the admin listener.
func storeStats(s store) admin.StoreStats {
	st := s.Stats()
	return admin.StoreStats{
		Shards:           s.ShardCount(),
		Sessions:         st.Sessions,
		Bytes:            st.Bytes,
		Reserved:         st.Reserved,
		Created:          st.Created,
		Exchanged:        st.Exchanged,
		Invalid:          st.Invalid,
		Deleted:          st.Deleted,
		Purged:           st.Purged,
		Replayed:         st.Replayed,
		Reused:           st.Reused,
		Revoked:          st.Revoked,
		Ended:            st.Ended,
		Subjects:         st.Subjects,
		LockWait:         st.LockWait,
		Contended:        st.Contended,
		LongestPurgeHold: s.LongestPurgeHold(),
		Disk:             diskStats(s),
	}
}

// diskStats returns nil for a store that keeps nothing on a disk.
func diskStats(s store) *admin.DiskStats {
	d, ok := s.(*durable.Store)
	if !ok {
		return nil
	}
	st := &admin.DiskStats{Bytes: d.DiskBytes(), Free: -1}
	if free, ok := d.DiskFree(); ok {
		st.Free = free
	}
	st.Syncs, st.SyncTime = d.Syncs()
	return st
}

// requestStats translates the statistics of the server for the admin listener.
func requestStats(s *server.Server) admin.RequestStats {
	st := s.Stats()
	out := admin.RequestStats{
		Requests:  make([]admin.RequestCount, len(st.Requests)),
		Durations: admin.Histogram(st.Durations),
	}
	for i, r := range st.Requests {
		out.Requests[i] = admin.RequestCount(r)
	}
	return out
}
