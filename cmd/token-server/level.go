package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"

	"tokenserver/internal/flags"
)

// LogLevel is a level of the log, or the file that has one in its first line.
type LogLevel struct {
	Level slog.Level
	File  string // empty for none
}

// filePrefix is what stands before the name of a file, where a value may be in one.
const filePrefix = "@"

func newLogLevel(target *LogLevel) flags.Value {
	return &flags.Typed[LogLevel]{
		Target: target,
		Kind:   "level",
		Parse:  parseLogLevel,
		Format: formatLogLevel,
		Range:  flags.Levels + ", or @FILE with one of them in its first line",
	}
}

func parseLogLevel(text string) (l LogLevel, err error) {
	if name, ok := strings.CutPrefix(text, filePrefix); ok && name != "" {
		return LogLevel{File: name}, nil
	}
	l.Level, err = flags.ParseLevel(text)
	return l, err
}

func formatLogLevel(l LogLevel) string {
	if l.File != "" {
		return filePrefix + l.File
	}
	return strings.ToLower(l.Level.String())
}

// read returns the level.
func (l LogLevel) read() (slog.Level, error) {
	if l.File == "" {
		return l.Level, nil
	}
	text, err := readPlain(l.File)
	if err != nil {
		return 0, fmt.Errorf("--log-level %q: %w", formatLogLevel(l), err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	level, err := flags.ParseLevel(string(bytes.TrimSpace(line)))
	if err != nil {
		return 0, fmt.Errorf("--log-level %q: the first line of the file must be %s", formatLogLevel(l), flags.Levels)
	}
	return level, nil
}
