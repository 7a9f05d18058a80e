package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"tokenserver/access"
)

// Errors that Config.Backup may return.
var (
	// ErrNoBackup says that the store has nothing that could be backed up.
	ErrNoBackup = errors.New("no backup")
	// ErrBackupRunning says that another backup is under way.
	ErrBackupRunning = errors.New("a backup is under way")
)

// backup returns the handler of POST /backup, which asks who calls wherever callers are
// known: a backup has all metadata in it.
func (cfg *Config) backup() http.Handler {
	h := http.Handler(http.HandlerFunc(cfg.handleBackup))
	switch {
	case cfg.BackupGuard != nil:
		delayed := access.NewDelayed(cfg.MaxConnections)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if authorize(w, r, cfg.BackupGuard, delayed, access.Admin) {
				h.ServeHTTP(w, r)
			}
		})
	case cfg.Guard == nil && !cfg.BackupOpen:
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusForbidden, "Forbidden", "Without callers a backup is to be had on loopback or a unix socket alone.")
		})
	}
	return h
}

// handleBackup sends a backup. What fails once it has begun cuts the connection off, so that
// no client takes a part of it for the whole.
func (cfg *Config) handleBackup(w http.ResponseWriter, r *http.Request) {
	if cfg.Backup == nil {
		refuseBackup(w, ErrNoBackup)
		return
	}
	begun := time.Now()
	out := &backupWriter{w: w, control: http.NewResponseController(w)}
	out.control.SetReadDeadline(time.Time{}) // else the request's own ends its context
	out.extend()                             // it takes a while to make one
	err := cfg.Backup(r.Context(), out)
	if err == nil {
		cfg.Logger.Info("backup sent", "bytes", out.sent, "seconds", time.Since(begun).Round(time.Millisecond).Seconds())
		return
	}
	level := slog.LevelWarn
	if errors.Is(err, ErrNoBackup) || errors.Is(err, ErrBackupRunning) {
		level = slog.LevelInfo
	}
	cfg.Logger.Log(context.WithoutCancel(r.Context()), level, "backup failed", "error", err, "bytes", out.sent)
	if out.sent > 0 {
		panic(http.ErrAbortHandler)
	}
	refuseBackup(w, err)
}

func refuseBackup(w http.ResponseWriter, err error) {
	status, code := http.StatusServiceUnavailable, "StoreUnavailable"
	switch {
	case errors.Is(err, ErrNoBackup):
		status, code = http.StatusNotImplemented, "NoBackup"
	case errors.Is(err, ErrBackupRunning):
		status, code = http.StatusConflict, "BackupRunning"
	}
	refuse(w, status, code, err.Error())
}

// backupWriter writes an archive, however long that takes, as long as the client takes it.
type backupWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sent    int64
}

var _ io.Writer = (*backupWriter)(nil)

// Write implements io.Writer.
func (b *backupWriter) Write(p []byte) (int, error) {
	if b.sent == 0 {
		b.w.Header().Set("Content-Type", "application/x-tar")
		b.w.Header().Set("Cache-Control", "no-store")
	}
	b.extend()
	n, err := b.w.Write(p)
	b.sent += int64(n)
	return n, err
}

// extend gives the next write its time. An error shows there.
func (b *backupWriter) extend() { b.control.SetWriteDeadline(time.Now().Add(writeTimeout)) }
