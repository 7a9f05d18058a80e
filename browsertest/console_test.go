package browsertest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tokenserver/admin/console"
	"tokenserver/admin/sampler"
	"tokenserver/internal/enginetest"
	"tokenserver/internal/testneeds"
)

// shown returns all texts of the page with their ids, and the sample that they are of, once
// /stats has the same sample.
const shown = `(async () => {
	for (;;) {
		const stats = await (await fetch("/stats")).text();
		const texts = {};
		for (const e of document.querySelectorAll("[data-text]")) texts[e.dataset.text] = e.textContent;
		if (document.body.dataset.sample === String(JSON.parse(stats).sample)) return {stats, texts};
		await new Promise((done) => setTimeout(done, 20));
	}
})()`

// wantNumbers checks that every number is that of /stats at the same sample.
func (b *tab) wantNumbers() {
	b.t.Helper()
	var got struct {
		Stats string
		Texts map[string]string
	}
	b.eval(shown, &got)
	s := new(sampler.Sample)
	if err := json.Unmarshal([]byte(got.Stats), s); err != nil {
		b.t.Fatal(err)
	}
	want := console.Texts(s)
	if len(got.Texts) < 30 {
		b.t.Errorf("%d texts are shown, want over 30", len(got.Texts))
	}
	for id, text := range got.Texts {
		if text != want[id] {
			b.t.Errorf("sample %d: %s is shown as %q, /stats says %q", s.Number, id, text, want[id])
		}
	}
}

// TestUnderLoad: numbers and charts follow, nothing is refused, nothing goes wrong.
func TestUnderLoad(t *testing.T) {
	p := start(t, "--max-tokens=50000")
	b := newTab(t, 1280, 800, false)
	b.open(p.url())
	b.wantNumbers()
	defer p.load(patience, "--rate=500", "--sessions=2000")()
	b.until(`parseFloat(document.querySelector("[data-text=exchanged]").textContent) > 100`)
	var before, after string
	line := `document.querySelector(".chart path.c0").getAttribute("d")`
	b.eval(line, &before)
	b.until(fmt.Sprintf("%s !== %q", line, before))
	b.eval(line, &after)
	if len(after) < 20 {
		t.Errorf("the line of the exchanges is %q", after)
	}
	b.wantNumbers()
	for range 3 { // as many samples
		b.eval(`document.body.dataset.sample`, &before)
		b.until(fmt.Sprintf("document.body.dataset.sample !== %q", before))
		b.wantNumbers()
	}
	// Values under the pointer, and by keys.
	b.eval(`(() => { const c = document.querySelector(".chart svg"), r = c.getBoundingClientRect();
		c.dispatchEvent(new PointerEvent("pointermove", {clientX: r.right - 10, clientY: r.top + 50})); return c.parentElement.querySelector(".tip").innerText; })()`, &after)
	if !strings.Contains(after, "Exchanges") || !strings.Contains(after, "Creates") {
		t.Errorf("under the pointer is %q", after)
	}
	b.do(chromedp.Focus("#bars", chromedp.ByQuery), chromedp.KeyEvent(kb.ArrowRight))
	b.eval(`document.getElementById("aloud").textContent`, &after)
	if !strings.Contains(after, "sessions") {
		t.Errorf("the arrow key says %q", after)
	}
	// A reload loses nothing.
	b.open(p.url())
	b.wantNumbers()
	b.wantNoProblem()
}

func TestBars(t *testing.T) {
	for _, shards := range []int{1, 32, 1024} {
		p := start(t, fmt.Sprintf("--shards=%d", shards))
		b := newTab(t, 1280, 800, false)
		b.open(p.url())
		var bars int
		b.eval(`document.querySelectorAll("#bars rect").length`, &bars)
		if bars != shards {
			t.Errorf("%d bars for %d shards", bars, shards)
		}
		b.wantNumbers()
		b.wantNoProblem()
	}
}

// TestWidthsAndThemes: nothing is wider than the screen, the theme is the system's until it is
// chosen, and what is chosen is kept.
func TestWidthsAndThemes(t *testing.T) {
	p := start(t)
	background := `getComputedStyle(document.body).backgroundColor`
	colours := make(map[string]string)
	for _, dark := range []bool{false, true} {
		for _, width := range []int64{1280, 390} {
			b := newTab(t, width, 800, dark)
			b.open(p.url())
			var over int64
			b.eval(`document.documentElement.scrollWidth`, &over)
			if over > width {
				t.Errorf("the page is %d wide on a screen of %d", over, width)
			}
			var rows int
			b.eval(`new Set([...document.querySelectorAll(".controls > *")].map((e) => Math.round(e.getBoundingClientRect().bottom / 10))).size`, &rows)
			if rows != 1 {
				t.Errorf("the controls take %d rows on a screen of %d", rows, width)
			}
			if width == 1280 {
				b.eval(`(() => { document.querySelector(".gauge .value").textContent = "11.7 GiB ".repeat(9);
					return new Set([...document.querySelectorAll(".meter")].map((e) => Math.round(e.getBoundingClientRect().top))).size; })()`, &rows)
				if rows != 1 {
					t.Errorf("the meters have %d heights where a text has two lines", rows)
				}
			}
			var system, other string
			b.eval(background, &system)
			colours[fmt.Sprint(dark)] = system
			choice := map[bool]string{false: "dark", true: "light"}[dark]
			b.eval(fmt.Sprintf(`(() => { const s = document.getElementById("theme"); s.value = %q; s.dispatchEvent(new Event("change")); return %s; })()`, choice, background), &other)
			if other == system {
				t.Errorf("dark = %v: the switch changes nothing: %s", dark, other)
			}
			b.open(p.url())
			b.until(fmt.Sprintf("%s === %q", background, other))
			b.wantNoProblem()
		}
	}
	if colours["true"] == colours["false"] {
		t.Errorf("the system's theme changes nothing: %v", colours)
	}
}

