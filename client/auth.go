package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

// errSecret says that the bearer secret could not be had.
var errSecret = errors.New("no bearer secret")

// auth makes the headers of requests.
type auth struct {
	secret  func(context.Context) (string, error)
	file    *watchedFile
	retries int // of a call whose caller was not accepted

	mu     sync.Mutex // guards what follows
	last   string
	header http.Header // with last
}

func newAuth(cfg *Config) *auth {
	a := &auth{secret: cfg.Secret}
	if a.secret == nil && cfg.SecretFile != "" {
		a.file = &watchedFile{names: []string{cfg.SecretFile}, every: recheckEvery}
		a.secret = a.read
	}
	switch {
	case cfg.CertFile != "":
		a.retries = maxOldConnections
	case a.secret != nil:
		a.retries = 1
	}
	return a
}

// maxOldConnections is how often a call is sent again after a certificate was not accepted:
// the server closes the connection that has it, and others may have the same.
const maxOldConnections = 8

// plain is what each request has. An empty User-Agent is not sent.
var plain = http.Header{"Content-Type": {"application/json"}, "User-Agent": {""}}

// headers returns those of a request, which nobody may change.
func (a *auth) headers(ctx context.Context) (http.Header, error) {
	if a.secret == nil {
		return plain, nil
	}
	secret, err := a.secret(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSecret, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.header == nil || a.last != secret {
		a.last, a.header = secret, plain.Clone()
		a.header.Set("Authorization", "Bearer "+secret)
	}
	return a.header, nil
}

// read returns what the file has in its first line.
func (a *auth) read(context.Context) (string, error) {
	texts, err := a.file.read()
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(texts[0], []byte("\n"))
	return string(bytes.TrimSpace(line)), nil
}

// refresh says whether another try, after so many, may have another secret or certificate.
func (a *auth) refresh(tries int) bool {
	if a.file != nil {
		a.file.recheck()
	}
	return tries < a.retries
}

// recheckEvery is how often the file of the secret is looked at.
const recheckEvery = time.Second

// watchedFile has the texts of files, which are read again when one has changed.
type watchedFile struct {
	names []string
	every time.Duration // how often they are looked at; 0 for each time

	mu      sync.Mutex // guards what follows
	checked time.Time
	infos   []os.FileInfo
	texts   [][]byte
}

// recheck has the files looked at with the next read.
func (w *watchedFile) recheck() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checked = time.Time{}
}

// read returns the texts. While files can't be read, what they had last holds.
func (w *watchedFile) read() ([][]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.texts != nil && time.Since(w.checked) < w.every {
		return w.texts, nil
	}
	w.checked = time.Now()
	infos, texts, err := w.loadLocked()
	switch {
	case err == nil:
		w.infos, w.texts = infos, texts
	case w.texts == nil:
		return nil, err
	}
	return w.texts, nil
}

// loadLocked reads the files if one has changed. It requires mu.
func (w *watchedFile) loadLocked() (infos []os.FileInfo, texts [][]byte, err error) {
	same := w.infos != nil
	for i, name := range w.names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, nil, err
		}
		infos = append(infos, info)
		same = same && os.SameFile(info, w.infos[i]) && info.ModTime().Equal(w.infos[i].ModTime()) && info.Size() == w.infos[i].Size()
	}
	if same {
		return w.infos, w.texts, nil
	}
	for _, name := range w.names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		texts = append(texts, text)
	}
	return infos, texts, nil
}
