package main

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// field returns the value of a line "name: value" of a file in /proc, of the first if there are
// several, or "".
func field(file []byte, name string) string {
	for lines := bufio.NewScanner(bytes.NewReader(file)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// kibibytes returns, in bytes, a field of a file in /proc that is given in kB.
func kibibytes(file []byte, name string) (int64, error) {
	number, ok := strings.CutSuffix(field(file, name), " kB")
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("no %s in kB in /proc", name)
	}
	return n << 10, nil
}

// chosen returns what is in brackets in a file of /sys that lists choices: never in
// "always madvise [never]".
func chosen(file string) string {
	_, after, _ := strings.Cut(file, "[")
	choice, _, ok := strings.Cut(after, "]")
	if !ok {
		return "unknown"
	}
	return choice
}
