package flags

import (
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/pflag"
)

// UnknownVariable is an environment variable that was meant for the program, by its
// name, and stands for none of its flags.
type UnknownVariable struct {
	Name    string
	Nearest string // the variable whose name is most like it
}

// UnknownVariables returns those of environ, which has name=value, in the order of
// their names. Empty ones count as unset. A name in capitals of any flag is known,
// also of one for which no variable stands.
func (s *Set) UnknownVariables(environ []string) (unknown []UnknownVariable) {
	known := make(map[string]bool)
	s.flags.VisitAll(func(f *pflag.Flag) { known[s.variable(f.Name)] = true })
	for _, each := range environ {
		name, value, _ := strings.Cut(each, "=")
		if strings.HasPrefix(name, s.variable("")) && value != "" && !known[name] {
			unknown = append(unknown, UnknownVariable{name, s.nearest(name)})
		}
	}
	slices.SortFunc(unknown, func(a, b UnknownVariable) int { return strings.Compare(a.Name, b.Name) })
	return unknown
}

// nearest returns the variable that takes the fewest changes to become name, but
// for small letters.
func (s *Set) nearest(name string) (nearest string) {
	name = strings.ToUpper(name)
	least := -1
	for _, f := range s.variables {
		variable := s.variable(f.Name)
		if d := levenshtein.ComputeDistance(name, variable); least < 0 || d < least {
			nearest, least = variable, d
		}
	}
	return nearest
}
