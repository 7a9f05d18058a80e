// Package examples_test runs the tests of the examples in other languages, each by the
// language's own tool, with the real server. Those that take minutes run with
// -examples.all, as make examples does.
package examples_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tokenserver/internal/testneeds"
)

var all = flag.Bool("examples.all", false, "test the examples in Java and Rust too")

// buildServer returns the path of the server's program.
func buildServer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token-server")
	run(t, exec.Command("go", "build", "-o", path, "tokenserver/cmd/token-server"))
	return path
}

func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// runIn runs the test of an example in a folder, with what its language needs beside it.
func runIn(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TOKEN_SERVER="+buildServer(t))
	run(t, cmd)
}

// copyOf copies an example into a folder of the test, where packages may be installed.
func copyOf(t *testing.T, example string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(example)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPython(t *testing.T) {
	t.Parallel()
	python := testneeds.Program(t, "python3")
	testneeds.That(t, exec.Command(python, "-c", "import ensurepip").Run() == nil, "python3-venv is not installed")
	dir := copyOf(t, "python")
	run(t, exec.Command(python, "-m", "venv", filepath.Join(dir, "venv")))
	python = filepath.Join(dir, "venv", "bin", "python")
	run(t, exec.Command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", filepath.Join(dir, "requirements.txt")))
	runIn(t, dir, python, "-m", "unittest")
}

func TestNode(t *testing.T) {
	t.Parallel()
	testneeds.Program(t, "node")
	npm := testneeds.Program(t, "npm")
	dir := copyOf(t, "node")
	run(t, exec.Command(npm, "--prefix", dir, "ci", "--no-audit", "--no-fund", "--ignore-scripts"))
	runIn(t, dir, npm, "test")
}

func TestPHP(t *testing.T) {
	t.Parallel()
	runIn(t, "php", testneeds.Program(t, "php"), "test.php")
}

func TestJava(t *testing.T) {
	onlyWithAll(t)
	runIn(t, copyOf(t, "java"), testneeds.Program(t, "mvn"), "-q", "-B", "test")
}

func TestRust(t *testing.T) {
	onlyWithAll(t)
	runIn(t, copyOf(t, "rust"), testneeds.Program(t, "cargo"), "test", "--quiet")
}

func onlyWithAll(t *testing.T) {
	t.Helper()
	if !*all {
		t.Skip("takes minutes: make examples")
	}
	t.Parallel()
}
