package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tokenserver/access"
	"tokenserver/durable"
	"tokenserver/internal/flags"
)

// commands are what the program does beside serving, until a context ends. They get the
// arguments behind their name, and return the exit code.
var commands = map[string]func(m *Main, ctx context.Context, args []string) int{
	"secret": (*Main).printSecret,
	"check":  (*Main).printProblems,
	"top":    (*Main).printTop,
	"health": (*Main).printHealth,
	"backup": (*Main).writeBackup,
}

// defaultCaller is the name of a caller whom nobody has named.
const defaultCaller = "caller"

const usageOfSecret = `Usage: token-server secret [name]

Prints a new secret, and its line for --auth-file, where the caller has the name, or
"caller" without one.
`

// printSecret prints a new secret, and its line for the auth file.
func (m *Main) printSecret(_ context.Context, args []string) int {
	name, err := parseSecretArguments(args)
	if errors.Is(err, flags.ErrHelp) {
		fmt.Fprint(m.Stdout, usageOfSecret)
		return exitOK
	}
	secret, line := "", ""
	if err == nil {
		if secret, line, err = access.NewSecret(name); err != nil {
			err = fmt.Errorf("secret %q: %w", name, err)
		}
	}
	if err != nil {
		fmt.Fprintln(m.Stderr, "token-server:", err)
		return exitUsage
	}
	fmt.Fprintf(m.Stdout, "%s\n%s\n", secret, line)
	return exitOK
}

// parseSecretArguments returns the name that arguments have, or flags.ErrHelp. What begins
// with a dash is no name here, although it may be one in an auth file.
func parseSecretArguments(args []string) (name string, err error) {
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		return "", flags.ErrHelp
	}
	if at := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") }); at >= 0 {
		return "", fmt.Errorf("unknown flag %q: secret takes a name and nothing else", args[at])
	}
	switch len(args) {
	case 0:
		return defaultCaller, nil
	case 1:
		return args[0], nil
	}
	return "", fmt.Errorf("unexpected argument %q: secret takes a name and nothing else", args[1])
}

// parseCommand reads the flags of a command that asks a server with these flags, and more
// ones of its own. It says whether that is all that was to be done.
func (m *Main) parseCommand(args []string, more ...func(*flags.Set)) (code int, done bool) {
	problems := m.parseFlags(args, more...)
	switch {
	case len(problems) == 0:
		return exitOK, false
	case errors.Is(problems[0], flags.ErrHelp):
		return exitOK, true
	}
	fmt.Fprintln(m.Stderr, "token-server:", problems[0])
	return exitUsage, true
}

// printProblems prints all that would keep a server with these flags from starting.
func (m *Main) printProblems(_ context.Context, args []string) int {
	problems := m.parse(args)
	if len(problems) == 1 && errors.Is(problems[0], flags.ErrHelp) {
		return exitOK
	}
	problems = append(problems, m.Config.checkSockets()...)
	in, err := inherit()
	if err != nil {
		problems = append(problems, err)
	}
	in.close()
	if dir := m.Config.DataDir; dir != "" {
		problems = append(problems, problemsOf(fmt.Sprintf("--data-dir %q", dir), durable.Check(dir))...)
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
