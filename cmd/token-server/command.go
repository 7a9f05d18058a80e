package main

import (
	"errors"
	"fmt"

	"tokenserver/access"
	"tokenserver/durable"
	"tokenserver/internal/flags"
)

// commands are what the program does beside serving. They get the arguments behind their
// name, and return the exit code.
var commands = map[string]func(m *Main, args []string) int{
	"secret": (*Main).printSecret,
	"check":  (*Main).printProblems,
	"top":    (*Main).printTop,
}

// defaultCaller is the name of a caller whom nobody has named.
const defaultCaller = "caller"

// printSecret prints a new secret, and its line for the auth file.
func (m *Main) printSecret(args []string) int {
	name := defaultCaller
	if len(args) > 0 {
		name = args[0]
	}
	secret, line, err := access.NewSecret(name)
	switch {
	case len(args) > 1:
		fmt.Fprintf(m.Stderr, "token-server: unexpected argument %q: secret takes a name and nothing else\n", args[1])
		return exitUsage
	case err != nil:
		fmt.Fprintf(m.Stderr, "token-server: secret %q: %v\n", name, err)
		return exitUsage
	}
	fmt.Fprintf(m.Stdout, "%s\n%s\n", secret, line)
	return exitOK
}

// printProblems prints all that would keep a server with these flags from starting.
func (m *Main) printProblems(args []string) int {
	problems := m.parse(args)
	if len(problems) == 1 && errors.Is(problems[0], flags.ErrHelp) {
		return exitOK
	}
	problems = append(problems, m.Config.checkSockets()...)
	if dir := m.Config.DataDir; dir != "" {
		if err := durable.Check(dir); err != nil {
			problems = append(problems, fmt.Errorf("--data-dir %q: %w", dir, err))
		}
	}
	for _, problem := range problems {
		fmt.Fprintln(m.Stderr, "token-server:", problem)
	}
	if len(problems) > 0 {
		return exitUsage
	}
	fmt.Fprintln(m.Stdout, "token-server: no problem found")
	return exitOK
}
