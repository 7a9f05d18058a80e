//go:build !linux

package shard

func adviseHugePages([]byte) {}
