package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"tokenserver/admin"
	"tokenserver/internal/duration"
	"tokenserver/server"
)

// How long Close waits. The store may take 10 s, and after twice that nothing is
// written any more; the admin listener is not worth waiting for.
const (
	shutdownTimeout      = 25 * time.Second
	adminShutdownTimeout = time.Second
	// cutOffTimeout is how long Close waits for clients while the store is loaded.
	cutOffTimeout = 200 * time.Millisecond
)

var errStopped = errors.New("server stopped by itself")

// Run starts everything, and the loading of the store in the background: the
// server answers at once, so that no request waits in the backlog and is carried
// out after its client has given up. If it returns nil, Close must be called.
func (m *Main) Run() error {
	m.logOut = newLogWriter(m.Stderr)
	m.logger = newLogger(m.logOut, &m.level, m.Config.LogFormat)
	m.warnOfVariables()
	m.unused = m.Config.unused()
	memory := m.divideMemory()
	descriptors, err := m.limitDescriptors()
	if err != nil {
		return err
	}
	if err := m.openStore(memory.memTable, descriptors.store); err != nil {
		return err
	}
	if err := m.listen(); err != nil {
		return errors.Join(err, closeStore(m.store))
	}
	m.warn()
	m.logConfig()
	m.server = server.New(server.Config{
		Store:          m.store,
		MaxBody:        m.Config.MaxBody,
		MaxMeta:        m.Config.MaxMeta,
		MaxBatch:       m.Config.MaxBatch,
		MaxBatchBody:   m.Config.MaxBatchBody,
		MaxConnections: m.Config.MaxConnections,
		Dump:           m.Config.Dump,
		Guard:          m.guard,
		Ready:          readiness(m.store),
		StoreID:        storeID(m.store),
		Logger:         m.logger,
	})
	m.serve()
	m.serveAdmin(descriptors.admin)
	m.startLoad()
	m.startService()
	return nil
}

// listen binds all addresses. What can be known of the store before it is loaded
// has been checked: from now on requests are answered.
func (m *Main) listen() error {
	in, err := inherit()
	if err != nil {
		return err
	}
	m.listeners, m.adminListeners = in.http, in.admin
	if err = m.listenHTTP(); err == nil {
		err = m.listenAdmin()
	}
	if err != nil {
		m.closeListeners()
		return err
	}
	if len(m.adminListeners) > 0 {
		m.adminListener = m.adminListeners[0]
	}
	return nil
}

func (m *Main) closeListeners() {
	for _, ln := range slices.Concat(m.listeners, m.adminListeners) {
		ln.Close()
	}
}

func (m *Main) listenHTTP() error {
	if m.inherited = len(m.listeners) > 0; m.inherited {
		m.logger.Info("listening on sockets of the service manager: address, port and socket-mode are not used")
		return nil
	}
	for _, address := range m.Config.listenAddresses() {
		ln, err := m.Config.listenOn(address)
		if err != nil {
			return fmt.Errorf("cannot listen (--address, --port): %w", err)
		}
		m.listeners = append(m.listeners, ln)
	}
	return nil
}

func (m *Main) listenAdmin() error {
	if len(m.adminListeners) > 0 {
		m.logger.Info("admin listening on sockets of the service manager: admin-address is not used")
		return nil
	}
	if m.Config.AdminAddress == adminOff {
		return nil
	}
	ln, err := m.Config.listenOn(m.Config.AdminAddress)
	switch {
	case err == nil:
		m.adminListeners = []net.Listener{ln}
	case m.Config.AdminAddress == defaultAdminAddress:
		// A second server on this machine, most likely, and nobody asked for its metrics.
		m.logger.Warn("no admin listener: choose another --admin-address, or off; until then health, top and backup ask whoever has this one", "error", err)
	default:
		return fmt.Errorf("cannot listen (--admin-address): %w", err)
	}
	return nil
}

// serve answers on all listeners. The first one that ends, ends the others at the
// stop that follows.
func (m *Main) serve() {
	m.served = make(chan struct{})
	var first sync.Once
	for _, ln := range m.listeners {
		m.logger.Info("listening", "address", addressOf(ln))
		m.serving.Go(func() {
			defer m.recoverPanic()
			err := m.serveOn(ln)
			first.Do(func() {
				m.serveErr = err
				close(m.served)
			})
		})
	}
}

func (m *Main) serveOn(ln net.Listener) error {
	if m.inherited {
		return m.server.ServeInherited(ln, m.overTLS(ln))
	}
	return m.server.Serve(m.overTLS(ln))
}

// overTLS returns a listener that speaks TLS if the server does. All that the server
// knows of connections lies over it.
func (m *Main) overTLS(ln net.Listener) net.Listener {
	if m.tls == nil {
		return ln
	}
	return tls.NewListener(ln, m.tls.Config(m.Config.clientAuth()))
}

