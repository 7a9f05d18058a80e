package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"tokenserver/admin/console"
	"tokenserver/admin/sampler"
)

// before runs a script before those of each page that is opened.
func (b *tab) before(script string) {
	b.t.Helper()
	b.do(chromedp.ActionFunc(func(ctx context.Context) error {
		_, err := page.AddScriptToEvaluateOnNewDocument(script).Do(ctx)
		return err
	}))
}

// sibling returns another tab of the same browser context, in a window of its own, or
// behind the others.
func (b *tab) sibling(window bool) *tab {
	b.t.Helper()
	var id target.ID
	err := chromedp.Run(b.ctx, chromedp.ActionFunc(func(ctx context.Context) error {
		info, err := target.GetTargetInfo().Do(ctx)
		if err != nil {
			return err
		}
		ctx = cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser)
		id, err = target.CreateTarget("about:blank").WithBrowserContextID(info.BrowserContextID).WithNewWindow(window).Do(ctx)
		return err
	}))
	if err != nil {
		b.t.Fatal(err)
	}
	return newTabOf(b.t, id, 1280, 800, false)
}

// follows checks that a page shows one sample after the other.
func (b *tab) follows() {
	b.t.Helper()
	var sample string
	b.eval(`document.body.dataset.sample`, &sample)
	b.until(fmt.Sprintf("document.body.dataset.sample !== %q", sample))
}

// A browser has six connections to a server: pages leave some of them to others, on this
// machine and on another one.
func TestManyWindows(t *testing.T) {
	p := start(t, "--admin-host="+farHost)
	for _, url := range []string{p.url(), p.far()} {
		tabs := []*tab{newTab(t, 1280, 800, false)}
		tabs[0].open(url)
		for range 6 {
			b := tabs[0].sibling(true)
			tabs = append(tabs, b)
			b.open(url)
		}
		tabs[0].open(url) // what it had is free again
		polling := 0
		for _, b := range tabs {
			b.follows()
			var note bool
			if b.eval(`document.getElementById("live").textContent.includes("other windows")`, &note); note {
				polling++
			}
			b.wantNoProblem()
		}
		if polling != len(tabs)-4 {
			t.Errorf("%s: %d of %d pages ask for single events, want all but four", url, polling, len(tabs))
		}
	}
}

// A history that could not be loaded is asked for again.
func TestHistoryFails(t *testing.T) {
	p := start(t)
	b := newTab(t, 1280, 800, false)
	b.before(`const get = window.fetch;
		let failed = false;
		window.fetch = (url, ...more) => {
			if (!failed && String(url).includes("history")) { failed = true; return Promise.reject(new TypeError("failed")); }
			return get(url, ...more);
		};`)
	b.open(p.url())
	b.wantNoProblem()
}

// A page that is not shown has no stream, and follows again once it is shown.
func TestHiddenPage(t *testing.T) {
	p := start(t)
	b := newTab(t, 1280, 800, false)
	b.before(`window.open_ = 0;
		const Real = EventSource;
		window.EventSource = class extends Real {
			constructor(url) { super(url); window.open_++; }
			close() { super.close(); window.open_--; }
		};
		Object.defineProperty(document, "hidden", { get: () => window.hidden_ === true });
		window.hide = (yes) => { window.hidden_ = yes; document.dispatchEvent(new Event("visibilitychange")); };`)
	b.open(p.url())
	b.until(`open_ === 1`)
	var sample, later string
	b.eval(`hide(true); document.body.dataset.sample`, &sample)
	b.until(`open_ === 0`)
	b.eval(`(async () => { await new Promise((done) => setTimeout(done, 2500)); return document.body.dataset.sample; })()`, &later)
	if later != sample {
		t.Errorf("a hidden page went on from sample %s to %s", sample, later)
	}
	b.eval(`hide(false); ""`, new(string))
	b.follows()
	b.until(`open_ === 1`)
	b.wantNumbers()
	// What was missed is no gap.
	b.until(`!/M.*M/.test(document.querySelector(".chart path.c0").getAttribute("d"))`)
	b.wantNoProblem()
}

// Whoever comes when as many look as may is told, and sees numbers all the same.
func TestTooManyViewers(t *testing.T) {
	p := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for status := http.StatusOK; status == http.StatusOK; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url()+"stats/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		status = res.StatusCode
	}
	b := newTab(t, 1280, 800, false)
	b.open(p.url())
	b.until(`document.getElementById("live").textContent.endsWith("every 5 s: too many look at this server")`)
	b.wantNumbers()
	b.follows()
	cancel()
	b.until(`/^As of [0-9:]+ UTC$/.test(document.getElementById("live").textContent)`)
	b.wantNumbers()
}

// TestPause: the button says what it does next, and is no switch besides.
func TestPause(t *testing.T) {
	p := start(t)
	for _, script := range []string{"", "window.EventSource = class { close() {} }"} { // as soon as a stream can be
		b := newTab(t, 1280, 800, false)
		b.before(script)
		b.open(p.url())
		b.pauses()
		if script == "" {
			b.follows()
		}
		b.wantNoProblem()
	}
}

// pauses checks what the button does and says.
func (b *tab) pauses() {
	b.t.Helper()
	var got []string
	b.eval(`(async () => {
		const button = document.getElementById("pause"), label = () => button.textContent + (button.hasAttribute("aria-pressed") ? " (a switch)" : "");
		const labels = [label()];
		button.click();
		labels.push(label());
		const sample = document.body.dataset.sample;
		await new Promise((done) => setTimeout(done, 2500));
		if (document.body.dataset.sample !== sample) labels.push("it went on");
		labels.push(document.getElementById("live").textContent.split(" ")[0]);
		button.click();
		labels.push(label());
		return labels;
	})()`, &got)
	if got, want := strings.Join(got, ", "), "Pause, Go on, Paused, Pause"; got != want {
		b.t.Errorf("the button: %s, want %s", got, want)
	}
}

