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
	var sbom struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dist, program+".cdx.json"))), &sbom); err != nil || sbom.BOMFormat != "CycloneDX" {
		t.Fatalf("SBOM %+v, %v", sbom, err)
	}
	for _, want := range []string{"std", "github.com/cockroachdb/pebble/v2", "github.com/valyala/fasthttp"} {
		if !slices.ContainsFunc(sbom.Components, func(c struct{ Name, Version string }) bool { return c.Name == want && c.Version != "" }) {
			t.Errorf("the SBOM has no %s: %+v", want, sbom.Components)
		}
	}

	again, other := t.TempDir(), t.TempDir()
	run(t, "cp", "-r", root+"/.", again)
	run(t, "make", "--no-print-directory", "-C", again, "release-programs", "VERSION=1.2.3", "PLATFORMS="+platform, "PROGRAMS=token-server", "DIST="+other)
	if readFile(t, filepath.Join(dist, program)) != readFile(t, filepath.Join(other, program)) {
		t.Errorf("%s is another one when it is built again", program)
	}
}
