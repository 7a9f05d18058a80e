package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Of what a service manager is told.
const (
	// loadStatusInterval and statusInterval are the times between two messages about the
	// load, and about the sessions.
	loadStatusInterval = time.Second
	statusInterval     = 10 * time.Second
	// loadExtension is how much longer a load may take at each message about it.
	loadExtension = 30 * time.Second
	// stopExtension is how long a stop may take beyond the drain delay.
	stopExtension = 2 * shutdownTimeout
	// queuedMessages is how many messages wait for a service manager that does not read.
	queuedMessages = 16
)

// notifier tells the service manager that has started the program how it does, as
// sd_notify(3) has it. Its methods may be called on nil, and tell nobody then. None of
// them waits for a service manager that does not read.
type notifier struct {
	log      *slog.Logger
	messages chan string
	sent     chan struct{} // closed when all messages are
}

// newNotifier returns nil if there is no service manager that wants to be told.
func newNotifier(log *slog.Logger) *notifier {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	n := &notifier{log: log, messages: make(chan string, queuedMessages), sent: make(chan struct{})}
	go n.send()
	return n
}

func (n *notifier) send() {
	defer close(n.sent)
	failed := false
	for message := range n.messages {
		_, err := daemon.SdNotify(false, message)
		if err != nil && !failed {
			n.log.Warn("the service manager can't be told (NOTIFY_SOCKET)", "error", err)
		}
		failed = err != nil
	}
}

// tell sends some assignments in one message. If too many wait, it is lost.
func (n *notifier) tell(assignments ...string) {
	if n == nil {
		return
	}
	select {
	case n.messages <- strings.Join(assignments, "\n"):
	default:
	}
}

// close ends the notifier once all has been sent, or is not taken in time.
func (n *notifier) close() {
	if n == nil {
		return
	}
	close(n.messages)
	select {
	case <-n.sent:
	case <-time.After(logPatience):
	}
}

func status(text string) string { return "STATUS=" + text }

func extension(d time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds())
}

// service is what the service manager is told of, from Run to the end of Close.
type service struct {
	*notifier
	stopStatus, stopWatchdog chan struct{}
	told                     sync.WaitGroup // of the status
	feeding                  sync.WaitGroup // of the watchdog
}

// startService begins to tell the service manager of the load and of the sessions.
func (m *Main) startService() {
	m.service = service{notifier: newNotifier(m.logger), stopStatus: make(chan struct{}), stopWatchdog: make(chan struct{})}
	if m.service.notifier == nil {
		return
	}
	m.service.told.Go(m.tellStatus)
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		m.logger.Warn("no watchdog (WATCHDOG_USEC, WATCHDOG_PID)", "error", err)
	}
	if interval > 0 {
		m.service.feeding.Go(func() {
			defer m.recoverPanic()
			m.service.feed(interval/2, m.server.Probe)
		})
	}
}

// feed tells the watchdog each so often that a probe was answered.
func (s *service) feed(every time.Duration, probe func()) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		probe()
		s.tell(daemon.SdNotifyWatchdog)
		select {
		case <-s.stopWatchdog:
			return
		case <-ticker.C:
		}
	}
}

// tellStatus tells how the store does, from time to time. While it is loaded, the
// service manager is asked for more time.
func (m *Main) tellStatus() {
	defer m.recoverPanic()
	loading := m.load.ended
	for {
		wait := statusInterval
		if loading != nil {
			wait = loadStatusInterval
			m.service.tell(status(m.statusText()), extension(loadExtension))
		} else {
			m.service.tell(status(m.statusText()))
		}
		select {
		case <-m.service.stopStatus:
			return
		case <-loading:
			loading = nil
		case <-time.After(wait):
		}
	}
}

// statusText says what the server can't be relied on for, or how many sessions it has.
func (m *Main) statusText() string {
	if err := m.server.Ready(); err != nil {
		return err.Error()
	}
	st := storeStats(m.store)()
	if st.Engine != nil {
		return "ready: the engine keeps the sessions"
	}
	return fmt.Sprintf("ready: %d sessions", st.Sessions)
}

// tellReady tells that the store is loaded.
func (m *Main) tellReady() { m.service.tell(daemon.SdNotifyReady) }

// tellReload tells that files are reread, and what ends that. Before the store is loaded
// nothing is told: the end of a reload would say that the server is ready.
func (m *Main) tellReload() (done func()) {
	if !m.loaded() {
		return func() {}
	}
	m.service.tell(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
	return m.tellReady
}

// tellStopping tells that the server stops, and ends what is told of its sessions.
func (m *Main) tellStopping() {
	close(m.service.stopStatus)
	m.service.told.Wait()
	m.service.tell(daemon.SdNotifyStopping, status("stopping"), extension(m.Config.DrainDelay+stopExtension))
}

// endService ends the feeding of the watchdog, unless a probe hangs, and what is told.
func (m *Main) endService() {
	close(m.service.stopWatchdog)
	ended := make(chan struct{})
	go func() {
		m.service.feeding.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		m.service.close()
	case <-time.After(logPatience):
	}
}
