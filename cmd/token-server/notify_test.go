package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// serviceManager is who gets the messages of a program.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
	got  []string // assignments, in the order in which they came
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	path := filepath.Join(socketDir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &serviceManager{t: t, conn: conn, path: path}
}

// socketDir returns a directory whose path is short enough for a socket's.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "token-server")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// await reads messages until one has an assignment that begins so, and returns its value.
func (s *serviceManager) await(begin string) string {
	s.t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for buf := make([]byte, 4096); ; {
		n, err := s.conn.Read(buf)
		if err != nil {
			s.t.Fatalf("no message with %s: %v; the messages before: %q", begin, err, s.got)
		}
		lines := strings.Split(string(buf[:n]), "\n")
		s.got = append(s.got, lines...)
		for _, line := range lines {
			if value, ok := strings.CutPrefix(line, begin); ok {
				return value
			}
		}
	}
}

// awaitReady reads messages until one says that the server is ready, and one how it does: two
// goroutines tell them, in any order.
func (s *serviceManager) awaitReady() {
	s.t.Helper()
	for _, begin := range []string{"READY=1", "STATUS=ready: 0 sessions"} {
		if !slices.Contains(s.got, begin) {
			s.await(begin)
		}
	}
}

func (s *serviceManager) wantNothingOf(begin string) {
	s.t.Helper()
	if slices.ContainsFunc(s.got, func(line string) bool { return strings.HasPrefix(line, begin) }) {
		s.t.Errorf("messages = %q, want no %s by now", s.got, begin)
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	s := newServiceManager(t)
	level := filepath.Join(t.TempDir(), "level")
	if err := os.WriteFile(level, []byte("info\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "--port=0", "--admin-address=off", "--data-dir="+t.TempDir(), "--log-level=@"+level)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.path, "WATCHDOG_USEC=200000")
	p := startCommand(t, cmd)
	s.awaitReady()
	for range 3 { // each half of the interval
		s.await("WATCHDOG=1")
	}
	s.wantNothingOf("RELOADING")

	var before, after unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
	s.got = nil
	p.signal(syscall.SIGHUP)
	s.await("RELOADING=1")
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &after)
	s.wantNothingOf("READY")
	when, err := strconv.ParseInt(strings.TrimPrefix(s.got[len(s.got)-1], "MONOTONIC_USEC="), 10, 64)
	if err != nil || when < before.Nano()/1000 || when > after.Nano()/1000 {
		t.Errorf("messages = %q, want MONOTONIC_USEC behind RELOADING, %d … %d", s.got, before.Nano()/1000, after.Nano()/1000)
	}
	s.await("READY=1")

	p.signal(syscall.SIGTERM)
	s.await("STOPPING=1")
	if got := p.wait(); got != exitOK {
		t.Errorf("exit code = %d, want %d:\n%s", got, exitOK, p.log)
	}
}

func TestServiceManagerIsToldOfTheLoad(t *testing.T) {
	s := newServiceManager(t)
	t.Setenv("NOTIFY_SOCKET", s.path)
	m, store, _ := newSlowMain(t)
	m.hangups = make(chan struct{}, 1)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx := t.Context()
	go func() { ended <- m.Wait(ctx) }()
	s.await("STATUS=loading: 43 %")
	s.await("EXTEND_TIMEOUT_USEC=")
	m.hangups <- struct{}{}
	s.await("STATUS=loading: 43 %")
	s.wantNothingOf("READY")
	s.wantNothingOf("RELOADING")
	store.end <- nil
	s.awaitReady()
	if err := m.Close(); err != nil {
		t.Errorf("Close() = %v, want nil", err)
	}
	s.await("STOPPING=1")
	<-ended
}

// A load that fails is never told to be ready.
func TestServiceManagerIsNotToldOfAFailedLoad(t *testing.T) {
	s := newServiceManager(t)
	t.Setenv("NOTIFY_SOCKET", s.path)
	m, store, _ := newSlowMain(t)
	if err := m.Run(); err != nil {
		t.Fatal(err)
	}
	store.end <- fmt.Errorf("damaged file")
	m.Wait(t.Context())
	m.Close()
	s.await("STOPPING=1")
	s.wantNothingOf("READY")
}

// A service manager that does not read, or is not there, holds nothing up.
func TestServiceManagerDoesNotRead(t *testing.T) {
	for name, path := range map[string]string{
		"does not read": newServiceManager(t).path,
		"is not there":  filepath.Join(t.TempDir(), "none"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", path)
			m, _ := run(t)
			for range 1000 {
				m.tellReady()
			}
			create(t, m.url(""))
		})
	}
}

// The watchdog is fed for as long as probes are answered, whatever they take, and not
// while one hangs.
func TestWatchdogIsFed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notifier{messages: make(chan string, 100)}
		s := &service{notifier: n, stopWatchdog: make(chan struct{})}
		hang := make(chan struct{})
		probes := 0
		s.feeding.Go(func() {
			s.feed(time.Second, func() {
				if probes++; probes > 5 {
					<-hang
				}
			})
		})
		time.Sleep(time.Minute)
		if got := len(n.messages); got != 5 {
			t.Errorf("the watchdog was fed %d times, want 5: the next probe hangs", got)
		}
		close(hang)
		time.Sleep(10*time.Second + time.Millisecond)
		if got := len(n.messages); got < 14 {
			t.Errorf("the watchdog was fed %d times, want 14 at least: probes are answered again", got)
		}
		close(s.stopWatchdog)
		s.feeding.Wait()
	})
}
