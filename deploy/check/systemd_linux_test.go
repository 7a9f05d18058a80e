package check

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"

	"tokenserver/internal/testneeds"
)

const (
	units       = "../systemd/"
	serviceFile = units + "token-server.service"
	// maxExposure is the greatest exposure level of the service, in tenths.
	maxExposure = "15"
)

// TestServiceExposure: systemd itself rates how much the service may do.
func TestServiceExposure(t *testing.T) {
	testneeds.Program(t, "systemd-analyze")
	run(t, "systemd-analyze", "security", "--offline=true", "--threshold="+maxExposure, serviceFile)
}

// TestUnits: systemd knows all that the units say, with the drop-in too, and the program
// that the service starts is there.
func TestUnits(t *testing.T) {
	testneeds.Program(t, "systemd-analyze")
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, dropIns := range [][]string{nil, {"credentials.conf"}} {
		dir := t.TempDir()
		for _, name := range []string{"token-server.service", "token-server.socket", "token-server-admin.socket"} {
			text := strings.ReplaceAll(readFile(t, units+name), "/usr/bin/token-server", path)
			writeFile(t, filepath.Join(dir, name), text, 0o644)
		}
		for _, name := range dropIns {
			writeFile(t, filepath.Join(dir, "token-server.service.d", name), readFile(t, units+name), 0o644)
		}
		for _, name := range []string{"token-server.service", "token-server.socket", "token-server-admin.socket"} {
			// A complaint alone does not make it fail.
			if out := run(t, "systemd-analyze", "verify", "--man=no", filepath.Join(dir, name)); strings.Contains(out, "token-server") {
				t.Errorf("systemd-analyze verify %s with %q:\n%s", name, dropIns, out)
			}
		}
	}
}

// TestSocketUnits: the sockets have the names and addresses that the server knows.
func TestSocketUnits(t *testing.T) {
	for name, want := range map[string][]string{
		"token-server.socket":       {"127.0.0.1:3666", "http"},
		"token-server-admin.socket": {"127.0.0.1:3667", "admin"},
	} {
		unit := readFile(t, units+name)
		got := append(settings(unit, "ListenStream"), settings(unit, "FileDescriptorName")...)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestSysusers: systemd makes the user that the service runs as.
func TestSysusers(t *testing.T) {
	testneeds.Program(t, "systemd-sysusers")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "etc/passwd"), "", 0o644)
	run(t, "systemd-sysusers", "--root="+dir, writeFile(t, filepath.Join(dir, "users.conf"), readFile(t, units+"token-server.sysusers"), 0o644))
	got := readFile(t, filepath.Join(dir, "etc/passwd"))
	want := settings(readFile(t, serviceFile), "User")[0]
	if !regexp.MustCompile(`(?m)^` + want + `:.*:/var/lib/token-server:/usr/sbin/nologin$`).MatchString(got) {
		t.Errorf("/etc/passwd = %q, want user %q", got, want)
	}
}

// TestEnvironmentFile: each line that is commented out is a flag, if one takes the # away.
func TestEnvironmentFile(t *testing.T) {
	dir := t.TempDir()
	variables := regexp.MustCompile(`(?m)^#(TOKEN_SERVER_.*)$`).FindAllStringSubmatch(readFile(t, units+"token-server.default"), -1)
	if len(variables) < 5 {
		t.Fatalf("variables = %q, want some", variables)
	}
	credentials(t, dir)
	var all []string
	for _, v := range variables {
		all = append(all, strings.ReplaceAll(v[1], "/etc/token-server", dir))
	}
	checkFlags(t, all, serviceArgs(t, filepath.Join(dir, "data")))
}

// TestCredentials: the variables of the drop-in name files that it loads, and are flags.
func TestCredentials(t *testing.T) {
	dir, conf := t.TempDir(), readFile(t, units+"credentials.conf")
	credentials(t, dir)
	loaded := settings(conf, "LoadCredential")
	var variables []string
	for _, v := range settings(conf, "Environment") {
		_, name, ok := strings.Cut(v, "=%d/")
		if !ok || !slices.Contains(loaded, name+":/etc/token-server/"+name) {
			t.Errorf("Environment=%s: no such credential among %q", v, loaded)
		}
		variables = append(variables, strings.ReplaceAll(v, "%d", dir))
	}
	checkFlags(t, variables, serviceArgs(t, filepath.Join(dir, "data")))
}

// TestSandbox runs the server as the service does, as far as that goes without systemd:
// as another user without any capability, below the filters of system calls, of address
// families and of memory that is written and executed. A call that is not allowed kills it.
func TestSandbox(t *testing.T) {
	testneeds.Program(t, "systemd-analyze")
	testneeds.That(t, os.Geteuid() == 0, "this user is not root")
	for _, test := range []struct {
		name string
		args []string
	}{{"always", nil}, {"everysec", []string{"--fsync=everysec"}}} {
		t.Run(test.name, func(t *testing.T) {
			dir := stateDir(t)
			args := append(serviceArgs(t, dir), "--port=0", "--admin-address=127.0.0.1:0", "--grace=5s", "--address=unix:"+filepath.Join(dir, "tokens"), "--address=127.0.0.1")
			args = append(args, test.args...)
			for range 2 { // it starts anew with what is there
				s := startServer(t, sandboxed(t, args))
				for range 20 {
					s.exchange()
				}
				if code, _ := s.scrape(""); code != http.StatusOK {
					t.Errorf("scrape: status %d", code)
				}
				s.cmd.Process.Signal(syscall.SIGHUP)
				s.exchange()
				s.stop()
			}
		})
	}
}

