package check

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// root is the repository.
const root = "../.."

// patience is how long a test waits for what is to happen, on a machine that is busy.
const patience = time.Minute

func TestMain(m *testing.M) {
	if units := os.Getenv(sandboxVariable); units != "" {
		execSandboxed(units, os.Args[1:])
	}
	code := m.Run()
	if binaryDir != "" {
		os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

var binaryDir string

// binary builds the server once, as make build does.
var binary = sync.OnceValues(func() (path string, err error) {
	if binaryDir, err = os.MkdirTemp("", "token-server"); err != nil {
		return "", err
	}
	if err := os.Chmod(binaryDir, 0o755); err != nil { // for other users too
		return "", err
	}
	path = filepath.Join(binaryDir, "token-server")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=auto", "-o", path, "./cmd/token-server")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// tokenServer prepares a run of the server, with args and no variables but those given.
func tokenServer(t *testing.T, variables []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, variables...)
	return cmd
}

// checkFlags has token-server check say whether a server would start. A warning, as of a
// misspelt variable, fails the test too.
func checkFlags(t *testing.T, variables, args []string) {
	t.Helper()
	out, err := tokenServer(t, variables, append([]string{"check"}, args...)...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "level=WARN") {
		t.Errorf("token-server check %q with %q: %v\n%s", args, variables, err, out)
	}
}

// server is a token server that runs.
type server struct {
	t              *testing.T
	cmd            *exec.Cmd
	address, admin string // where it listens
}

var listening = regexp.MustCompile(`msg="?(admin )?listening"? address=(\S+)`)

// startServer starts a server, and waits until it is ready.
func startServer(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cmd: cmd}
	t.Cleanup(s.kill)
	var lines bytes.Buffer
	for scanner := bufio.NewScanner(log); s.address == "" || s.admin == ""; {
		if !scanner.Scan() {
			t.Fatalf("%q has ended: %v\n%s", cmd.Args, cmd.Wait(), &lines)
		}
		lines.WriteString(scanner.Text() + "\n")
		match := listening.FindStringSubmatch(scanner.Text())
		switch {
		case match == nil:
		case match[1] != "":
			s.admin = match[2]
		default:
			s.address = match[2]
		}
	}
	go io.Copy(io.Discard, log)
	until(t, "readiness of "+s.address, func() bool { return s.status("GET", "/readyz", "") == http.StatusOK })
	return s
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

// stop stops the server gracefully, which has to succeed.
func (s *server) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("stop: %v", err)
	}
}

// status sends a request and returns its status, or 0 if there is no answer.
func (s *server) status(method, path, body string) int {
	code, _ := s.request(method, path, body)
	return code
}

func (s *server) request(method, path, body string) (code int, answer string) {
	req, err := http.NewRequest(method, "http://"+s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return s.do(req)
}

// do returns the status and the body of an answer, or 0 and why there is none.
func (s *server) do(req *http.Request) (code int, answer string) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Error(err)
	}
	return resp.StatusCode, string(text)
}

// exchange creates a session and exchanges its token once.
func (s *server) exchange() (token string) {
	s.t.Helper()
	code, token := s.request("POST", "/token", `{"meta":{"user":"grace-hopper"},"subject":"subject-of-grace"}`)
	if code != http.StatusOK {
		s.t.Fatalf("POST /token: %d %s", code, token)
	}
	if code, answer := s.request("PUT", "/token", `{"token":"`+token+`"}`); code != http.StatusOK || !strings.HasPrefix(answer, `{"Ok"`) {
		s.t.Fatalf("PUT /token: %d %s", code, answer)
	}
	return token
}

// until waits until ok.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// run runs a tool that has to succeed, and returns what it has written.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return name
}
