package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Units of sizes, in bytes.
const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

var sizeUnits = []struct {
	name string
	size int64
}{{"GiB", gib}, {"MiB", mib}, {"KiB", kib}, {"B", 1}}

var errSize = errors.New("no size")

// parseSize reads a number of bytes, bare or with a unit: 65536, 65536B, 64KiB.
func parseSize(text string) (int64, error) {
	unit := int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = strings.TrimRight(number, " \t"), u.size
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/unit {
		return 0, errSize
	}
	return int64(n) * unit, nil
}

// formatSize writes a size as a whole number of the greatest unit that allows
// it, so that parseSize reads it.
func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return "0"
}
