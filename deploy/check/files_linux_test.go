package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFiles: each file of deploy has a test that checks or uses it, and its folder a line in
// README.md. A new one does not slip in.
func TestFiles(t *testing.T) {
	tests := map[string]func(*testing.T){
		"README.md":                                   TestFiles,
		"debian/nfpm.yaml":                            TestDebianPackage,
		"debian/postinst":                             TestDebianPackage,
		"debian/postrm":                               TestDebianPackage,
		"debian/prerm":                                TestDebianPackage,
		"docker/Dockerfile":                           TestDockerfile,
		"docker/Dockerfile.dockerignore":              TestDockerIgnore,
		"docker/compose.yaml":                         TestCompose,
		"docker/nginx.conf":                           TestCompose,
		"grafana/dashboard.json":                      TestDashboard,
		"kubernetes/durable/kustomization.yaml":       TestManifests,
		"kubernetes/durable/poddisruptionbudget.yaml": TestManifests,
		"kubernetes/durable/service.yaml":             TestManifests,
		"kubernetes/durable/statefulset.yaml":         TestManifests,
		"kubernetes/shared/deployment.yaml":           TestManifests,
		"kubernetes/shared/kustomization.yaml":        TestManifests,
		"kubernetes/shared/poddisruptionbudget.yaml":  TestManifests,
		"kubernetes/shared/service.yaml":              TestManifests,
		"prometheus/alerts.yaml":                      TestAlerts,
		"prometheus/alerts_test.yaml":                 TestAlerts,
		"systemd/credentials.conf":                    TestCredentials,
		"systemd/token-server-admin.socket":           TestUnits,
		"systemd/token-server.default":                TestEnvironmentFile,
		"systemd/token-server.service":                TestUnits,
		"systemd/token-server.socket":                 TestUnits,
		"systemd/token-server.sysusers":               TestSysusers,
	}
	deploy := os.DirFS("..")
	readme := readFile(t, "../README.md")
	err := fs.WalkDir(deploy, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == "check":
			return fs.SkipDir
		case entry.IsDir():
			return nil
		case tests[name] == nil:
			t.Errorf("deploy/%s: no test is known that checks it", name)
		}
		if folder := filepath.Dir(name); folder != "." && !strings.Contains(readme, "`"+folder) && !strings.Contains(readme, "`"+filepath.Base(folder)+"`") {
			t.Errorf("deploy/README.md does not name %s", folder)
		}
		delete(tests, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range tests {
		t.Errorf("deploy/%s is not there, but has a test", name)
	}
}
