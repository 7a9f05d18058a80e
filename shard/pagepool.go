package shard

import (
	"math/bits"
	"sync"
)

// pagePool hands out the memory of all shards in pages, which are cut from
// regions that the kernel is asked to back with huge pages: at millions of
// sessions an exchange spends more on finding memory than on anything else.
//
// A page that a shard gives back serves any other. Pages come out of the first
// regions that have some, so that the last ones get free as a whole.
type pagePool struct {
	mu      sync.Mutex // guards all below; a shard's lock may be held, none is taken under it
	regions []region
	first   int // no region before it has free pages
}

// region is a run of pages. Bit i of the masks stands for page i.
type region struct {
	data     []byte // nil once the region is given back
	free     uint64
	idle     uint64 // free since before the last giveBack
	released uint64 // idle, and its memory is the kernel's again
}

const (
	pageSize       = 64 << 10 // bytes
	pagesPerRegion = 64       // 4 MiB: little to wipe if the memory is not fresh
	allPages       = 1<<pagesPerRegion - 1
)

// poolPage is memory for a shard. What is in it is not wiped.
type poolPage struct {
	number uint32 // counted from 1; 0 is none
	data   []byte // pageSize bytes
}

// take returns a page.
func (p *pagePool) take() poolPage {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.first < len(p.regions) && p.regions[p.first].free == 0 {
		p.first++
	}
	if p.first == len(p.regions) {
		p.addRegionLocked()
	}
	r := &p.regions[p.first]
	i := bits.TrailingZeros64(r.free)
	r.free &^= 1 << i
	r.idle &= r.free
	r.released &= r.free
	return poolPage{uint32(p.first*pagesPerRegion + i + 1), r.page(i)}
}

// addRegionLocked makes a region, in place of one that was given back if there is
// one. It requires mu.
func (p *pagePool) addRegionLocked() {
	made := region{data: make([]byte, pagesPerRegion*pageSize), free: allPages}
	adviseHugePages(made.data)
	for i := range p.regions {
		if p.regions[i].data == nil {
			p.regions[i], p.first = made, i
			return
		}
	}
	p.regions = append(p.regions, made)
}

// give takes a page back.
func (p *pagePool) give(number uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := int(number-1) / pagesPerRegion
	p.regions[i].free |= 1 << ((number - 1) % pagesPerRegion)
	p.first = min(p.first, i)
}

// page returns the memory of a page.
func (r *region) page(i int) []byte {
	return r.data[i*pageSize:][:pageSize:pageSize]
}
