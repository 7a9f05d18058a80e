package check

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/yaml"

	"tokenserver/internal/enginetest"
	"tokenserver/internal/testneeds"
)

const (
	alertsFile    = "../prometheus/alerts.yaml"
	dashboardFile = "../grafana/dashboard.json"
)

// TestAlerts: promtool runs the rules' own tests, of which each alert has one.
func TestAlerts(t *testing.T) {
	testneeds.Program(t, "promtool")
	const tests = "../prometheus/alerts_test.yaml"
	run(t, "promtool", "check", "rules", alertsFile)
	run(t, "promtool", "test", "rules", tests)
	text, docs := readFile(t, tests), readFile(t, root+"/docs/operating.md")
	for _, alert := range alerts(t) {
		for _, want := range []string{alert.Alert + " fires\n", alert.Alert + " is quiet\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no test %q", tests, want)
			}
		}
		if !strings.Contains(docs, "`"+alert.Alert+"`") {
			t.Errorf("docs/operating.md does not say what to do at %s", alert.Alert)
		}
	}
}

type alert struct{ Alert, Expr string }

func alerts(t *testing.T) (list []alert) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	if err := yaml.Unmarshal([]byte(readFile(t, alertsFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		list = append(list, group.Rules...)
	}
	if len(list) == 0 {
		t.Fatalf("%s has no alerts", alertsFile)
	}
	return list
}

// TestMetrics scrapes a server of each mode that has done all that is counted: the
// metrics are as promtool wants them, and the values of their labels are bounded.
func TestMetrics(t *testing.T) {
	testneeds.Program(t, "promtool")
	seen := make(map[string]map[string]bool)
	for _, s := range startModes(t) {
		secrets := s.doAll()
		_, text := s.scrape("")
		cmd := exec.Command("promtool", "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool check metrics of %q: %v\n%s", s.cmd.Args, err, out)
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("the metrics have %q in them:\n%s", secret, text)
			}
		}
		checkLabels(t, text)
		addMetrics(seen, text)
	}
	checkNames(t, seen)
}

// labels has all values that labels may have. Others have no bound that is known.
var labels = map[string]*regexp.Regexp{
	"cause":     regexp.MustCompile(`^(reuse|subject)$`),
	"code":      regexp.MustCompile(`^([1-5][0-9]{2}|other)$`),
	"commit":    regexp.MustCompile(`^([0-9a-f]{40}(-modified)?|unknown)$`),
	"goversion": regexp.MustCompile(`^go1\.[0-9.]+$`),
	"kind": regexp.MustCompile(`^(create|exchange|validate|delete|none|` + // items of batches
		`network|timeout|clients|closed|readonly|loading|oom|other)$`), // errors of the engine
	"le":       regexp.MustCompile(`^([0-9.e+-]+|\+Inf)$`),
	"method":   regexp.MustCompile(`^(PUT|POST|DELETE|GET|HEAD|OPTIONS|other)$`),
	"mode":     regexp.MustCompile(`^(standalone|sentinel|cluster)$`),
	"quantile": regexp.MustCompile(`^[0-9.]+$`),
	"result":   regexp.MustCompile(`^(ok|replayed|invalid|Ok|InvalidToken|InvalidRequest|MetaTooLarge|StoreFull|BatchTooLarge|StoreUnavailable)$`),
	"role":     regexp.MustCompile(`^(primary|replica|unknown)$`),
	"version":  regexp.MustCompile(`^((Redis|Valkey) [0-9.]+|go1\.[0-9.]+|v[0-9].*|\(devel\)|unknown)$`),
}

