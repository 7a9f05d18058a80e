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
	away  time.Time  // since when no server is up that has it; zero if one is
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
		s.meet = func(id string) error { return ss.meet(s, id) }
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

// switchAfter is for how long the servers of the store in use are away before those of
// another one are taken, which were refused. Those that were away for two intervals are
// looked at before it ends.
const switchAfter = 3 * probeInterval

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
	if errors.Is(err, errOtherStore) {
		return nil // it has been noted
	}
	now := ss.ready(s, id)
	if err != nil {
		now = state{probed: true, err: err}
	}
	if now.err != nil {
		s.transport.CloseIdleConnections()
	}
	ss.note(s, now)
	return now.err
}

// ready is the state of a server that is ready with the store that it has.
func (ss *servers) ready(s *server, id string) state {
	now := state{probed: true, up: true, id: id}
	if id == "" && len(ss.all) > 1 {
		now.up, now.err = false, &Error{Kind: ErrStoresDiffer, Cause: errors.New("it does not say which store it has"), Address: s.address}
	}
	return now
}

// errOtherStore is of a connection to a server that has not the store in use.
var errOtherStore = errors.New("another store")

// meet notes the store of a server to which there is a new connection, and refuses it
// if that is not the one in use: no call may get there before the next look.
func (ss *servers) meet(s *server, id string) error {
	ss.mu.Lock()
	known := len(ss.all) == 1 || ss.id == "" || ss.id == id
	ss.mu.Unlock()
	if known {
		return nil
	}
	ss.note(s, ss.ready(s, id))
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.id != id {
		return errOtherStore
	}
	return nil
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
	return s.meet(res.Header.Get("Store-Id"))
}

// note keeps what is known of a server now. One that is not up may come back with the
// store that it had.
func (ss *servers) note(s *server, now state) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if !now.up {
		now.id = s.id
	}
	s.state = now
	ss.identifyLocked(time.Now())
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
// the one in use while a server is up that has it, or while one that had it is not away
// for long, else the only one that there is. It requires mu.
func (ss *servers) identifyLocked(now time.Time) {
	found, expected := make(map[string]bool), false
	for _, s := range ss.all {
		if !s.probed {
			return
		}
		if s.up {
			found[s.id] = true
		}
		expected = expected || s.id == ss.id && ss.id != ""
	}
	if found[ss.id] {
		ss.away = time.Time{}
		return
	}
	if ss.away.IsZero() {
		ss.away = now
	}
	if len(found) == 0 || expected && ss.awaitedLocked(now) {
		return
	}
	ss.id = ""
	if len(found) == 1 {
		for id := range found {
			ss.id, ss.away = id, time.Time{}
		}
	}
}

// awaitedLocked says whether the store in use may be back soon, if none of its servers
// is up. It requires mu.
func (ss *servers) awaitedLocked(now time.Time) bool {
	return ss.id != "" && (ss.away.IsZero() || now.Sub(ss.away) < switchAfter)
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
