package browsertest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var screenshots = flag.String("screenshots", "", "folder for screenshots, which are made if there is one")

var loads = flag.Int("loads", 5, "how many loads there are before")

// TestScreenshots makes the pictures of the documentation.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("-screenshots is not set")
	}
	p := start(t, "--max-tokens=40000", "--max-memory=64MiB", "--grace=10s", "--shards=32")
	for i, rate := range []int{400, 900, 1500, 700, 1200}[:*loads] {
		last := i == *loads-1
		length := 14 * time.Second
		if last {
			length = patience
		}
		stop := p.load(length, fmt.Sprintf("--rate=%d", rate), "--sessions=200",
			fmt.Sprintf("--mix=create=%d,exchange=80,patch=10,delete=4,replay=1", 30-5*i))
		defer stop()
		time.Sleep(14 * time.Second)
	}
	for _, tt := range []struct {
		name          string
		width, height int64
		dark          bool
	}{{"console-light-1280", 1280, 800, false}, {"console-dark-1280", 1280, 800, true}, {"console-light-390", 390, 844, false}, {"console-dark-390", 390, 844, true}} {
		b := newTab(t, tt.width, tt.height, tt.dark)
		b.open(p.url())
		time.Sleep(1200 * time.Millisecond)
		var picture []byte
		b.do(chromedp.FullScreenshot(&picture, 100))
		if err := os.WriteFile(filepath.Join(*screenshots, tt.name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWebappScreenshots makes those of the web application.
func TestWebappScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("-screenshots is not set")
	}
	url := startWebapp(t, start(t))
	for _, tt := range []struct {
		name, path    string
		width, height int64
		dark          bool
	}{
		{"webapp-light-1280", "/report", 1280, 560, false},
		{"webapp-dark-1280", "/devices", 1280, 560, true},
		{"webapp-light-390", "/choose", 390, 844, false},
		{"webapp-dark-390", "/report", 390, 844, true},
	} {
		b := newTab(t, tt.width, tt.height, tt.dark)
		b.enter(url+tt.path, "Ada")
		var picture []byte
		b.do(chromedp.FullScreenshot(&picture, 100))
		if err := os.WriteFile(filepath.Join(*screenshots, tt.name+".png"), picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
