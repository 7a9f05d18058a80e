package check

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRelease builds a part of a release, and one program of it again elsewhere: both are
// equal. What another folder would change has other keys in the cache, and is built anew.
// (make reproduce compares all of it, and with an empty cache.)
func TestRelease(t *testing.T) {
	dist := t.TempDir()
	const platform, program = "linux/amd64", "token-server-1.2.3-linux-amd64"
	makeTarget(t, "release", "VERSION=1.2.3", "PLATFORMS="+platform, "DIST="+dist)
	sums := readFile(t, filepath.Join(dist, "SHA256SUMS"))
	for _, name := range []string{program, program + ".cdx.json", "token-load-1.2.3-linux-amd64"} {
		if !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("SHA256SUMS has no %s:\n%s", name, sums)
		}
	}
	run(t, "sh", "-ec", `cd "$0" && sha256sum --strict --check SHA256SUMS`, dist)
	var sbom struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dist, program+".cdx.json"))), &sbom); err != nil || sbom.BOMFormat != "CycloneDX" {
		t.Fatalf("SBOM %+v, %v", sbom, err)
	}
	var got []string
	for _, c := range sbom.Components {
		got = append(got, c.Name+" "+c.Version)
	}
	slices.Sort(got)
	if want := modulesOf(t, filepath.Join(dist, program)); !slices.Equal(got, want) {
		t.Errorf("the SBOM has %q, want all modules of the program, %q", got, want)
	}

	again, other := t.TempDir(), t.TempDir()
	run(t, "cp", "-r", root+"/.", again)
	run(t, "make", "--no-print-directory", "-C", again, "release-programs", "VERSION=1.2.3", "PLATFORMS="+platform, "PROGRAMS=token-server", "DIST="+other)
	if readFile(t, filepath.Join(dist, program)) != readFile(t, filepath.Join(other, program)) {
		t.Errorf("%s is another one when it is built again", program)
	}
}

// modulesOf returns the modules that the Go command tells of a program, with their versions,
// and the standard library.
func modulesOf(t *testing.T, program string) (modules []string) {
	t.Helper()
	out := run(t, "go", "version", "-m", program)
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "dep" {
			modules = append(modules, f[1]+" "+f[2])
		}
	}
	_, version, _ := strings.Cut(strings.SplitN(out, "\n", 2)[0], ": go")
	modules = append(modules, "std "+version)
	slices.Sort(modules)
	return modules
}
