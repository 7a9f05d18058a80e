package flags

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Units of sizes, in bytes.
const (
	KiB = 1 << 10
	MiB = 1 << 20
	GiB = 1 << 30
)

// sizeUnits begins with the greatest; B is last, since every unit ends in it.
var sizeUnits = []struct {
	name string
	size int64
}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}

var errSize = errors.New("flags: no size")

// ParseSize reads a number of bytes, bare or with a unit: 65536, 65536B, 64KiB.
// A sign, a fraction, another unit, or more than an int64 holds is an error.
func ParseSize(text string) (int64, error) {
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

// FormatSize writes n bytes, of which there are 0 or more, as a whole number of
// the greatest unit that allows it, so that ParseSize reads it.
func FormatSize(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return "0"
}
