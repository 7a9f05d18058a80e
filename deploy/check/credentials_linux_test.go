package check

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"tokenserver/internal/testcert"
)

// credentials writes what a server may be told of callers into dir: auth, and cert.pem,
// key.pem and callers.pem. It returns the secret of a caller for metrics.
func credentials(t *testing.T, dir string) (secret string) {
	t.Helper()
	ca := testcert.NewAuthority(t)
	pair := ca.Issue("localhost")
	out, err := tokenServer(t, nil, "secret", "prometheus").Output()
	if err != nil {
		t.Fatal(err)
	}
	secret, line, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	for name, text := range map[string]string{
		"auth":        line + ":metrics\n",
		"cert.pem":    string(pair.Cert),
		"key.pem":     string(pair.Key),
		"callers.pem": string(ca.PEM),
	} {
		writeFile(t, filepath.Join(dir, name), text, 0o440)
	}
	return secret
}

// scrape asks for the metrics, with a caller's secret unless it is empty.
func (s *server) scrape(secret string) (code int, metrics string) {
	s.t.Helper()
	req, err := http.NewRequest("GET", "http://"+s.admin+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	return s.do(req)
}
