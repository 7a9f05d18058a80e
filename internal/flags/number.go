package flags

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"time"

	"tokenserver/internal/duration"
)

type integer interface{ int | int64 }

// Number is a whole number in least … most, which are not negative.
func Number[T integer](target *T, least, most T) *Typed[T] {
	return &Typed[T]{
		Target: target,
		Kind:   "number",
		Parse:  parseNumber[T],
		Format: func(n T) string { return strconv.FormatInt(int64(n), 10) },
		Noun:   "a whole number",
		Range:  fmt.Sprintf("%d … %d", least, most),
		Valid:  between(least, most),
	}
}

// PowerOfTwo is a power of two in least … most, of which least is 1 or more.
func PowerOfTwo(target *int, least, most int) *Typed[int] {
	v := Number(target, least, most)
	v.Noun, v.Range = "", "a power of two, "+v.Range
	v.Valid = func(n int) bool { return between(least, most)(n) && bits.OnesCount(uint(n)) == 1 }
	return v
}

// Limit is a limit for a number of things, of which 0 means none.
func Limit(target *int64) *Typed[int64] {
	v := Number(target, 0, math.MaxInt64)
	v.Range = fmt.Sprintf("0 (no limit) … %d", int64(math.MaxInt64))
	return v
}

// parseNumber reads digits and nothing else.
func parseNumber[T integer](text string) (T, error) {
	n, err := strconv.ParseUint(text, 10, bits.UintSize-1)
	return T(n), err
}

// Size is a size in bytes in least … most; see ParseSize.
func Size(target *int, least, most int) *Typed[int] {
	return &Typed[int]{
		Target: target,
		Kind:   "size",
		Parse:  func(text string) (int, error) { n, err := ParseSize(text); return int(n), err },
		Format: func(n int) string { return FormatSize(int64(n)) },
		Noun:   "a size",
		Range:  FormatSize(int64(least)) + " … " + FormatSize(int64(most)),
		Valid:  between(least, most),
	}
}

// SizeLimit is a limit in bytes in 0 … most, of which 0 means none.
func SizeLimit(target *int64, most int64) *Typed[int64] {
	return &Typed[int64]{
		Target: target,
		Kind:   "size",
		Parse:  ParseSize,
		Format: FormatSize,
		Noun:   "a size",
		Range:  "0 (no limit) … " + FormatSize(most),
		Valid:  between(0, most),
	}
}

// Duration is a duration in least … most; see package duration.
func Duration(target *time.Duration, least, most time.Duration) *Typed[time.Duration] {
	return &Typed[time.Duration]{
		Target: target,
		Kind:   "duration",
		Parse:  duration.Parse,
		Format: duration.Format,
		Noun:   "a duration with a unit",
		Range:  duration.Format(least) + " … " + duration.Format(most),
		Valid:  between(least, most),
	}
}

// OptionalDuration is a duration in least … most, or 0, which means none.
func OptionalDuration(target *time.Duration, least, most time.Duration) *Typed[time.Duration] {
	v := Duration(target, least, most)
	v.Range = "0 (none) or " + v.Range
	v.Valid = func(d time.Duration) bool { return d == 0 || between(least, most)(d) }
	return v
}
