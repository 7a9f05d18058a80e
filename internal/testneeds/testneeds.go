// Package testneeds skips tests of what a machine lacks, by name, and fails them
// where nothing may be lacking.
//
// # Basics
//
// [Program] and [That] are called by a test before it uses a program or a right. With
// the variable TEST_NEEDS=all in the environment, as in CI, a test that would be
// skipped fails instead.
package testneeds

import (
	"os"
	"os/exec"
	"testing"
)

// variable is the environment variable that makes a skip a failure, if it has the
// value all.
const variable = "TEST_NEEDS"

// Program returns the path of a program, or skips the test if it is not installed.
func Program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	That(t, err == nil, name+" is not installed")
	return path
}

// That skips the test unless ok. reason names what the machine lacks.
func That(t testing.TB, ok bool, reason string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv(variable) == "all":
		t.Fatalf("%s, and %s=all", reason, variable)
	default:
		t.Skip(reason)
	}
}
