package flags

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// Switch is true or false, and true if given without a value. It does not take
// the other spellings of booleans.
func Switch(target *bool) *Typed[bool] {
	return &Typed[bool]{
		Target: target,
		Kind:   boolKind,
		Parse:  func(text string) (bool, error) { return text == "true", oneOf(text, "true", "false") },
		Format: strconv.FormatBool,
		Range:  "true or false",
	}
}

// boolKind is what pflag calls the type of flags that need no value.
const boolKind = "bool"

// Text is any text, also an empty one.
func Text(target *string) *Typed[string] {
	return &Typed[string]{Target: target, Kind: "text", Parse: asIs, Format: plain, Range: "any text"}
}

// Path is the path of a file or directory. It may not be empty, and is not
// looked at.
func Path(target *string) *Typed[string] {
	return &Typed[string]{
		Target: target,
		Kind:   "path",
		Parse:  asIs,
		Format: plain,
		Range:  "a path",
		Valid:  func(s string) bool { return s != "" },
	}
}

func asIs(text string) (string, error) { return text, nil }

func plain(s string) string { return s }

// Choice is one of two names or more.
func Choice(target *string, names ...string) *Typed[string] {
	return &Typed[string]{
		Target: target,
		Kind:   "name",
		Parse:  func(text string) (string, error) { return text, oneOf(text, names...) },
		Format: plain,
		Range:  enumerate(names),
	}
}

// Level is a level of log entries.
func Level(target *slog.Level) *Typed[slog.Level] {
	return &Typed[slog.Level]{
		Target: target,
		Kind:   "level",
		Parse:  ParseLevel,
		Format: func(level slog.Level) string { return strings.ToLower(level.String()) },
		Range:  Levels,
	}
}

// Levels says which levels there are.
var Levels = enumerate(levels)

var levels = []string{"debug", "info", "warn", "error"}

// ParseLevel reads a level; slog alone would take "info+2" too.
func ParseLevel(text string) (level slog.Level, err error) {
	if err := oneOf(text, levels...); err != nil {
		return level, err
	}
	err = level.UnmarshalText([]byte(text))
	return level, err
}

var errChoice = errors.New("flags: none of the choices")

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
