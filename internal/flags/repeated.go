package flags

import "strings"

// Repeated is a Value that a flag may give several times, and a variable as a list
// with commas between. What is given takes the place of the default as a whole.
type Repeated[T any] struct {
	// Target has the values, in the order in which they were given.
	Target *[]T
	// Each is what each of the values is. Its own Target is not used.
	Each *Typed[T]

	given bool // Target has no default any more
}

// String implements pflag.Value.
func (v *Repeated[T]) String() string {
	texts := make([]string, len(*v.Target))
	for i, x := range *v.Target {
		texts[i] = v.Each.Format(x)
	}
	return strings.Join(texts, listSeparator)
}

// Type implements pflag.Value.
func (v *Repeated[T]) Type() string { return v.Each.Kind }

// Set implements pflag.Value: it adds one value.
func (v *Repeated[T]) Set(text string) error {
	var x T
	each := *v.Each
	each.Target = &x
	if err := each.Set(text); err != nil {
		return err
	}
	if !v.given {
		v.given, *v.Target = true, nil
	}
	*v.Target = append(*v.Target, x)
	return nil
}

// Allowed implements Value.
func (v *Repeated[T]) Allowed() string { return v.Each.Allowed() + "; may be given several times" }

// Needs implements Value.
func (v *Repeated[T]) Needs() string { return v.Each.Needs() }

// split returns the values of a variable, which may have blanks around them.
func (v *Repeated[T]) split(text string) []string {
	texts := strings.Split(text, listSeparator)
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	return texts
}

// splitter is a Value of which a variable has a list.
type splitter interface{ split(text string) []string }

// listSeparator is between the values of a variable.
const listSeparator = ","
