package access

import (
	"hash/maphash"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// Of those who are refused.
const (
	// failureDelay is how long the answer to the only failure of an address waits. It is
	// added up for those that come together, up to maxDelay.
	failureDelay = 100 * time.Millisecond
	maxDelay     = time.Second
	// maxDelayed is how many answers of a listener wait at a time, at most.
	maxDelayed = 1024
	// delayedShare is which part of a listener's connections may wait: one in so many.
	delayedShare = 4
	// addressSlots is how many addresses are told apart. Those that share a slot share
	// their delays.
	addressSlots = 4096
	// networkBits is how much of an IPv6 address counts: the rest is for anybody to choose.
	networkBits = 64
)

// failures delays failed answers by address, in memory that does not grow.
type failures struct {
	start time.Time
	seed  maphash.Seed
	total atomic.Uint64
	// until has the time, in nanoseconds since start, up to which each slot's answers
	// that are under way wait.
	until [addressSlots]atomic.Int64
}

func (f *failures) init() { f.start, f.seed = time.Now(), maphash.MakeSeed() }

func (f *failures) refuse(remote net.Addr, delayed *Delayed, done <-chan struct{}) (waited bool) {
	f.total.Add(1)
	delay := f.count(networkOf(remote), time.Since(f.start))
	defer delayed.now.Add(-1)
	if delayed.now.Add(1) > delayed.max {
		return false
	}
	wait(delay, done)
	return true
}

// Delayed counts the refusals of a listener that wait. Each of them holds a connection: if
// they held all, good callers would wait too.
type Delayed struct {
	max int64
	now atomic.Int64
}

// NewDelayed returns a count for a listener with a limit of connections, a quarter of which
// may wait, and at least one. 0 means that there is no limit.
func NewDelayed(connections int) *Delayed {
	if connections == 0 {
		return &Delayed{max: maxDelayed}
	}
	return &Delayed{max: min(max(int64(connections)/delayedShare, 1), maxDelayed)}
}

func wait(d time.Duration, done <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}

// count counts a failure, and returns how long its answer has to wait.
func (f *failures) count(network netip.Addr, now time.Duration) time.Duration {
	until := &f.until[maphash.Comparable(f.seed, network)%addressSlots]
	for {
		old := until.Load()
		next := min(max(old, int64(now))+int64(failureDelay), int64(now+maxDelay))
		if until.CompareAndSwap(old, next) {
			return time.Duration(next) - now
		}
	}
}

// networkOf returns what of an address counts, and none for what is no IP address.
func networkOf(remote net.Addr) netip.Addr {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() {
		network, _ := ip.Prefix(networkBits)
		return network.Addr()
	}
	return ip
}
