package shard

import "syscall"

// adviseHugePages asks for huge pages. Where there are none, all works the same,
// only slower.
func adviseHugePages(memory []byte) {
	_ = syscall.Madvise(memory, syscall.MADV_HUGEPAGE)
}
