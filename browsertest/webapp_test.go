package browsertest

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var opened = regexp.MustCompile(`address=(http://\S+)`)

// startWebapp starts the web application of the examples beside a token server, until the
// test ends, and returns its address.
func startWebapp(t *testing.T, p *process, args ...string) (url string) {
	t.Helper()
	command := exec.Command(filepath.Join(programs, "webapp"), append([]string{"--address=127.0.0.1:0", "--token-server=" + p.address}, args...)...)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGTERM)
		command.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if found := opened.FindStringSubmatch(lines.Text()); found != nil {
			go func() {
				for lines.Scan() { // the pipe must not fill
				}
			}()
			return found[1]
		}
	}
	t.Fatal("the web application did not start")
	return ""
}

// enter logs a user in, and waits for the page that they wanted.
func (b *tab) enter(url, user string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url), chromedp.SendKeys("#name", user+kb.Enter))
	b.wantPage("#renewed")
	b.wantText("#user", user)
}

func (b *tab) wantText(selector, want string) {
	b.t.Helper()
	var got string
	b.eval(fmt.Sprintf(`document.querySelector(%q)?.textContent ?? "no " + %q`, selector, selector), &got)
	if got != want {
		b.t.Errorf("%s is %q, want %q", selector, got, want)
	}
}

// wantPage checks that the page is the one with an element, after a load.
func (b *tab) wantPage(selector string) {
	b.t.Helper()
	b.until(fmt.Sprintf(`document.readyState === "complete" && document.querySelector(%q)`, selector))
}

// renewed returns when the page that is shown says that its token was made.
func (b *tab) renewed() (at string) {
	b.t.Helper()
	b.eval(`document.getElementById("renewed").dateTime`, &at)
	return at
}

// another opens a page that shares cookies with this one.
func (b *tab) another() *tab {
	b.t.Helper()
	var id target.ID
	b.do(chromedp.ActionFunc(func(ctx context.Context) error {
		self := chromedp.FromContext(ctx)
		ctx = cdp.WithExecutor(ctx, self.Browser)
		info, err := target.GetTargetInfo().WithTargetID(self.Target.TargetID).Do(ctx)
		if err != nil {
			return err
		}
		id, err = target.CreateTarget("about:blank").WithBrowserContextID(info.BrowserContextID).Do(ctx)
		return err
	}))
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id))
	b.t.Cleanup(cancel)
	return &tab{t: b.t, ctx: ctx}
}

// The way of a user through the application, with a token server that is restarted and
// stopped meanwhile.
func TestWebapp(t *testing.T) {
	p := start(t, "--data-dir="+t.TempDir(), "--fsync=everysec", "--grace=10s")
	url := startWebapp(t, p, "--grace=10s")
	b := newTab(t, 1280, 800, false)

	b.enter(url+"/report", "Ada <b>Lovelace</b>")
	b.wantText("h1", fmt.Sprintf("Sales, %s %d", time.Now().Month(), time.Now().Year()))

	// What is chosen travels as metadata.
	b.do(chromedp.Navigate(url+"/choose"), chromedp.SetValue("#month", "3"), chromedp.SetValue("#unit", "Research"), chromedp.Click("#choose"))
	b.wantPage("meter")
	b.wantText("h1", fmt.Sprintf("Research, March %d", time.Now().Year()))
	before := b.renewed()
	b.do(chromedp.Reload())
	if after := b.renewed(); after <= before {
		t.Errorf("the token was renewed at %s after a reload, at %s before", after, before)
	}
	b.wantText("h1", fmt.Sprintf("Research, March %d", time.Now().Year()))

	// Back, and a second tab, and the first one again.
	b.do(chromedp.Navigate(url+"/"), chromedp.NavigateBack())
	b.wantPage("meter")
	second := b.another()
	second.do(chromedp.Navigate(url + "/"))
	second.wantText("#unit", "Research")
	b.do(chromedp.Reload())
	b.wantText("#user", "Ada <b>Lovelace</b>")

	b.do(chromedp.Navigate(url+"/parallel"), chromedp.Click("#ask"))
	b.until(`document.getElementById("result").textContent`)
	b.wantText("#result", "10 of 10 were answered.")
	b.wantNoProblem()

	// Restarted, the user stays. Stopped, there is a page that says so, and no login.
	p.stop()
	p.again()
	b.do(chromedp.Navigate(url + "/report"))
	b.wantText("h1", fmt.Sprintf("Research, March %d", time.Now().Year()))
	p.stop()
	b.do(chromedp.Navigate(url + "/report"))
	b.wantPage("#unavailable")
	p.run()
	b.until(`document.getElementById("unavailable") === null || (document.querySelector("main a").click(), false)`)
	b.wantPage("meter")

	b.do(chromedp.Click("#logout"))
	b.wantPage("#name")
	b.do(chromedp.Navigate(url + "/report"))
	b.wantPage("#name")
}

