package server

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Lines of the README's tables: | `POST /token` | … and | 200 | `InvalidToken` | …
// The methods of one path may be in one line: `GET, HEAD /healthz`.
var (
	routeRow = regexp.MustCompile("(?m)^\\| `([A-Z, ]+) (/[^` ]*)` \\|")
	errorRow = regexp.MustCompile("(?m)^\\| (\\d+) \\| `(\\w+)` \\|")
)

func readReadme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadmeRoutes(t *testing.T) {
	var got, want []string
	for _, row := range routeRow.FindAllStringSubmatch(readReadme(t), -1) {
		for method := range strings.SplitSeq(row[1], ", ") {
			got = append(got, method+" "+row[2])
		}
	}
	for _, r := range new(Server).routes(true) {
		want = append(want, r.method+" "+r.path)
	}
	compareWithReadme(t, "route", got, want)
}

func TestReadmeErrors(t *testing.T) {
	var got, want []string
	for _, row := range errorRow.FindAllStringSubmatch(readReadme(t), -1) {
		got = append(got, row[1]+" "+row[2])
	}
	for _, a := range append(slices.Clone(answers), unavailable) {
		want = append(want, fmt.Sprintf("%d %s", a.status, codeOf(t, a)))
	}
	compareWithReadme(t, "error", got, want)
}

func codeOf(t *testing.T, a answer) string {
	t.Helper()
	var body struct{ Err string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Err == "" {
		t.Fatalf("%q has no code: %v", a.body, err)
	}
	return body.Err
}

// compareWithReadme checks that the README has what the program has, each once,
// and nothing else.
func compareWithReadme(t *testing.T, what string, got, want []string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("README.md has no %s %q", what, w)
		}
	}
	for i, g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("README.md has the %s %q, which the server has not", what, g)
		}
		if slices.Contains(got[:i], g) {
			t.Errorf("README.md has the %s %q twice", what, g)
		}
	}
}
