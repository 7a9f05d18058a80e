package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"tokenserver/internal/flags"
)

const usage = `Usage: token-server [flags]
       token-server check [flags]    report what would keep it from starting
       token-server secret [name]    make a secret, and its line for --auth-file
       token-server top [flags]      show what the server of these flags does

Hands out one-time access tokens for metadata over HTTP. Sessions are kept in
memory and forgotten when the process ends, unless there is a --data-dir, or an
engine that servers share (--valkey).

Flags, with the environment variable that stands for one unless it is given:
`

const usageOfValues = `
Durations are one or more numbers with units (ns us µs ms s m min h d day days):
90min, 1h 30min, 1.5h. Sizes are bytes, or have a unit (B KiB MiB GiB): 64KiB.
`

// ParseFlags fills m.Config from args and the environment. It returns
// flags.ErrHelp after it has printed the help or the version, and otherwise an
// error, one line, that names the flag or variable, its value and what is allowed.
func (m *Main) ParseFlags(args []string) error {
	if problems := m.parse(args); len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// parse is ParseFlags that returns all errors that there are.
func (m *Main) parse(args []string) (problems []error) {
	version := false
	m.Config = defaultConfig()
	set := m.Config.flagSet(m.variable, &version)
	problems = set.ParseAll(args)
	switch {
	case len(problems) > 0 && errors.Is(problems[0], flags.ErrHelp):
		fmt.Fprint(m.Stdout, usage, set.Usages(), usageOfValues)
		return problems
	case len(problems) == 0 && version:
		fmt.Fprintln(m.Stdout, "token-server", currentBuild())
		return []error{flags.ErrHelp}
	}
	problems = append(problems, m.Config.check()...)
	m.misspelt = slices.DeleteFunc(set.UnknownVariables(m.Environ), func(v flags.UnknownVariable) bool {
		return notForFlags.MatchString(v.Name) || serviceLink.MatchString(m.getenv(v.Name))
	})
	return append(problems, m.readFiles()...)
}

// readFiles reads the files that flags name.
func (m *Main) readFiles() (problems []error) {
	level, err := m.Config.LogLevel.read()
	m.level.Set(level)
	for _, err := range append(m.readCallers(), err, m.readSecret()) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// getenv returns the value of an environment variable, or "" for none.
func (m *Main) getenv(name string) string {
	for _, each := range m.Environ {
		if n, value, _ := strings.Cut(each, "="); n == name {
			return value
		}
	}
	return ""
}

// variable returns the value of an environment variable. What Kubernetes sets
// beside a service of the name token-server is not meant for --port.
func (m *Main) variable(name string) string {
	text := m.getenv(name)
	if name == "TOKEN_SERVER_PORT" && serviceLink.MatchString(text) {
		m.ignored = append(m.ignored, name)
		return ""
	}
	return text
}

var (
	// serviceLink matches what Kubernetes says of a service: tcp://10.0.0.7:3666.
	serviceLink = regexp.MustCompile(`^[a-z]+://`)
	// notForFlags matches variables that may well be there and stand for no flag:
	// those that Kubernetes sets beside services whose names begin with
	// token-server, and a password that no flag should have.
	notForFlags = regexp.MustCompile(`^TOKEN_SERVER_(.+_)?(SERVICE_(HOST|PORT)|PORT_[0-9]+_[A-Z]+)` +
		`|^TOKEN_SERVER_(SERVICE|PORT)_|^TOKEN_SERVER_VALKEY_PASSWORD$`)
)
