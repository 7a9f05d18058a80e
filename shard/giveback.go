package shard

import (
	"math/bits"
	"runtime/debug"
	"time"
)

// giveBackInterval is the time between two looks at what is free: memory that two
// of them have found free goes back to the system, and so within a minute.
const giveBackInterval = 30 * time.Second

// collectAfter is how many regions have to go at once for the garbage collector to
// be asked to return what it has, instead of waiting for its time: then most
// sessions have ended, and their maps and small pages are garbage too.
const collectAfter = 16

// giveBack gives memory back to the system that has been free since the last call:
// whole regions, and the pages of others. Only one call may be under way.
func (p *pagePool) giveBack() {
	dropped := 0
	for i := 0; ; i++ {
		r, ok := p.takeIdle(i)
		if !ok {
			break
		}
		for pages := r.idle; pages != 0; { // run by run
			from := bits.TrailingZeros64(pages)
			n := bits.TrailingZeros64(^(pages >> from))
			releaseMemory(r.data[from*pageSize:][:n*pageSize])
			pages &^= (1<<n - 1) << from
		}
		if r.free == allPages {
			dropped++
		} else {
			p.giveReleased(i, r.idle)
		}
	}
	if dropped >= collectAfter {
		debug.FreeOSMemory()
	}
}

// takeIdle returns a region with the pages that are to be released as idle: nobody
// is given one meanwhile. One that has only those it forgets. It returns false if
// there is no such region.
func (p *pagePool) takeIdle(i int) (idle region, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i >= len(p.regions) {
		return region{}, false
	}
	r := &p.regions[i]
	idle = region{data: r.data, free: r.idle, idle: r.idle &^ r.released}
	if r.idle == allPages {
		*r = region{}
		return idle, true
	}
	r.idle = r.free
	r.free &^= idle.idle
	r.idle &^= idle.idle
	return idle, true
}

// giveReleased takes pages back that takeIdle has returned.
func (p *pagePool) giveReleased(i int, pages uint64) {
	if pages == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.regions[i]
	r.free, r.idle, r.released = r.free|pages, r.idle|pages, r.released|pages
	p.first = min(p.first, i)
}
