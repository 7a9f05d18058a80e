package check

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tokenserver/internal/testneeds"
)

// makeTarget runs a target of the repository's Makefile.
func makeTarget(t *testing.T, args ...string) {
	t.Helper()
	run(t, "make", append([]string{"--no-print-directory", "-C", root}, args...)...)
}

// debianRoot is a system of its own for dpkg, in a directory.
type debianRoot struct {
	t   *testing.T
	dir string
}

func newDebianRoot(t *testing.T) debianRoot {
	t.Helper()
	r := debianRoot{t, t.TempDir()}
	for _, file := range []string{"var/lib/dpkg/status", "var/lib/dpkg/info/format", "etc/passwd", "etc/group"} {
		writeFile(t, r.path(file), strings.Repeat("1\n", strings.Count(file, "format")), 0o644)
	}
	if err := os.MkdirAll(r.path("var/lib/dpkg/updates"), 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r debianRoot) path(name string) string { return filepath.Join(r.dir, name) }

// dpkg runs dpkg, which has nobody to ask.
func (r debianRoot) dpkg(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("dpkg", append([]string{"--root=" + r.dir, "--force-script-chrootless", "--log=" + r.path("dpkg.log")}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdin = new(bytes.Buffer)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// exists checks that files are there, or are not.
func (r debianRoot) exists(want bool, names ...string) {
	r.t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(r.path(name)); (err == nil) != want {
			r.t.Errorf("%s: there is %v, want %v", name, err == nil, want)
		}
	}
}

const (
	installedProgram = "usr/bin/token-server"
	installedService = "usr/lib/systemd/system/token-server.service"
	enabledService   = "etc/systemd/system/multi-user.target.wants/token-server.service"
	enabledSocket    = "etc/systemd/system/sockets.target.wants/token-server.socket"
	changedByAdmin   = "etc/default/token-server"
	session          = "var/lib/token-server/FORMAT"
)

// TestDebianPackage installs, upgrades and removes the package in a root of its own. What
// an administrator has changed stays, and so do the sessions until a purge: also which units
// are enabled, over a removal and another installation.
func TestDebianPackage(t *testing.T) {
	testneeds.Program(t, "dpkg")
	testneeds.Program(t, "systemd-sysusers")
	testneeds.That(t, os.Geteuid() == 0, "this user is not root")
	dist := t.TempDir()
	for _, version := range []string{"1.0.0", "1.1.0"} {
		makeTarget(t, "deb", "ARCH=amd64", "VERSION="+version, "BIN="+filepath.Join(dist, "bin"), "DIST="+dist)
	}
	packages, err := filepath.Glob(filepath.Join(dist, "token-server_*_amd64.deb"))
	if err != nil || len(packages) != 2 {
		t.Fatalf("packages %q, %v, want two", packages, err)
	}
	r := newDebianRoot(t)
	r.dpkg("--force-architecture", "--install", packages[0])
	r.exists(true, installedProgram, installedService, enabledService, enabledSocket, changedByAdmin)
	if got := run(t, r.path(installedProgram), "--version"); !strings.Contains(got, "v1.0.0") {
		t.Errorf("--version = %q, want v1.0.0", got)
	}
	if passwd := readFile(t, r.path("etc/passwd")); !strings.HasPrefix(passwd, "token-server:") {
		t.Errorf("/etc/passwd = %q, want the user token-server", passwd)
	}
	if got, want := readFile(t, r.path(installedService)), readFile(t, serviceFile); got != want {
		t.Errorf("the service = %q, want %q", got, want)
	}
	writeFile(t, r.path(changedByAdmin), "TOKEN_SERVER_GRACE=5s\n", 0o644)
	writeFile(t, r.path(session), "token-server 2\n", 0o600)
	if err := os.Remove(r.path(enabledService)); err != nil { // systemctl disable
		t.Fatal(err)
	}

	r.dpkg("--force-architecture", "--install", packages[1])
	if got := run(t, r.path(installedProgram), "--version"); !strings.Contains(got, "v1.1.0") {
		t.Errorf("--version = %q after an upgrade, want v1.1.0", got)
	}
	if got := readFile(t, r.path(changedByAdmin)); !strings.Contains(got, "GRACE=5s") {
		t.Errorf("/etc/default/token-server = %q after an upgrade", got)
	}
	r.exists(false, enabledService)
	r.exists(true, session)

	if out := r.dpkg("--remove", "token-server"); !strings.Contains(out, "/var/lib/token-server") {
		t.Errorf("dpkg --remove does not tell of the sessions:\n%s", out)
	}
	r.exists(false, installedProgram, installedService)
	r.exists(true, session, changedByAdmin)
	r.dpkg("--force-architecture", "--install", packages[1])
	r.exists(true, installedProgram, enabledSocket, session)
	r.exists(false, enabledService)
	r.dpkg("--purge", "token-server")
	r.exists(false, "var/lib/token-server", changedByAdmin, enabledSocket)
}

// TestInstall: make install puts all files below its prefix, and the service starts what
// is there. What an administrator has changed stays.
func TestInstall(t *testing.T) {
	dest := t.TempDir()
	writeFile(t, filepath.Join(dest, changedByAdmin), "# changed\n", 0o644)
	makeTarget(t, "install", "DESTDIR="+dest, "PREFIX=/opt/tokens", "BIN="+filepath.Join(t.TempDir(), "bin"))
	run(t, filepath.Join(dest, "opt/tokens/bin/token-server"), "--version")
	unit := readFile(t, filepath.Join(dest, "opt/tokens/lib/systemd/system/token-server.service"))
	if got := settings(unit, "ExecStart")[0]; !strings.HasPrefix(got, "/opt/tokens/bin/token-server ") {
		t.Errorf("ExecStart=%s", got)
	}
	if got := readFile(t, filepath.Join(dest, changedByAdmin)); got != "# changed\n" {
		t.Errorf("/etc/default/token-server = %q, want what was there", got)
	}
}