var (
	sample    = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? [^ ]+$`)
	labelPair = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

func checkLabels(t *testing.T, text string) {
	t.Helper()
	for _, s := range sample.FindAllStringSubmatch(text, -1) {
		for _, pair := range labelPair.FindAllStringSubmatch(s[2], -1) {
			if allowed := labels[pair[1]]; allowed == nil || !allowed.MatchString(pair[2]) {
				t.Errorf("%s: the label is none of those that are allowed: %s", s[0], pair[0])
			}
		}
	}
}

// addMetrics adds the names of a scrape's metrics, each with the names of its labels.
func addMetrics(seen map[string]map[string]bool, text string) {
	for _, s := range sample.FindAllStringSubmatch(text, -1) {
		if seen[s[1]] == nil {
			seen[s[1]] = map[string]bool{"job": true, "instance": true}
		}
		for _, pair := range labelPair.FindAllStringSubmatch(s[2], -1) {
			seen[s[1]][pair[1]] = true
		}
	}
}

var (
	selector = regexp.MustCompile(`\b(up|(?:token_server|process|go)_[a-z_]+)(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+) *(?:=~|!~|!=|=)`)
)

// checkNames checks that all metrics that alerts and the dashboard name are there, with the
// labels by which they are selected.
func checkNames(t *testing.T, seen map[string]map[string]bool) {
	t.Helper()
	seen["up"] = map[string]bool{"job": true, "instance": true} // Prometheus makes it
	exprs := queries(t)
	for _, alert := range alerts(t) {
		exprs = append(exprs, alert.Expr)
	}
	for _, expr := range exprs {
		found := selector.FindAllStringSubmatch(expr, -1)
		if len(found) == 0 {
			t.Errorf("%s: no metric", expr)
		}
		for _, s := range found {
			for _, label := range matcher.FindAllStringSubmatch(s[2], -1) {
				if !seen[s[1]][label[1]] {
					t.Errorf("%s: no metric %s with a label %s", expr, s[1], label[1])
				}
			}
		}
	}
}

// startModes starts a server of each mode, whose policies have something to count.
func startModes(t *testing.T) (servers []*server) {
	t.Helper()
	engine := enginetest.Start(t)
	key := writeFile(t, filepath.Join(t.TempDir(), "key"), strings.Repeat("k", 32), 0o600)
	for _, mode := range [][]string{
		nil,
		{"--data-dir=" + filepath.Join(t.TempDir(), "data")},
		{"--valkey=valkey://" + engine.Address(), "--valkey-timeout=100ms", "--secret-file=" + key},
	} {
		args := append([]string{"--port=0", "--admin-address=127.0.0.1:0", "--grace=1s", "--on-reuse=revoke"}, mode...)
		servers = append(servers, startServer(t, tokenServer(t, nil, args...)))
	}
	// An engine that does not answer in time is counted too.
	shared := servers[len(servers)-1]
	engine.Signal(syscall.SIGSTOP)
	if code := shared.status("POST", "/token", `{"meta":{}}`); code != http.StatusServiceUnavailable {
		t.Errorf("POST /token without an engine: status %d", code)
	}
	engine.Signal(syscall.SIGCONT)
	until(t, "the engine", func() bool { return shared.status("GET", "/readyz", "") == http.StatusOK })
	return servers
}

// doAll sends requests of all kinds, and returns what must not be in the metrics.
func (s *server) doAll() (secrets []string) {
	s.t.Helper()
	spent := s.exchange()
	for _, r := range [][3]string{
		{"PUT", "/token", `{"token":"` + spent + `"}`},                    // in its grace
		{"PUT", "/token", `{"token":"` + strings.Repeat("A", 32) + `"}`},  // unknown
		{"POST", "/token/validate", `{"token":"` + spent + `"}`},          //
		{"POST", "/token/batch", `{"batch":[{"create":{"meta":{}}},{}]}`}, //
		{"POST", "/token/batch", `{"batch":[{"exchange":{"token":"x"}}]}`},
		{"POST", "/subject/sessions", `{"subject":"subject-of-grace"}`},
		{"DELETE", "/token", `{"token":"` + spent + `"}`},
		{"DELETE", "/subject", `{"subject":"subject-of-grace"}`},
		{"GET", "/no/" + spent, ""},
		{"PURGE", "/token", ""},
		{"POST", "/token", `{`},
	} {
		if code := s.status(r[0], r[1], r[2]); code == 0 || code >= 500 {
			s.t.Errorf("%q: status %d", r, code)
		}
	}
	return []string{spent, spent[:8], "subject-of-grace", "grace-hopper"}
}

// TestDashboard has Prometheus scrape a server of each mode: every query of the dashboard
// returns data.
func TestDashboard(t *testing.T) {
	testneeds.Program(t, "prometheus")
	var targets []string
	servers := startModes(t)
	for _, s := range servers {
		targets = append(targets, s.admin)
	}
	prometheus := startPrometheus(t, targets)
	// Rates need two scrapes after each of which something has happened.
	pending := queries(t)
	for round := 0; len(pending) > 0; round++ {
		for _, s := range servers {
			s.doAll()
		}
		if round == 0 {
			until(t, "a scrape", func() bool { return prometheus.returns("token_server_build_info") })
		}
		pending = slices.DeleteFunc(pending, func(expr string) bool { return prometheus.returns(inGrafana.Replace(expr)) })
		if round > maxRounds {
			t.Fatalf("no data for %q", pending)
		}
	}
}

// maxRounds is how often the servers are given something to do until all queries have data.
const maxRounds = 200

// inGrafana puts in place what Grafana does.
var inGrafana = strings.NewReplacer("$__rate_interval", "5s", "$job", "token-server", "$instance", ".*")

// queries returns all queries of the dashboard.
func queries(t *testing.T) (exprs []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, dashboardFile)), &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := make(map[int]bool)
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" || (panel.Type == "row") != (len(panel.Targets) == 0) {
			t.Errorf("panel %d %q: want an id of its own, a title, and queries unless it is a row", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	if len(exprs) == 0 {
		t.Fatalf("%s has no queries", dashboardFile)
	}
	return exprs
}

// prometheus is a Prometheus that runs.
type prometheus struct {
	t   *testing.T
	url string
}

// startPrometheus starts a Prometheus that scrapes targets, and evaluates the alerts.
func startPrometheus(t *testing.T, targets []string) prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: token-server
    static_configs:
      - targets: [%q]
`, rules, strings.Join(targets, `","`))
	config = strings.ReplaceAll(config, `\"`, `"`)
	address := fmt.Sprintf("127.0.0.1:%d", enginetest.FreePort(t))
	cmd := exec.Command("prometheus", "--config.file="+writeFile(t, filepath.Join(dir, "prometheus.yml"), config, 0o600),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=warn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p := prometheus{t, "http://" + address}
	until(t, "Prometheus", func() bool {
		resp, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// returns says whether a query returns at least one number.
func (p prometheus) returns(expr string) bool {
	p.t.Helper()
	resp, err := http.Get(p.url + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Error != "" {
		p.t.Fatalf("%s: %s, error %v", expr, answer.Error, err)
	}
	return slices.ContainsFunc(answer.Data.Result, func(r struct{ Value [2]any }) bool {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		return err == nil && !math.IsNaN(v)
	})
}
