package console

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// count writes a number of things, with commas.
func count(n int64) string {
	sign, digits := "", strconv.FormatInt(n, 10)
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	text := []byte(sign)
	for i, d := range []byte(digits) {
		if i > 0 && (len(digits)-i)%3 == 0 {
			text = append(text, ',')
		}
		text = append(text, d)
	}
	return string(text)
}

// Numbers are written as format.js writes them too.

// rate writes how many things there are a second.
func rate(v float64) string {
	switch {
	case v > 0 && v < 0.1:
		return "under 0.1/s"
	case v >= 999.5e3:
		return digits(v/1e6) + " M/s"
	}
	return digits(v) + "/s"
}

// size writes a number of bytes.
func size(n int64) string {
	v, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for len(units) > 1 && v >= 1023.5 {
		v, units = v/1024, units[1:]
	}
	return digits(v) + " " + units[0]
}

// latency writes a short time, given in seconds.
func latency(seconds float64) string {
	switch {
	case seconds <= 0:
		return "–"
	case seconds < 0.9995e-3:
		return digits(seconds*1e6) + " µs"
	case seconds < 0.9995:
		return digits(seconds*1e3) + " ms"
	}
	return digits(seconds) + " s"
}

// digits writes a number with three digits, or all those before the point, without zeros at
// its end.
func digits(v float64) string {
	if v < 0 || v >= 99.95 {
		return count(int64(math.Round(v)))
	}
	power := 10.0
	for least := 9.995; v < least && power < 1e4; least /= 10 {
		power *= 10
	}
	return strconv.FormatFloat(math.Round(v*power)/power, 'f', -1, 64)
}

// span writes a time of a second or more, in its two greatest units.
func span(seconds float64) string {
	s := int64(max(seconds, 0))
	for _, u := range []struct {
		length   int64
		name     string
		part     int64
		partName string
	}{{86400, "d", 3600, "h"}, {3600, "h", 60, "min"}, {60, "min", 1, "s"}} {
		if s < u.length {
			continue
		}
		if rest := s % u.length / u.part; rest > 0 {
			return fmt.Sprintf("%d %s %d %s", s/u.length, u.name, rest, u.partName)
		}
		return fmt.Sprintf("%d %s", s/u.length, u.name)
	}
	return fmt.Sprintf("%d s", s)
}

// clockTime writes a time of day, in UTC.
func clockTime(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

// percent writes a part of a whole, with two digits.
func percent(part float64) string {
	p, power := 100*part, 1.0
	switch {
	case p > 0 && p < 0.01:
		return "under 0.01 %"
	case p >= 9.95:
		return count(int64(math.Round(p))) + " %"
	}
	for least := 9.95; p < least && power < 1e3; least /= 10 {
		power *= 10
	}
	return strconv.FormatFloat(math.Round(p*power)/power, 'f', -1, 64) + " %"
}
