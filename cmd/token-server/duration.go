package main

import (
	"errors"
	"math/big"
	"regexp"
	"strconv"
	"time"
)

const day = 24 * time.Hour

// durationUnits has the units of durations. µs may be spelled with a micro sign or a mu.
var durationUnits = map[string]time.Duration{
	"ns": time.Nanosecond, "us": time.Microsecond, "µs": time.Microsecond, "μs": time.Microsecond,
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "min": time.Minute,
	"h": time.Hour, "d": day, "day": day, "days": day,
}

var (
	durationForm = regexp.MustCompile(`^(?:[ \t]*[0-9]+(?:\.[0-9]+)?[ \t]*[a-zµμ]+)+[ \t]*$`)
	durationTerm = regexp.MustCompile(`([0-9.]+)[ \t]*([a-zµμ]+)`)

	errDuration = errors.New("no duration")
)

// parseDuration reads a sum of numbers with units, such as 90min, 1h 30min or
// 1.5h, or a bare 0. What is less than a nanosecond is dropped.
func parseDuration(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	if !durationForm.MatchString(text) {
		return 0, errDuration
	}
	sum := new(big.Rat)
	for _, term := range durationTerm.FindAllStringSubmatch(text, -1) {
		number, ok := new(big.Rat).SetString(term[1])
		unit := durationUnits[term[2]]
		if !ok || unit == 0 {
			return 0, errDuration
		}
		sum.Add(sum, number.Mul(number, big.NewRat(int64(unit), 1)))
	}
	ns := new(big.Int).Quo(sum.Num(), sum.Denom())
	if !ns.IsInt64() {
		return 0, errDuration
	}
	return time.Duration(ns.Int64()), nil
}

// formatDuration writes d, which is not negative, as a whole number of the
// greatest unit that allows it, so that parseDuration reads it.
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	for _, unit := range []string{"h", "min", "s", "ms", "us"} {
		if size := durationUnits[unit]; d%size == 0 {
			return strconv.FormatInt(int64(d/size), 10) + unit
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}