// TestNoScript: without JavaScript the numbers are there.
func TestNoScript(t *testing.T) {
	p := start(t)
	b := newTab(t, 390, 800, false)
	b.do(emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(p.url()))
	var text string
	b.do(chromedp.Text("[data-text=status]", &text, chromedp.ByQuery))
	if text != "Ready" {
		t.Errorf("status = %q", text)
	}
	b.wantNoProblem()
}

// TestScripts: a script does nothing, wherever it comes from.
func TestScripts(t *testing.T) {
	const script = `<img src=x onerror="document.title='taken'"><script>document.title='taken'</script>`
	level := filepath.Join(t.TempDir(), "level")
	if err := os.WriteFile(level, []byte("info\n"+script), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--log-level=@"+level, "--max-tokens=2")
	text, err := json.Marshal(script)
	if err != nil {
		t.Fatal(err)
	}
	p.post("/token", fmt.Sprintf(`{"subject":%s,"meta":{"a":%s}}`, text, text))
	b := newTab(t, 1280, 800, false)
	b.open(p.url())
	b.wantNumbers()
	b.eval(fmt.Sprintf(`(() => { const s = document.getElementById("subject"); s.value = %s; return ""; })()`, text), new(string))
	b.do(chromedp.Submit("#subject", chromedp.ByQuery), chromedp.WaitVisible(".primary", chromedp.ByQuery))
	var question, title string
	b.do(chromedp.Text(".about", &question, chromedp.ByQuery), chromedp.Title(&title))
	if question != script || strings.Contains(title, "taken") {
		t.Errorf("the question is %q, the title %q", question, title)
	}
	b.do(chromedp.Click(".primary", chromedp.ByQuery))
	b.until(`document.getElementById("title").textContent === "Done"`)
	b.do(chromedp.Text(".narrow p", &question, chromedp.ByQuery), chromedp.Title(&title))
	if question != "1 session of the subject ended." || strings.Contains(title, "taken") {
		t.Errorf("done: %q, the title %q", question, title)
	}
	b.wantNoProblem()
}

// TestRestart: the page says that the server is away, and comes back by itself.
func TestRestart(t *testing.T) {
	p := start(t)
	b := newTab(t, 1280, 800, false)
	b.open(p.url())
	p.stop()
	if strings.Contains(p.log.String(), "level=WARN") {
		t.Errorf("a stop with a viewer is warned of:\n%s", p.log)
	}
	b.until(`document.getElementById("live").textContent.startsWith("No connection")`)
	p.again()
	b.until(`document.getElementById("live").textContent.startsWith("As of")`)
	b.wantNumbers()
}

// admins writes an auth file with an admin, and returns the flag and the secret.
func admins(t *testing.T) (flag, secret string) {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(filepath.Join(programs, "token-server"), "secret", "ops").Output()
	if err != nil {
		t.Fatal(err)
	}
	secret, line, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	file := filepath.Join(t.TempDir(), "callers")
	if err := os.WriteFile(file, []byte(line+":admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "--auth-file=" + file, secret
}

// logIn answers whoever asks for a login, and counts that.
func (b *tab) logIn(secret string) (asked func() int) {
	n := 0
	chromedp.ListenTarget(b.ctx, func(event any) {
		switch e := event.(type) {
		case *fetch.EventAuthRequired:
			b.mu.Lock()
			n++
			b.mu.Unlock()
			go chromedp.Run(b.ctx, fetch.ContinueWithAuth(e.RequestID, &fetch.AuthChallengeResponse{
				Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: "me", Password: secret}))
		case *fetch.EventRequestPaused:
			go chromedp.Run(b.ctx, fetch.ContinueRequest(e.RequestID))
		}
	})
	b.do(fetch.Enable().WithHandleAuthRequests(true))
	return func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return n
	}
}

func (b *tab) setLevel(level string) {
	b.t.Helper()
	b.do(chromedp.SetValue("#level", level, chromedp.ByQuery), chromedp.Submit("#level", chromedp.ByQuery),
		chromedp.WaitVisible(".primary", chromedp.ByQuery), chromedp.Click(".primary", chromedp.ByQuery))
	b.until(`document.getElementById("title").textContent === "Done"`)
	b.do(chromedp.Click(".narrow a", chromedp.ByQuery))
	b.until(fmt.Sprintf(`document.querySelector("[data-text=log_level]") && document.querySelector("[data-text=log_level]").textContent === %q`, level))
}

// TestLogin: beyond loopback the page asks for the login, on loopback the first action does.
func TestLogin(t *testing.T) {
	flag, secret := admins(t)
	t.Run("network", func(t *testing.T) {
		p := start(t, "--admin-address=0.0.0.0:0", flag)
		b := newTab(t, 1280, 800, false)
		asked := b.logIn(secret)
		b.open("http://127.0.0.1:" + p.admin[strings.LastIndexByte(p.admin, ':')+1:] + "/")
		if asked() == 0 {
			t.Error("nobody asked for the login")
		}
		b.wantNumbers()
		b.setLevel("warn")
	})
	// Another machine over plain HTTP: then a browser does not tell where a request comes from
	// but by its Origin.
	t.Run("plain HTTP", func(t *testing.T) {
		p := start(t, flag, "--admin-host="+farHost)
		b := newTab(t, 1280, 800, false)
		b.logIn(secret)
		b.open(p.far())
		b.setLevel("warn")
	})
	t.Run("loopback", func(t *testing.T) {
		p := start(t, flag)
		b := newTab(t, 1280, 800, false)
		asked := b.logIn(secret)
		b.open(p.url())
		if asked() != 0 {
			t.Error("looking asks for the login")
		}
		b.setLevel("debug")
		if asked() == 0 {
			t.Error("an action does not ask for the login")
		}
		if !strings.Contains(p.log.String(), `msg="console: log level set" level=debug caller=ops`) {
			t.Errorf("the log has no record of the action:\n%s", p.log)
		}
	})
}

// TestAccessibility: axe-core finds nothing serious, in each theme and width.
func TestAccessibility(t *testing.T) {
	axe := axeScript(t)
	p := start(t)
	b := newTab(t, 1280, 800, true)
	for _, theme := range []string{"dark", "light"} {
		for _, width := range []int64{1280, 390} {
			b.do(chromedp.EmulateViewport(width, 800))
			b.open(p.url())
			b.eval(fmt.Sprintf(`document.documentElement.dataset.theme = %q`, theme), new(string))
			b.wantAccessible(axe)
		}
	}
	b.do(chromedp.Submit("#level", chromedp.ByQuery), chromedp.WaitVisible(".primary", chromedp.ByQuery))
	b.wantAccessible(axe)
}

// axeVersion is the one that is fetched.
const axeVersion = "4.14.1"

// axeScript returns the source of axe-core, which is fetched once.
func axeScript(t *testing.T) string {
	t.Helper()
	npm := testneeds.Program(t, "npm")
	dir := t.TempDir()
	out, err := exec.Command(npm, "pack", "--silent", "--pack-destination", dir, "axe-core@"+axeVersion).CombinedOutput()
	testneeds.That(t, err == nil, fmt.Sprintf("axe-core can't be fetched: %v %s", err, out))
	source, err := exec.Command("tar", "-xzOf", filepath.Join(dir, "axe-core-"+axeVersion+".tgz"), "package/axe.min.js").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

func (b *tab) wantAccessible(axe string) {
	b.t.Helper()
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML string }
	}
	b.eval(axe+`; axe.run(document).then((r) => r.violations.map((v) => ({ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.map((n) => ({HTML: n.html}))})))`, &found)
	for _, v := range found {
		if v.Impact == "serious" || v.Impact == "critical" {
			b.t.Errorf("%s %s: %s: %+.600v", v.Impact, v.ID, v.Help, v.Nodes)
		} else {
			b.t.Logf("%s %s: %s", v.Impact, v.ID, v.Help)
		}
	}
}

// TestDurable: the disk has a panel of its own.
func TestDurable(t *testing.T) {
	p := start(t, "--data-dir="+t.TempDir())
	for range 5 {
		p.post("/token", `{"meta":{}}`)
	}
	b := newTab(t, 390, 800, true)
	b.open(p.url())
	b.until(`parseFloat(document.querySelector("[data-text='disk.group']").textContent) > 0`)
	b.wantNumbers()
	b.wantNoProblem()
}

// TestShared: the engine has a panel of its own, in place of the shards.
func TestShared(t *testing.T) {
	p := start(t, "--valkey=redis://"+enginetest.Start(t).Address())
	p.post("/token", `{"meta":{}}`)
	b := newTab(t, 1280, 800, false)
	b.open(p.url())
	b.until(`document.querySelector("[data-text='engine.eviction']").textContent === "noeviction"`)
	var shards bool
	if b.eval(`document.getElementById("bars") !== null`, &shards); shards {
		t.Error("shared mode has bars for shards")
	}
	b.wantNumbers()
	b.wantNoProblem()
}
