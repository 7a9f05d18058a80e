package browsertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"tokenserver/internal/testneeds"
)

// programs is the folder of the programs under test, which are built once.
var programs string

func TestMain(m *testing.M) {
	code := m.Run()
	stopBrowser()
	os.RemoveAll(programs)
	os.Exit(code)
}

var build = sync.OnceValue(func() error {
	var err error
	if programs, err = os.MkdirTemp("", "browsertest"); err != nil {
		return err
	}
	out, err := exec.Command("go", "-C", "..", "build", "-o", programs+"/", "./cmd/...", "./examples/webapp").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
})

// process is a token-server that runs.
type process struct {
	t              *testing.T
	args           []string
	command        *exec.Cmd
	address, admin string
	log            *logLines
}

// start starts a server, until the test ends.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, args: append([]string{"--port=0", "--admin-address=127.0.0.1:0"}, args...)}
	p.run()
	t.Cleanup(p.stop)
	return p
}

// logLines are the lines that a process has written.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

var listening = regexp.MustCompile(`msg="?(admin )?listening"? address=(\S+)`)

func (p *process) run() {
	p.t.Helper()
	p.log = new(logLines)
	p.command = exec.Command(filepath.Join(programs, "token-server"), p.args...)
	stderr, err := p.command.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	lines := make(chan string, 64)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.log.mu.Lock()
			p.log.text.WriteString(s.Text() + "\n")
			p.log.mu.Unlock()
			select {
			case lines <- s.Text():
			default:
			}
		}
	}()
	for line := range lines {
		if found := listening.FindStringSubmatch(line); found != nil && found[1] == "" {
			p.address = found[2]
		} else if found != nil {
			p.admin = found[2]
		}
		if strings.Contains(line, "msg=ready") {
			return
		}
	}
	p.t.Fatalf("the server did not become ready:\n%s", p.log)
}

func (p *process) stop() {
	p.command.Process.Signal(syscall.SIGTERM)
	p.command.Wait()
}

// again starts a server that was stopped on the addresses that it had.
func (p *process) again() {
	p.args = append(p.args, "--address="+p.address, "--admin-address="+p.admin)
	p.run()
}

func (p *process) url() string { return "http://" + p.admin + "/" }

// post sends a body to the server, and returns the answer.
func (p *process) post(path, body string) string {
	p.t.Helper()
	res, err := http.Post("http://"+p.address+path, "application/json", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		p.t.Fatalf("POST %s = %d %s, %v", path, res.StatusCode, text, err)
	}
	return string(text)
}

// load puts load on the server until the test ends, or so long.
func (p *process) load(d time.Duration, args ...string) (stop func()) {
	ctx, cancel := context.WithCancel(p.t.Context())
	command := exec.CommandContext(ctx, filepath.Join(programs, "token-load"), append([]string{
		"--address=" + p.address, "--connections=8", "--warm-up=0s", fmt.Sprintf("--duration=%s", d)}, args...)...)
	if err := command.Start(); err != nil {
		p.t.Fatal(err)
	}
	return func() {
		cancel()
		command.Wait()
	}
}

// browser is one that all tests share.
var browser = sync.OnceValue(func() context.Context {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("host-resolver-rules", "MAP "+farHost+" 127.0.0.1"))
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	// The library does not know all that a new browser tells.
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(log.New(io.Discard, "", 0).Printf))
	stopBrowser = func() { cancel(); cancelAllocator() }
	if err := chromedp.Run(ctx); err != nil {
		panic(err)
	}
	return ctx
})

var stopBrowser = func() {}

// farHost is a name of this machine that a browser does not take for a secure context, as
// another machine over plain HTTP.
const farHost = "console.test"

// far returns the address of the console as it is from another machine.
func (p *process) far() string {
	return "http://" + farHost + p.admin[strings.LastIndexByte(p.admin, ':'):] + "/"
}

// tab is a page in a context of its own: no cookie, no login.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
}

// patience is how long a page may take for anything.
const patience = time.Minute

func newTab(t *testing.T, width, height int64, dark bool) *tab {
	t.Helper()
	testneeds.Program(t, "chromium")
	return newTabOf(t, newWindow(t), width, height, dark)
}

// newTabOf is newTab of a target that there is.
func newTabOf(t *testing.T, id target.ID, width, height int64, dark bool) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(), chromedp.WithTargetID(id))
	t.Cleanup(cancel)
	ctx, cancelTime := context.WithTimeout(ctx, patience)
	t.Cleanup(cancelTime)
	b := &tab{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.listen)
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.do(network.Enable(), cdplog.Enable(), chromedp.EmulateViewport(width, height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
	return b
}

// newWindow opens a window with storage of its own.
func newWindow(t *testing.T) (id target.ID) {
	t.Helper()
	err := chromedp.Run(browser(), chromedp.ActionFunc(func(ctx context.Context) error {
		ctx = cdp.WithExecutor(ctx, chromedp.FromContext(ctx).Browser)
		storage, err := target.CreateBrowserContext().WithDisposeOnDetach(true).Do(ctx)
		if err != nil {
			return err
		}
		id, err = target.CreateTarget("about:blank").WithBrowserContextID(storage).WithNewWindow(true).Do(ctx)
		return err
	}))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// listen remembers all that a good page has none of.
func (b *tab) listen(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.problems = append(b.problems, "exception: "+e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		b.problems = append(b.problems, fmt.Sprintf("console: %s", e.Args[0].Value))
	case *cdplog.EventEntryAdded:
		b.problems = append(b.problems, fmt.Sprintf("log: %s %s", e.Entry.Text, e.Entry.URL))
	case *network.EventLoadingFailed:
		if !e.Canceled {
			b.problems = append(b.problems, fmt.Sprintf("load: %s %s", e.ErrorText, e.BlockedReason))
		}
	case *network.EventResponseReceived:
		if e.Response.Status >= 400 {
			b.problems = append(b.problems, fmt.Sprintf("response: %d %s", e.Response.Status, e.Response.URL))
		}
	}
}

// wantNoProblem checks that there was no error of any kind so far.
func (b *tab) wantNoProblem() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Error(p)
	}
}

func (b *tab) do(actions ...chromedp.Action) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// open opens a page and waits until the stream has brought something.
func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
	b.until("document.querySelectorAll('.chart path').length > 0")
}

// until waits until an expression is true, whatever the page becomes meanwhile.
func (b *tab) until(expression string) {
	b.t.Helper()
	for {
		var ok bool
		err := chromedp.Run(b.ctx, chromedp.Evaluate("Boolean("+expression+")", &ok))
		switch {
		case err == nil && ok:
			return
		case b.ctx.Err() != nil:
			b.t.Fatalf("%s: never: %v", expression, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// eval sets result to the value of an expression, which may be a promise.
func (b *tab) eval(expression string, result any) {
	b.t.Helper()
	wait := func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }
	if err := chromedp.Run(b.ctx, chromedp.Evaluate(expression, result, wait)); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
}
