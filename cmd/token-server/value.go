package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenserver/internal/duration"
)

// value is a flag of the command line with all that is to be known of it.
type value[T any] struct {
	target *T
	kind   string // what help calls such a value
	parse  func(string) (T, error)
	format func(T) string
	noun   string // what errors call such a value, unless allowed says it all
	// allowed says which values there are: "1s … 90min".
	allowed string
	// valid says whether a value that could be parsed is allowed. nil means that it is.
	valid func(T) bool
}

// String implements pflag.Value.
func (v *value[T]) String() string { return v.format(*v.target) }

// Type implements pflag.Value.
func (v *value[T]) Type() string { return v.kind }

// Set implements pflag.Value. Its error says what is allowed.
func (v *value[T]) Set(text string) error {
	x, err := v.parse(text)
	if err != nil || v.valid != nil && !v.valid(x) {
		return errors.New("must be " + v.Needs())
	}
	*v.target = x
	return nil
}

// Needs says in words what the flag takes: "a duration with a unit, 1s … 90min".
func (v *value[T]) Needs() string { return v.noun + v.allowed }

// Allowed says the same in short.
func (v *value[T]) Allowed() string { return v.allowed }

func between[T cmp.Ordered](least, most T) func(T) bool {
	return func(x T) bool { return least <= x && x <= most }
}

type integer interface{ int | int64 }

func newNumber[T integer](target *T, least, most T) *value[T] {
	return &value[T]{
		target:  target,
		kind:    "number",
		parse:   parseNumber[T],
		format:  func(n T) string { return strconv.FormatInt(int64(n), 10) },
		noun:    "a whole number, ",
		allowed: fmt.Sprintf("%d … %d", least, most),
		valid:   between(least, most),
	}
}

func newPowerOfTwo(target *int, least, most int) *value[int] {
	v := newNumber(target, least, most)
	v.noun, v.allowed = "", fmt.Sprintf("a power of two, %d … %d", least, most)
	v.valid = func(n int) bool { return between(least, most)(n) && bits.OnesCount(uint(n)) == 1 }
	return v
}

// newCount makes a flag for a limit, of which 0 means none.
func newCount(target *int64) *value[int64] {
	v := newNumber(target, 0, math.MaxInt64)
	v.allowed = fmt.Sprintf("0 (no limit) … %d", int64(math.MaxInt64))
	return v
}

// parseNumber reads digits and nothing else.
func parseNumber[T integer](text string) (T, error) {
	n, err := strconv.ParseUint(text, 10, bits.UintSize-1)
	return T(n), err
}

func newDuration(target *time.Duration, least, most time.Duration) *value[time.Duration] {
	return &value[time.Duration]{
		target:  target,
		kind:    "duration",
		parse:   duration.Parse,
		format:  duration.Format,
		noun:    "a duration with a unit, ",
		allowed: fmt.Sprintf("%s … %s", duration.Format(least), duration.Format(most)),
		valid:   between(least, most),
	}
}

// newOptionalDuration makes a flag for a duration of which 0 means none.
func newOptionalDuration(target *time.Duration, least, most time.Duration) *value[time.Duration] {
	v := newDuration(target, least, most)
	v.allowed = "0 (none) or " + v.allowed
	v.valid = func(d time.Duration) bool { return d == 0 || between(least, most)(d) }
	return v
}

// newPath makes a flag for the name of a file or folder.
func newPath(target *string) *value[string] {
	return &value[string]{
		target:  target,
		kind:    "path",
		parse:   func(text string) (string, error) { return text, nil },
		format:  func(s string) string { return s },
		allowed: "a path",
		valid:   func(s string) bool { return s != "" },
	}
}

func newSize(target *int, least, most int) *value[int] {
	return &value[int]{
		target:  target,
		kind:    "size",
		parse:   func(text string) (int, error) { n, err := parseSize(text); return int(n), err },
		format:  func(n int) string { return formatSize(int64(n)) },
		noun:    "a size, ",
		allowed: fmt.Sprintf("%s … %s", formatSize(int64(least)), formatSize(int64(most))),
		valid:   between(least, most),
	}
}

// newMemory makes a flag for a limit of memory, of which 0 means none and
// halfOfMemory is set by default.
func newMemory(target *int64) *value[int64] {
	return &value[int64]{
		target:  target,
		kind:    "size",
		parse:   parseSize,
		format:  formatMemory,
		noun:    "a size, ",
		allowed: "0 (no limit) … " + formatSize(maxMemory),
		valid:   between[int64](0, maxMemory),
	}
}

const maxMemory = 1 << 50 // bytes

func formatMemory(n int64) string {
	if n == halfOfMemory {
		return "half of the memory that the process may use"
	}
	return formatSize(n)
}

// newSwitch makes a flag that is given without a value. It does not take the
// many spellings of booleans that others do.
func newSwitch(target *bool) *value[bool] {
	return &value[bool]{
		target:  target,
		kind:    "bool",
		parse:   func(text string) (bool, error) { return text == "true", oneOf(text, "true", "false") },
		format:  strconv.FormatBool,
		allowed: "true or false",
	}
}

func newChoice(target *string, choices ...string) *value[string] {
	return &value[string]{
		target:  target,
		kind:    "name",
		parse:   func(text string) (string, error) { return text, oneOf(text, choices...) },
		format:  func(s string) string { return s },
		allowed: enumerate(choices),
	}
}

func newLevel(target *slog.Level) *value[slog.Level] {
	return &value[slog.Level]{
		target:  target,
		kind:    "level",
		parse:   parseLevel,
		format:  func(level slog.Level) string { return strings.ToLower(level.String()) },
		allowed: enumerate(levels),
	}
}

var levels = []string{"debug", "info", "warn", "error"}

// parseLevel reads one of levels; slog alone would take "info+2" too.
func parseLevel(text string) (level slog.Level, err error) {
	if err := oneOf(text, levels...); err != nil {
		return level, err
	}
	err = level.UnmarshalText([]byte(text))
	return level, err
}

var errChoice = errors.New("none of the choices")

func oneOf(text string, choices ...string) error {
	if !slices.Contains(choices, text) {
		return errChoice
	}
	return nil
}

// enumerate joins names: "a, b or c".
func enumerate(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
