// Package duration reads and writes durations as people do: 90min, 1h 30min, 2days.
package duration

import (
	"errors"
	"math/big"
	"regexp"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// units has the units of durations. µs may be spelled with a micro sign or a mu.
var units = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "min": time.Minute,
	"h": time.Hour, "d": day, "day": day, "days": day,
}

var (
	form = regexp.MustCompile(`^(?:[ \t]*[0-9]+(?:\.[0-9]+)?[ \t]*[a-zµμ]+)+[ \t]*$`)
	term = regexp.MustCompile(`([0-9.]+)[ \t]*([a-zµμ]+)`)

	errSyntax = errors.New("duration: no number with a unit")
)

// Parse reads a sum of numbers with units, such as 90min, 1h 30min or
// 1.5h, or a bare 0. The units are ns us µs ms s m min h d day days. What is less
// than a nanosecond is dropped, and more than an int64 has is an error.
func Parse(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	if !form.MatchString(text) {
		return 0, errSyntax
	}
	sum := new(big.Rat)
	for _, match := range term.FindAllStringSubmatch(text, -1) {
		number, ok := new(big.Rat).SetString(match[1])
		unit := units[match[2]]
		if !ok || unit == 0 {
			return 0, errSyntax
		}
		sum.Add(sum, number.Mul(number, big.NewRat(int64(unit), 1)))
	}
	ns := new(big.Int).Quo(sum.Num(), sum.Denom())
	if !ns.IsInt64() {
		return 0, errSyntax
	}
	return time.Duration(ns.Int64()), nil
}

// Format writes d, which is not negative, as a whole number of the
// greatest unit that allows it, so that Parse reads it.
func Format(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	for _, unit := range []string{"h", "min", "s", "ms", "us"} {
		if size := units[unit]; d%size == 0 {
			return strconv.FormatInt(int64(d/size), 10) + unit
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}
