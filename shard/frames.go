package shard

import (
	"encoding/binary"
	"sync"
)

// frames hands out the memory of all shards in frames, which are cut from
// regions that the kernel is asked to back with huge pages: at millions of
// sessions an exchange spends more on finding memory than on anything else.
//
// Regions are never given up; a frame that a shard gives back serves any other.
type frames struct {
	mu      sync.Mutex // guards all below
	regions [][]byte
	n       uint32 // frames cut so far; the regions' rest is uncut
	free    uint32 // first free frame, linked by each one's first four bytes
	frees   uint32 // free frames
}

const (
	frameSize       = 64 << 10
	framesPerRegion = 64 // 4 MiB: little to wipe if the memory is not fresh
)

// frame is memory for a shard. What is in it is not wiped.
type frame struct {
	number uint32 // counted from 1; 0 is none
	data   []byte
}

// take returns a frame.
func (f *frames) take() frame {
	f.mu.Lock()
	defer f.mu.Unlock()
	if number := f.free; number != 0 {
		data := f.dataLocked(number)
		f.free = binary.LittleEndian.Uint32(data)
		f.frees--
		return frame{number, data}
	}
	if f.n == uint32(len(f.regions)*framesPerRegion) {
		region := make([]byte, framesPerRegion*frameSize)
		adviseHugePages(region)
		f.regions = append(f.regions, region)
	}
	f.n++
	return frame{f.n, f.dataLocked(f.n)}
}

// give takes a frame back.
func (f *frames) give(number uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	binary.LittleEndian.PutUint32(f.dataLocked(number), f.free)
	f.free = number
	f.frees++
}

// freeBytes returns how many bytes are in free frames.
func (f *frames) freeBytes() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return int64(f.frees) * frameSize
}

func (f *frames) dataLocked(number uint32) []byte {
	i := number - 1
	return f.regions[i/framesPerRegion][i%framesPerRegion*frameSize:][:frameSize:frameSize]
}