// TestSandboxKills: what the sandbox of the test above does not allow is the end.
func TestSandboxKills(t *testing.T) {
	testneeds.Program(t, "systemd-analyze")
	testneeds.That(t, os.Geteuid() == 0, "this user is not root")
	for _, args := range [][]string{{"nice", "true"}, {"chown", "0", "/dev/null"}} {
		cmd := sandboxed(t, nil)
		path := testneeds.Program(t, args[0])
		cmd.Args = append([]string{cmd.Args[0], path}, args[1:]...)
		if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "bad system call") {
			t.Errorf("%q in the sandbox: %v, want a bad system call", args, err)
		}
	}
}

// nobody is a user without rights.
const nobody = 65534

// stateDir makes a directory of nobody's that they can reach.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "token-server-state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sandboxVariable has the name of a service's file where a test's binary is to run its
// arguments as that service does.
const sandboxVariable = "CHECK_SANDBOX"

// sandboxed prepares a run of the server in the service's sandbox.
func sandboxed(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	cmd := tokenServer(t, []string{sandboxVariable + "=" + serviceFile, "GOTRACEBACK=none"}, args...)
	cmd.Args = append([]string{os.Args[0], cmd.Path}, args...)
	cmd.Path = os.Args[0]
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// execSandboxed becomes the program of args, in the sandbox of a service.
func execSandboxed(service string, args []string) {
	err := enterSandbox(service)
	if err == nil {
		err = syscall.Exec(args[0], args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, "sandbox:", err)
	os.Exit(1)
}

func enterSandbox(service string) error {
	unit, err := os.ReadFile(service)
	if err != nil {
		return err
	}
	names, err := allowedCalls(string(unit))
	if err != nil {
		return err
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
		return err
	}
	if err := syscall.Setresuid(nobody, nobody, nobody); err != nil { // with it go all capabilities
		return err
	}
	for _, policy := range policies(names) {
		filter := seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy}
		if err := seccomp.LoadFilter(filter); err != nil {
			return err
		}
	}
	return nil
}

// policies returns filters as those of SystemCallFilter=, MemoryDenyWriteExecute= and
// RestrictAddressFamilies=, but that what they don't allow kills the process.
func policies(names []string) []seccomp.Policy {
	const write, exec = syscall.PROT_WRITE, syscall.PROT_EXEC
	conditional := func(name string, conditions ...seccomp.Condition) seccomp.Policy {
		return seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{{
			Action:             seccomp.ActionKillProcess,
			NamesWithCondtions: []seccomp.NameWithConditions{{Name: name, Conditions: conditions}},
		}}}
	}
	var families []seccomp.Condition
	for _, family := range []uint64{syscall.AF_UNIX, syscall.AF_INET, syscall.AF_INET6} {
		families = append(families, seccomp.Condition{Argument: 0, Operation: seccomp.NotEqual, Value: family})
	}
	return []seccomp.Policy{
		conditional("socket", families...),
		conditional("mprotect", seccomp.Condition{Argument: 2, Operation: seccomp.BitsSet, Value: exec}),
		conditional("mmap", seccomp.Condition{Argument: 2, Operation: seccomp.GreaterOrEqual, Value: write | exec}),
		{DefaultAction: seccomp.ActionKillProcess, Syscalls: []seccomp.SyscallGroup{{Action: seccomp.ActionAllow, Names: names}}},
	}
}

// allowedCalls returns the names of the system calls that a service may make on this
// machine, as systemd says what its SystemCallFilter= stands for.
func allowedCalls(unit string) (names []string, err error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	allowed := make(map[string]bool)
	for _, line := range append([]string{"@default"}, settings(unit, "SystemCallFilter")...) {
		list, isDenied := strings.CutPrefix(line, "~")
		for name := range strings.FieldsSeq(list) {
			calls, err := expand(name)
			if err != nil {
				return nil, err
			}
			for _, call := range calls {
				allowed[call] = !isDenied
			}
		}
	}
	for name, isAllowed := range allowed {
		if _, known := info.SyscallNames[name]; known && isAllowed {
			names = append(names, name)
		}
	}
	return names, nil
}

// expand returns the system calls of a set, those in the sets that it has among them.
func expand(name string) (calls []string, err error) {
	if !strings.HasPrefix(name, "@") {
		return []string{name}, nil
	}
	out, err := exec.Command("systemd-analyze", "syscall-filter", "--no-pager", name).Output()
	if err != nil {
		return nil, fmt.Errorf("systemd-analyze syscall-filter %s: %w", name, err)
	}
	for line := range strings.Lines(string(out)) {
		switch item := strings.TrimSpace(line); {
		case item == "", item == name, strings.HasPrefix(item, "#"):
		default:
			more, err := expand(item)
			if err != nil {
				return nil, err
			}
			calls = append(calls, more...)
		}
	}
	return calls, nil
}

// settings returns the values of a setting of a unit.
func settings(unit, name string) (values []string) {
	for _, match := range regexp.MustCompile(`(?m)^`+name+`=(.*)$`).FindAllStringSubmatch(unit, -1) {
		values = append(values, match[1])
	}
	return values
}

// serviceArgs returns the arguments with which the service starts the server, with dir as
// its state directory.
func serviceArgs(t *testing.T, dir string) []string {
	t.Helper()
	words := strings.Fields(settings(readFile(t, serviceFile), "ExecStart")[0])
	for i, word := range words {
		words[i] = strings.ReplaceAll(word, "${STATE_DIRECTORY}", dir)
	}
	return words[1:]
}
