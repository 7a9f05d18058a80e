package server

// absent is the index of a connection that is not registered.
const absent = -1

// add registers a new connection. It returns false once the server has stopped.
func (r *reaper) add(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.index = absent
	if r.closed {
		return false
	}
	c.enter(fresh, r.request)
	c.index = len(r.conns)
	r.conns = append(r.conns, c)
	return true
}

func (r *reaper) remove(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removeLocked(c)
}

// removeLocked requires r.mu.
func (r *reaper) removeLocked(c *conn) {
	if c.index == absent {
		return
	}
	last := len(r.conns) - 1
	r.conns[c.index] = r.conns[last]
	r.conns[c.index].index = c.index
	r.conns[last] = nil
	r.conns, c.index = r.conns[:last], absent
	if last == 0 {
		select {
		case r.emptied <- struct{}{}:
		default:
		}
	}
}

// release takes a connection that is about to linger out of the reaper's care.
// No deadline of the reaper's follows. It returns false if the connection is dead.
func (r *reaper) release(c *conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.set(newStep(late, never)) != dead
}

// open returns how many connections there are.
func (r *reaper) open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}
