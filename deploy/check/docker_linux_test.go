package check

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/testneeds"
)

const (
	dockerfile = "../docker/Dockerfile"
	nginxFile  = "../docker/nginx.conf"
)

// parseDockerfile parses the Dockerfile as BuildKit does. What its linter says fails the test.
func parseDockerfile(t *testing.T) (stages []instructions.Stage) {
	t.Helper()
	result, err := parser.Parse(strings.NewReader(readFile(t, dockerfile)))
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Warnings) > 0 {
		t.Errorf("warnings: %v", result.Warnings)
	}
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, text string, _ []parser.Range) {
		t.Errorf("%s: %s", rule, text)
	}})
	stages, args, err := instructions.Parse(result.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	if len(stages) != 2 || len(args) > 0 {
		t.Fatalf("%d stages, arguments before them: %v, want two and none", len(stages), args)
	}
	return stages
}

// commandsOf returns the instructions of a kind.
func commandsOf[C instructions.Command](stage instructions.Stage) (commands []C) {
	for _, command := range stage.Commands {
		if c, ok := command.(C); ok {
			commands = append(commands, c)
		}
	}
	return commands
}

func TestDockerfile(t *testing.T) {
	stages := parseDockerfile(t)
	built, image := stages[0], stages[1]
	if image.BaseName != "scratch" {
		t.Errorf("from %s, want scratch", image.BaseName)
	}
	if user := commandsOf[*instructions.UserCommand](image); len(user) != 1 || !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(user[0].User) {
		t.Errorf("user %v, want one by number: there are no names", user)
	}
	for _, c := range commandsOf[*instructions.CopyCommand](built) {
		for _, source := range c.SourcePaths {
			if _, err := os.Stat(filepath.Join(root, source)); err != nil {
				t.Errorf("COPY %s: %v", source, err)
			}
		}
	}
	entry := commandsOf[*instructions.EntrypointCommand](image)[0].CmdLine
	health := commandsOf[*instructions.HealthCheckCommand](image)[0].Health.Test
	if !slices.Equal(health, append([]string{"CMD"}, append(entry, "health")...)) {
		t.Errorf("health check %q, want that of %q", health, entry)
	}
	var variables []string
	for _, env := range commandsOf[*instructions.EnvCommand](image) {
		for _, pair := range env.Env {
			variables = append(variables, pair.Key+"="+pair.Value)
		}
	}
	checkFlags(t, variables, nil)
}

// TestDockerBuild runs the command that builds the program in the image: it has the version
// that was given, and needs no library.
func TestDockerBuild(t *testing.T) {
	out := t.TempDir()
	for _, c := range commandsOf[*instructions.RunCommand](parseDockerfile(t)[0]) {
		if !strings.Contains(c.CmdLine[0], "go build") {
			continue
		}
		cmd := exec.Command("sh", "-ec", strings.ReplaceAll(c.CmdLine[0], "/out/", out+"/"))
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH=", "VERSION=v9.8.7")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd.Args, err, text)
		}
	}
	program := filepath.Join(out, "token-server")
	if got := run(t, program, "--version"); !strings.Contains(got, "v9.8.7") {
		t.Errorf("--version = %q, want v9.8.7", got)
	}
	if data := readFile(t, program); strings.Contains(data, "ld-linux") {
		t.Error("the program is not static")
	}
}

// TestDockerIgnore: nothing that the Dockerfile needs is left out.
func TestDockerIgnore(t *testing.T) {
	for line := range strings.Lines(readFile(t, dockerfile+".dockerignore")) {
		if got := strings.TrimSpace(line); !slices.Contains([]string{".git", "bin", "bench/results"}, got) {
			t.Errorf("%q is left out: is it of no use to a build?", got)
		}
	}
}

// compose loads compose.yaml, strictly.
func compose(t *testing.T) *types.Project {
	t.Helper()
	file, err := filepath.Abs("../docker/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  filepath.Dir(file),
		ConfigFiles: []types.ConfigFile{{Filename: file}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func TestComposeFiles(t *testing.T) {
	for name, service := range compose(t).Services {
		if b := service.Build; b != nil {
			if _, err := os.Stat(filepath.Join(b.Context, b.Dockerfile)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, volume := range service.Volumes {
			if _, err := os.Stat(volume.Source); volume.Type == types.VolumeTypeBind && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestCompose runs what compose.yaml describes without containers: engines with their
// flags, the command that makes a cluster of them, three token servers with their
// variables, and nginx with its file. Addresses are those of this machine.
func TestCompose(t *testing.T) {
	cli := testneeds.Program(t, "redis-cli")
	project := compose(t)
	var here []string // pairs of an address in compose.yaml and one of this machine
	for i := range 6 {
		engine := project.Services[fmt.Sprintf("valkey-%d", i+1)]
		e := enginetest.Start(t, engine.Command[1:]...)
		fixed := engine.Networks["fleet"].Ipv4Address
		here = append(here, fixed+":6379", e.Address(), engine.Name+":6379", e.Address(), fixed+" -p 6379", fmt.Sprintf("127.0.0.1 -p %d", e.Port))
	}
	inPlace := strings.NewReplacer(here...)

	bin := t.TempDir()
	if err := os.Symlink(cli, filepath.Join(bin, "valkey-cli")); err != nil {
		t.Fatal(err)
	}
	create := project.Services["valkey-cluster"].Command
	for range 2 { // the second time there is one
		cmd := exec.Command(create[0], create[1], inPlace.Replace(strings.ReplaceAll(create[2], "$$", "$")))
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", cmd.Args, err, out)
		}
	}

	var upstreams []string
	for i := range 3 {
		service := project.Services[fmt.Sprintf("token-server-%d", i+1)]
		var variables []string
		for name, value := range service.Environment {
			variables = append(variables, name+"="+inPlace.Replace(*value))
		}
		checkFlags(t, variables, service.Command)
		s := startServer(t, tokenServer(t, variables, "--port=0", "--admin-address=127.0.0.1:0"))
		upstreams = append(upstreams, service.Name+":3666", s.address)
	}
	front := startNginx(t, strings.NewReplacer(upstreams...))
	for range 30 {
		front.exchange()
	}
}

// startNginx starts nginx with the file of compose.yaml, and the servers' addresses in place.
func startNginx(t *testing.T, servers *strings.Replacer) *server {
	t.Helper()
	path := "/usr/sbin/nginx"
	_, err := os.Stat(path)
	testneeds.That(t, err == nil, "nginx is not installed")
	dir, address := t.TempDir(), fmt.Sprintf("127.0.0.1:%d", enginetest.FreePort(t))
	config := strings.ReplaceAll(servers.Replace(readFile(t, nginxFile)), "/tmp/", dir+"/")
	config = strings.ReplaceAll(config, "listen 3666;", "listen "+address+";")
	args := []string{"-p", dir, "-e", "stderr", "-c", writeFile(t, filepath.Join(dir, "nginx.conf"), config, 0o600)}
	if out := run(t, path, append(args, "-t")...); strings.Contains(out, "[warn]") {
		t.Errorf("nginx -t:\n%s", out)
	}
	cmd := exec.Command(path, append(args, "-g", "daemon off; master_process off;")...)
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cmd: cmd, address: address}
	t.Cleanup(s.kill)
	until(t, "nginx", func() bool { return s.status("GET", "/readyz", "") == http.StatusOK })
	return s
}
