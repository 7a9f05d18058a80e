package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tokenserver/shard"
)

func TestCreateEvenly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := shard.New(shard.Config{Shards: 1, Lifetime: 10 * time.Second, PurgeInterval: purgeInterval})
		defer store.Close()
		start := time.Now()
		if err := createEvenly(t.Context(), store, 2000, 4*time.Second); err != nil {
			t.Fatal(err)
		}
		if got, want := time.Since(start), 3*time.Second; got != want {
			t.Errorf("the last batch came after %v, want %v", got, want)
		}
		time.Sleep(time.Until(start.Add(12500 * time.Millisecond)))
		if got, want := store.Stats().Purged, uint64(1500); got != want {
			t.Errorf("%d sessions purged 12.5 s after the first, want %d", got, want)
		}
		time.Sleep(2 * time.Second)
		line := &bytes.Buffer{}
		if err := writePurged(line, store); err != nil || line.String() != "purged 2000\n" {
			t.Errorf("writePurged wrote %q, %v, want all sessions", line, err)
		}
	})
}

func TestCreateEvenlyEndsEarly(t *testing.T) {
	store := shard.New(shard.Config{Shards: 1})
	defer store.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := createEvenly(ctx, store, 1000, 0); err != nil || store.Stats().Created != 0 {
		t.Errorf("createEvenly of an ended context: %v, %d created, want none", err, store.Stats().Created)
	}
}

func TestServe(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent(),
		// fasthttp leaves its clock running, and lets its cleaner sleep on.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
	store := shard.New(shard.Config{Shards: 1})
	defer store.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- serve(ctx, store, ln) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Post("http://"+ln.Addr().String()+"/token", "application/json", strings.NewReader(`{"meta":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || store.Stats().Created != 1 {
		t.Errorf("POST: %s, %d created, want one", res.Status, store.Stats().Created)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("serve ended with %v", err)
	}
}

func TestRestingMetadata(t *testing.T) {
	if got := restingMetadata(); len(got) != metaSize || !json.Valid(got) {
		t.Errorf("restingMetadata() = %s with %d bytes, want JSON of %d", got, len(got), metaSize)
	}
}

func TestCheckPurged(t *testing.T) {
	b := &bench{plan: plan{expiring: 1000}}
	cases := []struct {
		name, output string
		ok           bool
	}{
		{caseExpiring, "purged 1000\n", true},
		{caseExpiring, "purged 999\n", false},
		{caseLive, "purged 0\n", true},
		{caseLive, "purged 1\n", false},
		{caseLive, "", false},
	}
	for _, c := range cases {
		p := &process{}
		p.output.WriteString(c.output)
		if err := b.checkPurged(p, c.name); (err == nil) != c.ok {
			t.Errorf("checkPurged of %s with %q: %v, want it to be right: %v", c.name, c.output, err, c.ok)
		}
	}
}
