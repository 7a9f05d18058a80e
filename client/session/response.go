package session

import (
	"bufio"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
)

// response is the ResponseWriter of a handler. Before anything of the answer is sent it
// commits the session.
type response struct {
	http.ResponseWriter
	s      *session
	before http.Header // as the handler got it
	begun  bool
	err    error // ErrReplaced, once another answer was sent
	gone   bool  // the connection is hijacked
}

// serve runs a handler with a session.
func serve(s *session, next http.Handler, w http.ResponseWriter) {
	res := &response{ResponseWriter: w, s: s, before: maps.Clone(w.Header())}
	ended := false
	defer func() { // without recover, so that the trace of a panic stays whole
		if !ended {
			res.abort()
		}
	}()
	next.ServeHTTP(res, s.r)
	ended = true
	res.commit()
}

// commit settles the session, before the answer begins. If that fails, the answer is
// another one, and so it returns ErrReplaced from then on.
func (w *response) commit() error {
	if w.begun {
		return w.err
	}
	w.begun = true
	if err := w.s.commit(); err != nil {
		w.err = ErrReplaced
		w.resetHeader()
		w.s.mark(w.Header())
		w.s.fail(w.ResponseWriter, err)
		return w.err
	}
	w.s.mark(w.Header())
	return nil
}

// resetHeader makes the header what it was before the handler.
func (w *response) resetHeader() {
	h := w.Header()
	clear(h)
	maps.Copy(h, w.before)
}

// abort ends the answer of a handler that has panicked. net/http then closes the
// connection, and with it goes what it has not sent yet: the cookie of a token that is
// spent must have left.
func (w *response) abort() {
	if w.gone {
		return
	}
	if !w.begun {
		w.s.discard()
		if !w.s.pending() {
			return // nothing is lost
		}
		w.resetHeader()
		if w.commit() == nil {
			text := http.StatusText(http.StatusInternalServerError) + "\n"
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.ResponseWriter.WriteHeader(http.StatusInternalServerError)
			io.WriteString(w.ResponseWriter, text)
		}
	}
	http.NewResponseController(w.ResponseWriter).Flush()
}

// WriteHeader implements [http.ResponseWriter]. Informational answers have no cookie.
func (w *response) WriteHeader(status int) {
	informational := 100 <= status && status < 200 && status != http.StatusSwitchingProtocols
	if informational && w.err == nil || w.commit() == nil {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter].
func (w *response) Write(b []byte) (int, error) {
	if err := w.commit(); err != nil {
		return 0, err
	}
	return w.ResponseWriter.Write(b)
}

// WriteString implements [io.StringWriter].
func (w *response) WriteString(text string) (int, error) {
	if err := w.commit(); err != nil {
		return 0, err
	}
	return io.WriteString(w.ResponseWriter, text)
}

// ReadFrom implements [io.ReaderFrom], so that files are sent by the kernel.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	if err := w.commit(); err != nil {
		return 0, err
	}
	return io.Copy(w.ResponseWriter, r)
}

// Flush implements [http.Flusher].
func (w *response) Flush() { w.FlushError() }

// FlushError is what [http.ResponseController] calls.
func (w *response) FlushError() error {
	if err := w.commit(); err != nil {
		return err
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements [http.Hijacker]. The header then has what the answer must have.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := w.commit(); err != nil {
		return nil, nil, err
	}
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.gone = err == nil
	return conn, rw, err
}

// Unwrap lets [http.ResponseController] find what else the writer can do.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
