package shard

// memory is what one shard has reserved. All that it holds is taken here first,
// and what does not fit into the budget fails before anything has changed.
type memory struct {
	pool     *pagePool
	quota    *quota // of all shards
	reserved int64  // bytes
	// exempt says that no limit holds, since sessions are being restored.
	exempt bool
}

// take takes n bytes, if there is room; less than nothing, which gives back, in any case.
func (m *memory) take(n int64) bool {
	if m.exempt {
		m.quota.add(n)
	} else if !m.quota.take(n) {
		return false
	}
	m.reserved += n
	return true
}

// give gives n bytes back.
func (m *memory) give(n int64) {
	m.quota.give(n)
	m.reserved -= n
}

// takePage takes a page of the pool, in place of some bytes that were taken before.
func (m *memory) takePage(instead int64) (poolPage, bool) {
	if !m.take(pageSize - instead) {
		return poolPage{}, false
	}
	return m.pool.take(), true
}

// givePage gives a page of the pool back.
func (m *memory) givePage(number uint32) {
	m.pool.give(number)
	m.give(pageSize)
}
