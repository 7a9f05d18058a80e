package flags

import (
	"cmp"
	"errors"

	"github.com/spf13/pflag"
)

// Value is the value of a flag, which knows what it takes.
type Value interface {
	pflag.Value
	// Allowed says in short which values there are: "1s … 90min".
	Allowed() string
	// Needs says the same in words: "a duration with a unit, 1s … 90min".
	Needs() string
}

// Typed is a Value of type T.
type Typed[T any] struct {
	Target *T                      // where the value goes, and where the default comes from
	Kind   string                  // what help calls such a value: "duration"
	Parse  func(string) (T, error) // its error is not shown
	Format func(T) string          // for the default
	Noun   string                  // what errors call such a value; empty where Range says it all
	Range  string                  // which values there are: "1s … 90min"
	Valid  func(T) bool            // whether a value that Parse took is one of them; nil for always
}

// String implements pflag.Value.
func (v *Typed[T]) String() string { return v.Format(*v.Target) }

// Type implements pflag.Value.
func (v *Typed[T]) Type() string { return v.Kind }

// Set implements pflag.Value. Its error says what is allowed, and leaves the
// target as it was.
func (v *Typed[T]) Set(text string) error {
	x, err := v.Parse(text)
	if err != nil || v.Valid != nil && !v.Valid(x) {
		return errors.New("must be " + v.Needs())
	}
	*v.Target = x
	return nil
}

// Allowed implements Value.
func (v *Typed[T]) Allowed() string { return v.Range }

// Needs implements Value.
func (v *Typed[T]) Needs() string {
	if v.Noun == "" {
		return v.Range
	}
	return v.Noun + ", " + v.Range
}

// between returns a check for least … most, both included.
func between[T cmp.Ordered](least, most T) func(T) bool {
	return func(x T) bool { return least <= x && x <= most }
}
