package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"tokenserver/access"
)

func TestBackup(t *testing.T) {
	secret, line, err := access.NewSecret("ops")
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := access.ParseSecrets([]byte(line + ":admin\n"))
	if err != nil {
		t.Fatal(err)
	}
	guard := access.NewGuard(secrets, nil)
	sends := func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "archive")
		return err
	}
	fails := func(err error) func(context.Context, io.Writer) error {
		return func(context.Context, io.Writer) error { return err }
	}
	tests := map[string]struct {
		backup        func(context.Context, io.Writer) error
		guard         *access.Guard
		open          bool
		authorization string
		origin        string
		want          int
	}{
		"open":                   {sends, nil, true, "", "", 200},
		"beyond loopback":        {sends, nil, false, "", "", 403},
		"an unknown caller":      {sends, guard, true, "", "", 401},
		"an admin":               {sends, guard, true, "Bearer " + secret, "", 200},
		"a page of another site": {sends, nil, true, "", "http://evil.example", 403},
		"memory mode":            {fails(fmt.Errorf("%w: memory", ErrNoBackup)), nil, true, "", "", 501},
		"no store that could":    {nil, nil, true, "", "", 501},
		"another one":            {fails(ErrBackupRunning), nil, true, "", "", 409},
		"loading":                {fails(errors.New("loading: 43 %")), nil, true, "", "", 503},
	}
	for name, tt := range tests {
		cfg := sampleConfig()
		cfg.Backup, cfg.BackupGuard, cfg.BackupOpen = tt.backup, tt.guard, tt.open
		r := httptest.NewRequest("POST", "/backup", nil)
		r.Header.Set("Authorization", tt.authorization)
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		got := ask(cfg, r)
		if got.Code != tt.want || (got.Body.String() == "archive") != (tt.want == 200) || got.Header().Get("Cache-Control") != "no-store" && tt.want != 200 {
			t.Errorf("%s: POST /backup = %d %q, want %d", name, got.Code, got.Body, tt.want)
		}
	}
}

// A backup that fails in the middle looks whole to no client.
func TestBackupIsCutOff(t *testing.T) {
	cfg := sampleConfig()
	cfg.BackupOpen = true
	cfg.Backup = func(_ context.Context, w io.Writer) error {
		w.Write(make([]byte, 1<<20))
		return errors.New("disk failed")
	}
	_, base := start(t, cfg)
	res, err := http.Post(base+"/backup", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("the body has %d bytes, want an error behind them", len(body))
	}
	http.DefaultClient.CloseIdleConnections()
}
