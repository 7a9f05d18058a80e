package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// servers are all addresses, and which of them get calls.
type servers struct {
	all        []*server
	maxFlights int          // to each
	used       atomic.Int64 // Unix time of the last call, in seconds

	mu    sync.Mutex // guards what follows, and of all servers their states and flights
	next  int        // the server whose turn it is
	turns []*turn    // that wait
	id    string     // of the store in use, if there are several addresses
}

func newServers(cfg *Config) (*servers, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("token server: no addresses")
	}
	ss := &servers{maxFlights: cfg.MaxInFlight}
	a := newAuth(cfg)
	for _, address := range cfg.Addresses {
		s, err := newServer(address, cfg, a)
		if err != nil {
			return nil, err
		}
		ss.all = append(ss.all, s)
	}
	return ss, nil
}

// Times between two looks at a server. One that is up is looked at more often than
// the second for which a server that stops still answers on connections that it has:
// they are given up before it closes them, and no request is lost with one.
const (
	probeInterval = 500 * time.Millisecond
	minBackoff    = 10 * time.Millisecond
)

// use notes a call.
func (ss *servers) use(now time.Time) {
	if seconds := now.Unix(); ss.used.Load() != seconds {
		ss.used.Store(seconds)
	}
}

// quiet says whether nothing was called for so long that no connections lie idle.
func (ss *servers) quiet() bool {
	return time.Since(time.Unix(ss.used.Load(), 0)) > idleTimeout+probeInterval
}

// watch looks at a server until ctx ends, and not while nothing is called.
func (ss *servers) watch(ctx context.Context, s *server) {
	backoff := minBackoff
	for ctx.Err() == nil {
		wait := probeInterval
		if !ss.quiet() {
			if ss.look(ctx, s) == nil {
				backoff = minBackoff
			} else {
				wait, backoff = jitter(backoff), min(2*backoff, probeInterval)
			}
		}
		s.await(ctx, wait)
	}
}

// await waits for the time of the next look.
func (s *server) await(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.kicked:
	case <-ctx.Done():
	}
}

// look asks a server whether it is ready, and notes it.
func (ss *servers) look(ctx context.Context, s *server) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	id, err := s.ask(ctx)
	if err == nil && id == "" && len(ss.all) > 1 {
		err = &Error{Kind: ErrStoresDiffer, Cause: errors.New("it does not say which store it has"), Address: s.address}
	}
	if err != nil {
		s.transport.CloseIdleConnections()
	}
	ss.note(s, state{probed: true, up: err == nil, id: id, err: err})
	return err
}

// ask returns the identity of a server's store, if it is ready.
func (s *server) ask(ctx context.Context) (id string, err error) {
	u := s.base
	u.Path = "/readyz"
	req := (&http.Request{Method: "GET", URL: &u, Host: u.Host, Header: plain}).WithContext(ctx)
	rep := s.read(req, new([]byte))
	switch {
	case rep.err != nil:
		return "", &Error{Kind: ErrUnavailable, Cause: rep.err, Address: s.address}
	case rep.status != http.StatusOK:
		return "", statusError(s.address, rep.status, rep.body)
	}
	return rep.id, nil
}

// greet asks for /readyz on a new connection, before anything else.
func (s *server) greet(ctx context.Context, nc net.Conn) error {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := fmt.Fprintf(nc, "GET /readyz HTTP/1.1\r\nHost: %s\r\n\r\n", s.base.Host); err != nil {
		return err
	}
	r := bufio.NewReaderSize(nc, 1<<10)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	switch {
	case err != nil:
		return err
	case res.StatusCode != http.StatusOK:
		return statusError(s.address, res.StatusCode, body)
	case res.Close || r.Buffered() > 0 || !stop():
		return errNotReady
	}
	return nil
}

// note keeps what is known of a server now.
func (ss *servers) note(s *server, now state) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.state.probed == now.probed && s.up == now.up && s.id == now.id {
		s.err = now.err
		return
	}
	s.state = now
	ss.identifyLocked()
	ss.serveAllLocked()
}

// fail takes a server out of use until a look, which is due at once, finds it ready.
func (ss *servers) fail(s *server, err error) {
	ss.mu.Lock()
	was := s.up
	if was {
		s.up, s.err = false, err
	}
	ss.mu.Unlock()
	if was {
		s.transport.CloseIdleConnections()
		s.probe()
	}
}

// identifyLocked chooses the store to be used, once all servers have been looked at:
// the one in use while a server is up that has it, or the only one that there is. It
// requires mu.
func (ss *servers) identifyLocked() {
	found := make(map[string]bool)
	for _, s := range ss.all {
		if !s.probed {
			return
		}
		if s.up {
			found[s.id] = true
		}
	}
	if len(found) == 0 || found[ss.id] {
		return
	}
	ss.id = ""
	if len(found) == 1 {
		for id := range found {
			ss.id = id
		}
	}
}

// usableLocked says whether a server gets calls. It requires mu.
func (ss *servers) usableLocked(s *server) bool {
	return s.up && (len(ss.all) == 1 || s.id == ss.id)
}

// reasonLocked says why no server gets calls, or why one that is up is refused. It
// requires mu.
func (ss *servers) reasonLocked() error {
	var errs []error
	for _, s := range ss.all {
		switch {
		case errors.Is(s.err, ErrStoresDiffer):
			return s.err
		case s.up && !ss.usableLocked(s):
			return ss.differenceLocked()
		case s.err != nil:
			errs = append(errs, s.err)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// differenceLocked says which stores the servers have that are up. It requires mu.
func (ss *servers) differenceLocked() error {
	var texts []string
	for _, s := range ss.all {
		if s.up {
			texts = append(texts, fmt.Sprintf("%s has %q", s.address, s.id))
		}
	}
	return &Error{Kind: ErrStoresDiffer, Cause: fmt.Errorf("%q", texts)}
}

// check looks at all servers, and says why none is ready, or one is refused.
func (ss *servers) check(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range ss.all {
		wg.Go(func() { ss.look(ctx, s) })
	}
	wg.Wait()
	ss.mu.Lock()
	defer ss.mu.Unlock()
	why := ss.reasonLocked()
	for _, s := range ss.all {
		if ss.usableLocked(s) && !errors.Is(why, ErrStoresDiffer) {
			return nil
		}
	}
	return why
}

func (ss *servers) closeIdle() {
	for _, s := range ss.all {
		s.transport.CloseIdleConnections()
	}
}
