package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tokenserver/admin"
	"tokenserver/durable"
	"tokenserver/token"
)

// backuper is a store that can be backed up.
type backuper interface {
	Backup(ctx context.Context, w io.Writer) error
}

var _ backuper = (*durable.Store)(nil)

// backUp writes a backup of the store for the admin listener.
func (m *Main) backUp(ctx context.Context, w io.Writer) error {
	if m.stopping.Load() {
		return errors.New("the server is about to stop")
	}
	b, ok := m.store.(backuper)
	switch {
	case !ok && m.Config.Valkey != "":
		return fmt.Errorf("%w: in shared mode the engine keeps the sessions, and is what to back up", admin.ErrNoBackup)
	case !ok:
		return fmt.Errorf("%w: in memory mode sessions are on no disk", admin.ErrNoBackup)
	}
	err := b.Backup(ctx, w)
	if errors.Is(err, durable.ErrBackupRunning) {
		return admin.ErrBackupRunning
	}
	if away := new(token.UnavailableError); errors.As(err, &away) {
		return errors.New(away.Reason)
	}
	return err
}

// backupTimeout is how long a server may take to make a backup, until it sends the first
// bytes, and how long it may send none then.
const backupTimeout = time.Minute

// writeBackup makes a data directory of what a server has now. If ctx ends before, none is
// left.
func (m *Main) writeBackup(ctx context.Context, args []string) int {
	dir, args, err := cutDirectory(args)
	if err != nil {
		fmt.Fprintln(m.Stderr, "token-server:", err)
		return exitUsage
	}
	if code, done := m.parseCommand(args); done {
		return code
	}
	err = m.backUpTo(ctx, dir)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted: nothing is left of it")
	}
	if err != nil {
		fmt.Fprintln(m.Stderr, "token-server: backup:", err)
		return exitFailed
	}
	fmt.Fprintln(m.Stdout, "token-server: backup written to", dir)
	return exitOK
}

// cutDirectory takes the directory out of the arguments: the first one, or the last.
func cutDirectory(args []string) (dir string, rest []string, err error) {
	isName := func(arg string) bool { return arg != "" && arg[0] != '-' }
	switch n := len(args); {
	case n > 0 && isName(args[0]):
		return args[0], args[1:], nil
	case n > 0 && (args[0] == "-h" || args[0] == "--help"):
		return "", args, nil
	case n > 0 && isName(args[n-1]):
		return args[n-1], args[:n-1], nil
	}
	return "", nil, errors.New("backup needs a directory, which is absent or empty: token-server backup DIR [flags]")
}

func (m *Main) backUpTo(ctx context.Context, dir string) error {
	to, err := m.Config.adminTarget()
	if err != nil {
		return err
	}
	if err := durable.CheckBackup(dir); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := newPatience(cancel, backupTimeout)
	defer patience.stop()
	res, err := to.request(ctx, "POST", "/backup", m.Config.CallerSecretFile)
	if err != nil {
		return patience.explain(err)
	}
	defer res.Body.Close()
	if err := refusal(res); err != nil {
		return err
	}
	return patience.explain(durable.WriteBackup(dir, patience.reader(res.Body)))
}

// patience ends what takes too long.
type patience struct {
	limit time.Duration
	timer *time.Timer
	cause chan struct{} // closed when it has
}

func newPatience(cancel context.CancelFunc, limit time.Duration) *patience {
	p := &patience{limit: limit, cause: make(chan struct{})}
	p.timer = time.AfterFunc(limit, func() {
		close(p.cause)
		cancel()
	})
	return p
}

func (p *patience) stop() { p.timer.Stop() }

// explain says so of an error that comes from that, and returns nil for nil.
func (p *patience) explain(err error) error {
	if err == nil {
		return nil
	}
	select {
	case <-p.cause:
		return fmt.Errorf("the server has sent nothing for %v: %w", p.limit, err)
	default:
		return err
	}
}

// reader returns a reader for which the time begins anew whenever something comes.
func (p *patience) reader(r io.Reader) io.Reader { return patientReader{p, r} }

type patientReader struct {
	*patience
	r io.Reader
}

// Read implements io.Reader.
func (p patientReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if p.timer.Stop() {
		p.timer.Reset(p.limit)
	}
	return n, err
}
