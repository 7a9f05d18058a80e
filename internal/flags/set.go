package flags

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// ErrHelp is returned by Set.Parse when help was asked for.
var ErrHelp = pflag.ErrHelp

// Set is the flags of one program. It has --help, or -h, from the start.
type Set struct {
	flags  *pflag.FlagSet
	getenv func(string) string
	help   bool
	// variables has the flags for which an environment variable may stand.
	variables []*pflag.Flag
}

// New returns a Set for a program, whose name errors and variables have. getenv
// returns the value of an environment variable, or "" for none; it is only asked
// for flags that were not given. nil means that no variable stands for a flag.
func New(program string, getenv func(string) string) *Set {
	s := &Set{flags: pflag.NewFlagSet(program, pflag.ContinueOnError), getenv: getenv}
	s.flags.SortFlags = false
	s.flags.SetOutput(io.Discard)
	s.Command(&s.help, "help", "h", "print this help")
	return s
}

// Var adds a flag. Its help is usage, and what v allows.
func (s *Set) Var(v Value, name, usage string) { s.VarP(v, name, "", usage) }

// VarP is Var with a shorthand of one letter.
func (s *Set) VarP(v Value, name, shorthand, usage string) {
	if v.Type() != boolKind {
		usage += "; " + v.Allowed()
	}
	if s.getenv == nil {
		s.add(v, name, shorthand, usage)
		return
	}
	f := s.add(v, name, shorthand, usage+" ["+s.variable(name)+"]")
	s.variables = append(s.variables, f)
}

// Command adds a switch for something else than to run the program, such as
// --version. No variable stands for it: the environment must not keep a program
// from running. shorthand may be empty.
func (s *Set) Command(target *bool, name, shorthand, usage string) {
	s.add(Switch(target), name, shorthand, usage)
}

func (s *Set) add(v Value, name, shorthand, usage string) *pflag.Flag {
	f := s.flags.VarPF(v, name, shorthand, usage)
	if v.Type() == boolKind {
		f.NoOptDefVal = "true"
	}
	return f
}

// variable returns the environment variable of a flag: MY_SERVER_MAX_BODY.
func (s *Set) variable(flag string) string {
	return strings.ToUpper(strings.ReplaceAll(s.flags.Name()+"_"+flag, "-", "_"))
}

// Usages returns a line of help for each flag, with its default.
func (s *Set) Usages() string { return s.flags.FlagUsages() }

// VisitAll calls f for each flag, --help among them, in the order in which they
// were added.
func (s *Set) VisitAll(f func(*pflag.Flag)) { s.flags.VisitAll(f) }

// Parse sets the flags from args, and those that were not given from the
// environment. It returns ErrHelp for --help, and otherwise an error of one line
// that names the flag or variable, its value and what is allowed.
func (s *Set) Parse(args []string) error {
	if errs := s.ParseAll(args); len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// ParseAll is Parse that goes on after an error, and returns all that it finds.
func (s *Set) ParseAll(args []string) []error {
	errs := s.parseArguments(args)
	if len(errs) == 0 && s.help {
		return []error{ErrHelp}
	}
	return append(errs, s.parseEnvironment()...)
}

// parseArguments gives pflag one argument at a time, which ends at the first error.
func (s *Set) parseArguments(args []string) (errs []error) {
	for len(args) > 0 {
		if args[0] == "--" {
			return append(errs, s.unexpected(args[1:])...)
		}
		taken, err := s.parseArgument(args)
		if err != nil {
			errs = append(errs, err)
		}
		args = args[taken:]
	}
	return errs
}

// parseArgument takes the first argument, and the next one if that is its value.
func (s *Set) parseArgument(args []string) (taken int, err error) {
	if strings.HasPrefix(args[0], "-test.") { // which pflag skips without a word
		return 1, s.hint("unknown flag %q", args[0])
	}
	taken, err = 1, s.flags.Parse(args[:1])
	if missing := new(pflag.ValueRequiredError); errors.As(err, &missing) && len(args) > 1 {
		taken, err = 2, s.flags.Parse(args[:2])
	}
	if err != nil {
		return taken, s.argumentError(err)
	}
	return taken, errors.Join(s.unexpected(s.flags.Args())...)
}

// unexpected returns an error for each argument that is no flag.
func (s *Set) unexpected(args []string) (errs []error) {
	for _, arg := range args {
		errs = append(errs, s.hint("unexpected argument %q: only flags are allowed", arg))
	}
	return errs
}

// argumentError makes one line of an error of pflag, also if the input has several.
func (s *Set) argumentError(err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var syntax *pflag.InvalidSyntaxError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return s.hint("unknown flag %q", givenName(unknown))
	case errors.As(err, &missing):
		f := missing.GetFlag()
		return fmt.Errorf("--%s has no value: must be %s", f.Name, f.Value.(Value).Needs())
	case errors.As(err, &syntax):
		return s.hint("bad flag %q", syntax.GetSpecifiedFlag())
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), errors.Unwrap(invalid))
	}
	return err
}

// hint returns an error with one quoted argument that points to the help.
func (s *Set) hint(format, arg string) error {
	return fmt.Errorf(format+"; see %s --help", arg, s.flags.Name())
}

func givenName(err *pflag.NotExistError) string {
	if err.GetSpecifiedShortnames() != "" {
		return "-" + err.GetSpecifiedName()
	}
	return "--" + err.GetSpecifiedName()
}

// parseEnvironment sets the flags that were not given.
func (s *Set) parseEnvironment() (errs []error) {
	for _, f := range s.variables {
		if f.Changed {
			continue
		}
		text := s.getenv(s.variable(f.Name))
		if text == "" {
			continue
		}
		if err := setAll(f.Value, text); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", s.variable(f.Name), text, err))
		}
	}
	return errs
}

// setAll sets v from a variable, which may have a list.
func setAll(v pflag.Value, text string) error {
	texts := []string{text}
	if list, ok := v.(splitter); ok {
		texts = list.split(text)
	}
	for _, each := range texts {
		if err := v.Set(each); err != nil {
			return err
		}
	}
	return nil
}
