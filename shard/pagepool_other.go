//go:build !linux

package shard

func adviseHugePages([]byte) {}

// releaseMemory leaves memory as it is: elsewhere only whole regions go back.
func releaseMemory([]byte) {}
