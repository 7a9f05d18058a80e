package shard

import (
	"encoding/binary"
	"sync"
)

// pagePool hands out the memory of all shards in pages, which are cut from
// regions that the kernel is asked to back with huge pages: at millions of
// sessions an exchange spends more on finding memory than on anything else.
//
// Regions are never given up; a page that a shard gives back serves any other.
type pagePool struct {
	mu      sync.Mutex // guards all below; a shard's lock may be held, none is taken under it
	regions [][]byte
	n       uint32 // pages cut so far; the regions' rest is uncut
	free    uint32 // first free page, linked by each one's first four bytes
	frees   uint32 // free pages
}

const (
	pageSize       = 64 << 10 // bytes
	pagesPerRegion = 64       // 4 MiB: little to wipe if the memory is not fresh
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
	if number := p.free; number != 0 {
		data := p.dataLocked(number)
		p.free = binary.LittleEndian.Uint32(data)
		p.frees--
		return poolPage{number, data}
	}
	if p.n == uint32(len(p.regions)*pagesPerRegion) {
		region := make([]byte, pagesPerRegion*pageSize)
		adviseHugePages(region)
		p.regions = append(p.regions, region)
	}
	p.n++
	return poolPage{p.n, p.dataLocked(p.n)}
}

// give takes a page back.
func (p *pagePool) give(number uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	binary.LittleEndian.PutUint32(p.dataLocked(number), p.free)
	p.free = number
	p.frees++
}

// freeBytes returns how many bytes are in free pages.
func (p *pagePool) freeBytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(p.frees) * pageSize
}

// dataLocked returns the memory of a page. It requires mu.
func (p *pagePool) dataLocked(number uint32) []byte {
	i := number - 1
	return p.regions[i/pagesPerRegion][i%pagesPerRegion*pageSize:][:pageSize:pageSize]
}
