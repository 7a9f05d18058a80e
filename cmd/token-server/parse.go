package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

const usage = `Usage: token-server [flags]

Hands out one-time access tokens for metadata over HTTP. Sessions are kept in
memory and forgotten when the process ends, unless there is a --data-dir.

Flags, with the environment variable that stands for one unless it is given:
`

const usageOfValues = `
Durations are one or more numbers with units (ns us µs ms s m min h d day days):
90min, 1h 30min, 1.5h. Sizes are bytes, or have a unit (B KiB MiB GiB): 64KiB.
`

// ParseFlags fills m.Config from args and the environment. It returns
// pflag.ErrHelp after it has printed the help or the version, and otherwise an
// error, one line, that names the flag or variable, its value and what is allowed.
func (m *Main) ParseFlags(args []string) error {
	var cmd commands
	m.Config = defaultConfig()
	flags := m.Config.flagSet(&cmd)
	help := usage + flags.FlagUsages() + usageOfValues
	if err := parseArguments(flags, args); err != nil {
		return err
	}
	if !cmd.help {
		if err := m.parseEnvironment(flags); err != nil {
			return err
		}
	}
	switch {
	case cmd.help:
		fmt.Fprint(m.Stdout, help)
	case cmd.version:
		fmt.Fprintln(m.Stdout, "token-server", currentBuild())
	default:
		return m.checkConfig()
	}
	return pflag.ErrHelp
}

func parseArguments(flags *pflag.FlagSet, args []string) error {
	for _, arg := range args {
		// pflag skips these without a word.
		if strings.HasPrefix(arg, "-test.") {
			return fmt.Errorf("unknown flag %q; see token-server --help", arg)
		}
	}
	if err := flags.Parse(args); err != nil {
		return argumentError(err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: only flags are allowed; see token-server --help", flags.Arg(0))
	}
	return nil
}

// argumentError makes one line of an error of pflag, also if the input has several.
func argumentError(err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var syntax *pflag.InvalidSyntaxError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("unknown flag %q; see token-server --help", givenName(unknown))
	case errors.As(err, &missing):
		f := missing.GetFlag()
		return fmt.Errorf("--%s has no value: must be %s", f.Name, f.Value.(flagValue).Needs())
	case errors.As(err, &syntax):
		return fmt.Errorf("bad flag %q; see token-server --help", syntax.GetSpecifiedFlag())
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s %q: %w", invalid.GetFlag().Name, invalid.GetValue(), errors.Unwrap(invalid))
	}
	return err
}

func givenName(err *pflag.NotExistError) string {
	if err.GetSpecifiedShortnames() != "" {
		return "-" + err.GetSpecifiedName()
	}
	return "--" + err.GetSpecifiedName()
}

// parseEnvironment sets the flags that were not given.
func (m *Main) parseEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		text := m.Getenv(envName(f))
		if f.Changed || text == "" || isCommand(f) || m.isServiceLink(f, text) {
			return
		}
		if err := f.Value.Set(text); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", envName(f), text, err))
		}
	})
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// isServiceLink reports whether text is what Kubernetes sets beside a service
// of the name token-server, and not meant for --port.
func (m *Main) isServiceLink(f *pflag.Flag, text string) bool {
	if f.Name != "port" || !strings.HasPrefix(text, "tcp://") {
		return false
	}
	m.ignored = append(m.ignored, envName(f))
	return true
}
