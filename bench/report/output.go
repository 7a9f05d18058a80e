package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// output is where a run writes: files whose names begin with the date and the processor.
type output struct {
	dir  string
	name string
	date time.Time
}

func newOutput(dir string, date time.Time, cpu string) output {
	return output{dir: dir, name: date.Format(time.DateOnly) + "-" + slug(cpu), date: date}
}

// file returns the name of a file of this run, within the directory.
func (o output) file(suffix string) string { return o.name + suffix }

func (o output) path(suffix string) string { return filepath.Join(o.dir, o.file(suffix)) }

var (
	marks      = regexp.MustCompile(`(?i)\((r|tm)\)|\b(cpu|processor)\b|@.*`)
	noFileName = regexp.MustCompile(`[^a-z0-9]+`)
)

// slug makes a part of a file's name from the name of a processor.
func slug(cpu string) string {
	name := noFileName.ReplaceAllString(strings.ToLower(marks.ReplaceAllString(cpu, " ")), "-")
	return strings.Trim(name, "-")
}