// Without a grace one of the requests with a token wins, the page says so, and the user stays.
func TestWebappWithoutGrace(t *testing.T) {
	p := start(t)
	url := startWebapp(t, p)
	b := newTab(t, 390, 844, true)
	b.enter(url+"/parallel", "Ada")
	b.do(chromedp.Click("#ask"))
	b.until(`document.getElementById("result").textContent`)
	// A browser has six connections, so that the last requests may have the next cookie.
	var got string
	b.eval(`document.getElementById("result").textContent`, &got)
	var answered, refused int
	const format = "%d of 10 were answered, %d refused: without a grace one of those with the same token wins. You are still logged in."
	if _, err := fmt.Sscanf(got, format, &answered, &refused); err != nil || answered < 1 || refused < 1 || answered+refused != 10 {
		t.Errorf("#result is %q, want that some of ten were answered and the others refused", got)
	}
	b.do(chromedp.Navigate(url + "/"))
	b.wantText("#user", "Ada")

	b.do(chromedp.Navigate(url+"/copy"), chromedp.Click("#copy"))
	b.wantPage("#use")
	b.do(chromedp.Click("#use"))
	b.wantPage("#theft")
	b.wantText("#theft", "The copy was refused.")
	b.do(chromedp.Navigate(url + "/"))
	b.wantText("#user", "Ada")
}

// A copy that is used after the grace ends the session, if the token server revokes.
func TestWebappCopyRevokes(t *testing.T) {
	const grace = 500 * time.Millisecond
	p := start(t, "--grace="+grace.String(), "--on-reuse=revoke")
	url := startWebapp(t, p)
	b := newTab(t, 1280, 800, true)
	b.enter(url+"/copy", "Ada")
	b.do(chromedp.Click("#copy"))
	b.wantPage("#use")
	time.Sleep(grace) // the token server's time is real
	b.do(chromedp.Click("#use"))
	b.wantPage("#theft")
	b.wantText("#theft", "The copy was refused.")
	b.do(chromedp.Navigate(url + "/"))
	b.wantPage("#refused")
}

// The sessions of one user on several devices end together, or one by one.
func TestWebappDevices(t *testing.T) {
	url := startWebapp(t, start(t))
	var b [3]*tab
	for i := range b {
		b[i] = newTab(t, 1280, 800, i%2 == 0)
		b[i].enter(url+"/devices", "Ada")
	}
	other := newTab(t, 1280, 800, false)
	other.enter(url+"/devices", "Grace")

	b[0].do(chromedp.Reload())
	var rows int
	b[0].eval(`document.querySelectorAll("tbody tr").length`, &rows)
	if rows != 3 {
		t.Errorf("%d devices are shown, want 3", rows)
	}
	// The newest comes first: that of b[2].
	b[0].do(chromedp.Click("tbody button"))
	b[0].until(`document.querySelectorAll("tbody tr").length === 2`)
	b[2].do(chromedp.Reload())
	b[2].wantPage("#refused")

	b[1].do(chromedp.Click("#everywhere"))
	b[1].wantPage("#name")
	b[0].do(chromedp.Reload())
	b[0].wantPage("#refused")
	other.do(chromedp.Reload())
	other.wantText("#user", "Grace")
}

// Cookies that no token server has given are refused like any other.
func TestWebappGarbledCookies(t *testing.T) {
	url := startWebapp(t, start(t))
	b := newTab(t, 1280, 800, false)
	b.do(chromedp.Navigate(url + "/login"))
	for _, value := range []string{"x", `a"b{}%00`, "ü", strings.Repeat("A", 4000)} {
		b.do(network.SetCookie("token", value).WithURL(url), chromedp.Navigate(url+"/report"))
		b.wantPage("#name")
	}
	b.enter(url+"/", "Ada")
}