// Charts go on when the server's clock is set, and load nothing again for that; time without
// a sample is a gap.
func TestClockIsSet(t *testing.T) {
	p := start(t)
	b := newTab(t, 1280, 800, false)
	b.before(`window.shift = window.skip = window.dropped = window.loads = 0;
		const get = window.fetch;
		window.fetch = (url, ...more) => { if (String(url).includes("history")) window.loads++; return get(url, ...more); };
		const Real = EventSource;
		window.EventSource = class extends Real {
			set onmessage(f) {
				super.onmessage = (e) => {
					const frame = JSON.parse(e.data), s = frame.stats;
					s.time = new Date(Date.parse(s.time) + window.shift * 1000).toISOString();
					s.server.uptime_seconds += window.skip;
					f({ data: JSON.stringify(frame) });
				};
			}
		};`)
	b.open(p.url())
	const line = `document.querySelector(".chart path.c0").getAttribute("d")`
	const lastLabel = `[...document.querySelectorAll(".chart svg[role=img] text")].findLast((e) => e.getAttribute("text-anchor") === "end" && e.closest(".chart") === document.querySelector(".chart")).textContent`
	for _, hours := range []int{-3, 5} {
		var loads int
		b.eval(`loads`, &loads)
		b.eval(fmt.Sprintf(`shift = %d * 3600; ""`, hours), new(string))
		for range 3 {
			var before string
			b.follows()
			b.eval(line, &before)
			b.until(fmt.Sprintf("%s !== %q", line, before))
		}
		b.until(fmt.Sprintf(`%s.slice(0, 5) === new Date(Date.now() + %d * 3600000).toISOString().slice(11, 16)`, lastLabel, hours))
		var after int
		if b.eval(`loads`, &after); after != loads {
			t.Errorf("clock set by %d hours: the history was loaded %d times again", hours, after-loads)
		}
	}
	b.eval(`skip = 10; ""`, new(string)) // as if the server had hung
	b.until(fmt.Sprintf(`/M.*M/.test(%s)`, line))
	b.wantNoProblem()
}

// TestFormats: the script writes numbers as the server does.
func TestFormats(t *testing.T) {
	code, err := os.ReadFile("../admin/console/format.js")
	if err != nil {
		t.Fatal(err)
	}
	var values []float64
	for _, v := range []float64{0, 1, 1.5, 1.25, 2.5, 9.994, 9.996, 10, 12.34, 99.94, 99.96, 123.45, 999.4, 999.6, 1023.4, 1023.6, 1234.5} {
		for _, scale := range []float64{1e-6, 1e-3, 0.01, 0.1, 1, 1e3, 1e6} {
			values = append(values, v*scale)
		}
	}
	list, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	b := newTab(t, 1280, 800, false)
	var got []struct{ Rate, Count, Seconds, Bytes, Percent string }
	b.eval(fmt.Sprintf(`(() => { %s; return %s.map((v) => ({Rate: formats.rate(v), Count: formats.count(v), Seconds: formats.seconds(v), Bytes: formats.bytes(Math.floor(v)), Percent: formats.percent(v)})); })()`, code, list), &got)
	for i, v := range values {
		s := &sampler.Sample{
			Rates: sampler.Rates{Exchanged: v}, Latency: sampler.Latency{P50: v},
			Disk:   &sampler.Disk{Bytes: int64(v), Group: v},
			Shards: &sampler.Shards{Waiting: v},
		}
		texts := console.Texts(s)
		for _, tt := range []struct{ got, id string }{
			{got[i].Rate, "exchanged"}, {got[i].Count, "disk.group"}, {got[i].Seconds, "p50"}, {got[i].Bytes, "disk.bytes"}, {got[i].Percent, "shards.waiting"},
		} {
			if want := texts[tt.id]; tt.got != want {
				t.Errorf("%v: %s is %q in the script, %q on the server", v, tt.id, tt.got, want)
			}
		}
	}
}

// TestCalm: what is read aloud stays for a minute, and who wants less motion gets less.
func TestCalm(t *testing.T) {
	p := start(t)
	b := newTab(t, 1280, 800, false)
	b.before(`addEventListener("DOMContentLoaded", () => {
		window.said = window.drawn = 0;
		new MutationObserver(() => window.said++).observe(document.getElementById("aloud"), {childList: true});
	})`)
	b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: "reduce"}}))
	b.open(p.url())
	b.follows()
	b.eval(`new MutationObserver(() => window.drawn++).observe(document.querySelector(".chart svg"), {childList: true}); ""`, new(string))
	for range 4 {
		b.follows()
	}
	var got struct{ Said, Drawn int }
	b.eval(`({Said: said, Drawn: drawn})`, &got)
	if got.Said > 0 || got.Drawn > 1 {
		t.Errorf("in some seconds the page spoke %d times and drew %d times, want none, and once at most", got.Said, got.Drawn)
	}
	var motion string
	if b.eval(`getComputedStyle(document.querySelector(".meter rect")).transitionDuration`, &motion); motion != "0s" {
		t.Errorf("meters move for %s", motion)
	}
	b.wantNoProblem()
}
