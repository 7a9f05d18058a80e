package main

import (
	"net/http"
	"testing"
)

// TestStoreID: /readyz says whose sessions a server has: those of the process, or of
// the data directory.
func TestStoreID(t *testing.T) {
	ask := func(args ...string) string {
		t.Helper()
		p := startProcess(t, args...)
		res, err := http.Get("http://" + p.address + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		p.cmd.Process.Kill()
		<-p.exited
		return res.Header.Get("Store-Id")
	}
	if one, two := ask(), ask(); one == "" || one == two {
		t.Errorf("two processes in memory mode have the stores %q and %q, want two", one, two)
	}
	dir := "--data-dir=" + t.TempDir()
	if one, two := ask(dir), ask(dir); one == "" || one != two {
		t.Errorf("one data directory has the stores %q and %q, want one", one, two)
	}
}
