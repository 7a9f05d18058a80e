package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// machine tells where and with what the figures were measured.
type machine struct {
	cpu       string
	cores     int
	virtual   bool
	memory    int64 // bytes
	kernel    string
	hugePages string  // when transparent huge pages are used
	load      float64 // average of the last minute, before the run

	fileSystem string // of temporary files
	disk       int64  // bytes free there

	versions []version
}

type version struct{ name, version string }

// modules are those whose speed matters to a figure.
var modules = []string{
	"github.com/valyala/fasthttp", "github.com/cockroachdb/pebble/v2", "github.com/maypok86/otter/v2", "github.com/allegro/bigcache/v3",
}

// checkMachine tells what a run needs and this machine has not.
func checkMachine() error {
	if runtime.GOOS != "linux" {
		return errors.New("it reads accounts of the Linux kernel, and this is " + runtime.GOOS)
	}
	if runtime.NumCPU() < 2 {
		return errors.New("it needs two processors, one for the server and one for the load")
	}
	for program, pkg := range map[string]string{"redis-server": "redis-server", "redis-benchmark": "redis-tools", "taskset": "util-linux"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed; on Debian and Ubuntu: apt-get install %s", program, pkg)
		}
	}
	return nil
}

func readMachine(ctx context.Context) (*machine, error) {
	m := &machine{cores: runtime.NumCPU(), hugePages: readHugePages()}
	if err := m.readProc(); err != nil {
		return nil, err
	}
	if err := m.readDisk(ctx); err != nil {
		return nil, err
	}
	return m, m.readVersions(ctx)
}

// readHugePages returns when transparent huge pages are used, or unknown.
func readHugePages() string {
	b, _ := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	return chosen(string(b))
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

func (m *machine) readDisk(ctx context.Context) error {
	out, err := outputOf(ctx, "df", "--block-size=1", "--output=fstype,avail", os.TempDir())
	if err != nil {
		return err
	}
	m.fileSystem, m.disk, err = parseDisk(out)
	return err
}

// parseDisk reads the type and the free bytes of a file system from what df says. One that is
// in memory is an error: a sync would cost nothing there.
func parseDisk(df string) (fileSystem string, free int64, err error) {
	_, line, _ := strings.Cut(df, "\n")
	if _, err := fmt.Sscan(line, &fileSystem, &free); err != nil {
		return "", 0, fmt.Errorf("df: %w", err)
	}
	if fileSystem == "tmpfs" || fileSystem == "ramfs" {
		return "", 0, fmt.Errorf("the directory for temporary files is in memory (%s): set TMPDIR to one on a disk", fileSystem)
	}
	return fileSystem, free, nil
}

func (m *machine) readVersions(ctx context.Context) error {
	redis, err := outputOf(ctx, "redis-server", "--version")
	if err != nil {
		return err
	}
	list, err := outputOf(ctx, "go", append([]string{"list", "-m"}, modules...)...)
	if err != nil {
		return err
	}
	m.versions = []version{{"Go", runtime.Version()}, {"Token Server", commit(ctx)}, {"redis-server", redisVersion(redis)}}
	for line := range strings.Lines(list) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		m.versions = append(m.versions, version{name, number})
	}
	return nil
}

// outputOf returns what a program writes to standard output.
func outputOf(ctx context.Context, program string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, program, args...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, err)
	}
	return string(out), nil
}

// commit returns the commit of the checkout, or unknown where there is none.
func commit(ctx context.Context) string {
	out, err := outputOf(ctx, "git", "describe", "--always", "--dirty=, modified", "--abbrev=12", "--exclude=*")
	if err != nil {
		return "unknown"
	}
	return "commit " + strings.TrimSpace(out)
}

var redisVersionPattern = regexp.MustCompile(`v=([0-9.]+).*malloc=(\S+)`)

// redisVersion returns the version and allocator from the answer to --version.
func redisVersion(out string) string {
	match := redisVersionPattern.FindStringSubmatch(out)
	if match == nil {
		return "unknown"
	}
	return match[1] + ", " + match[2]
}

// buildPrograms builds all that a run needs into a new directory.
func buildPrograms(ctx context.Context) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "token-server-bench"); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"build", "-o", dir + string(filepath.Separator), "tokenserver/cmd/token-server", "tokenserver/cmd/token-load",
			"tokenserver/bench/floor", "tokenserver/bench/redisload"},
		{"test", "-c", "-o", filepath.Join(dir, "bench.test"), "tokenserver/bench"},
		{"test", "-c", "-o", filepath.Join(dir, "valkey.test"), "tokenserver/valkey"},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			os.RemoveAll(dir)
			return "", fmt.Errorf("go %s: %w", args[0], err)
		}
	}
	return dir, nil
}
