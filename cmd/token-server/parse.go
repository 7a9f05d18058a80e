package main

import (
	"errors"
	"fmt"
	"strings"

	"tokenserver/internal/flags"
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
// flags.ErrHelp after it has printed the help or the version, and otherwise an
// error, one line, that names the flag or variable, its value and what is allowed.
func (m *Main) ParseFlags(args []string) error {
	version := false
	m.Config = defaultConfig()
	set := m.Config.flagSet(m.variable, &version)
	err := set.Parse(args)
	switch {
	case errors.Is(err, flags.ErrHelp):
		fmt.Fprint(m.Stdout, usage, set.Usages(), usageOfValues)
		return err
	case err != nil:
		return err
	case version:
		fmt.Fprintln(m.Stdout, "token-server", currentBuild())
		return flags.ErrHelp
	}
	if err := m.Config.check(); err != nil {
		return err
	}
	return m.readSecret()
}

// variable returns the value of an environment variable. What Kubernetes sets
// beside a service of the name token-server is not meant for --port.
func (m *Main) variable(name string) string {
	text := m.Getenv(name)
	if name == "TOKEN_SERVER_PORT" && strings.HasPrefix(text, "tcp://") {
		m.ignored = append(m.ignored, name)
		return ""
	}
	return text
}
