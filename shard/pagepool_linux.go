package shard

import (
	"syscall"
	"unsafe"
)

// heapArena is how much address space the heap of Go grows by on 64-bit Linux.
const heapArena = 64 << 20

// adviseHugePages asks for huge pages, for memory and for the heap around it:
// the maps of the shards grow beside the pages, and are looked up as often.
// Where there are none, all works the same, only slower.
func adviseHugePages(memory []byte) {
	first := uintptr(unsafe.Pointer(&memory[0]))
	start := first &^ (heapArena - 1)
	end := (first + uintptr(len(memory)) + heapArena - 1) &^ (heapArena - 1)
	// Parts that the heap has not mapped yet give an error, and the others the advice.
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, start, end-start, syscall.MADV_HUGEPAGE)
}

// releaseMemory gives memory back to the kernel, which makes it anew, with zeros,
// when it is touched. An error leaves it as it is.
func releaseMemory(memory []byte) {
	first := uintptr(unsafe.Pointer(&memory[0]))
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, first, uintptr(len(memory)), syscall.MADV_DONTNEED)
}