// serveAdmin answers on the admin listeners, which share the connections.
func (m *Main) serveAdmin(maxConnections int) {
	if len(m.adminListeners) > 0 {
		m.startSampler()
	}
	for _, ln := range m.adminListeners {
		m.serveAdminOn(ln, max(maxConnections/len(m.adminListeners), minAdmin))
	}
}

func (m *Main) serveAdminOn(ln net.Listener, maxConnections int) {
	cfg := admin.Config{
		Store:          storeStats(m.store),
		Requests:       m.server.Stats,
		Build:          currentBuild(),
		Ready:          m.server.Ready,
		Backup:         m.backUp,
		BackupGuard:    m.guard,
		BackupOpen:     isLoopback(ln),
		NoProfiles:     m.Config.Pprof == pprofOff,
		MaxConnections: maxConnections,
		Logger:         m.logger,
	}
	cfg.Guard, cfg.Local = m.guard, isLoopback(ln)
	if cfg.Local {
		cfg.CheckHost, cfg.Hosts = ln.Addr().Network() == "tcp", m.Config.AdminHosts
	} else if m.tls != nil {
		cfg.TLS = m.tls.Config(tls.VerifyClientCertIfGiven)
	}
	cfg.Console = m.console(cfg.Local, maxConnections)
	served := admin.New(cfg)
	m.admins = append(m.admins, served)
	m.logger.Info("admin listening", "address", addressOf(ln))
	m.adminServed.Go(func() {
		defer m.recoverPanic()
		served.Serve(ln) // logs its own error
	})
}

// Wait waits until ctx is done, and returns nil, or until the store could not be
// loaded or the server has stopped by itself.
func (m *Main) Wait(ctx context.Context) error {
	loading := m.load.ended
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-loading:
			if m.load.err != nil {
				return m.load.err
			}
			loading = nil
			m.tellReady()
		case <-m.served:
			return cmp.Or(m.serveErr, errStopped)
		case <-m.hangups:
			m.reload()
		}
	}
}

// logHangups tells that they change nothing, until the stop is over.
func (m *Main) logHangups(stopped <-chan struct{}) {
	defer m.recoverPanic()
	for {
		select {
		case <-m.hangups:
			m.logger.Info("SIGHUP changes nothing: the server stops")
		case <-stopped:
			return
		}
	}
}

// Close drains and stops what Run has started. Requests in flight are answered.
// While the store is being loaded there are none that matter, and nobody is waited
// for.
func (m *Main) Close() error {
	m.logOut.hurry()
	m.stopping.Store(true)
	m.server.Drain() // before all else: the log may block for a while
	m.logger.Info("stopping", "drain_delay", duration.Format(m.Config.DrainDelay))
	m.tellStopping()
	defer m.endService()
	stopped := make(chan struct{})
	defer close(stopped)
	go m.logHangups(stopped)
	if m.abandonLoad() || m.loadFailed() {
		m.cutOff()
		err := closeStore(m.store)
		if m.loadFailed() {
			err = nil // Wait has told why
		}
		m.logger.Info("stopped")
		return err
	}
	m.awaitDrainDelay()
	err := m.shutdown()
	m.shutdownAdmin()
	err = errors.Join(err, closeStore(m.store))
	m.logger.Info("stopped")
	return err
}

func (m *Main) awaitDrainDelay() {
	select {
	case <-time.After(m.Config.DrainDelay):
	case <-m.served: // by itself: nobody is left to be told
	}
}

// cutOff ends a server whose store was never loaded: nothing was carried out, so
// that nobody is waited for, on neither listener.
func (m *Main) cutOff() {
	ctx, cancel := context.WithTimeout(context.Background(), cutOffTimeout)
	defer cancel()
	var ended sync.WaitGroup
	ended.Go(func() {
		m.server.ShutdownNow(ctx) // what it says of ctx is no failure
		m.serving.Wait()
	})
	for _, served := range m.admins {
		ended.Go(func() {
			served.Shutdown(ctx)
			m.adminServed.Wait()
		})
	}
	ended.Wait()
	m.closeSampler()
}

// shutdown waits for requests in flight. Serve returns long before they are answered.
func (m *Main) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := m.server.Shutdown(ctx)
	m.serving.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("requests were cut off at the stop: %w", err)
	}
	return nil
}

func (m *Main) shutdownAdmin() {
	ctx, cancel := context.WithTimeout(context.Background(), adminShutdownTimeout)
	defer cancel()
	for _, served := range m.admins {
		if err := served.Shutdown(ctx); err != nil {
			m.logger.Warn("admin requests were cut off at the stop", "error", err)
		}
	}
	m.adminServed.Wait()
	m.closeSampler() // before the store
}

func (m *Main) closeSampler() {
	if m.sampler != nil {
		m.sampler.Close()
	}
}
