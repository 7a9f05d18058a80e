package server

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// checkFraming refuses what fasthttp lets pass although RFC 9112 calls it
// faulty: a version that we don't speak, no Host, a line that is folded or ends in a
// bare LF (where headConn is lost), and a Transfer-Encoding beside a Content-Length or
// other than chunked.
//
// fasthttp marks the connection of a request with such a Transfer-Encoding for
// closing or finds no body, so that an ordinary one is not searched for it.
func checkFraming(ctx *fasthttp.RequestCtx) error {
	h := &ctx.Request.Header
	if !h.IsHTTP11() && string(h.Protocol()) != "HTTP/1.0" {
		return errBadRequest
	}
	if len(h.Host()) == 0 && h.IsHTTP11() || hasBadLine(h) {
		return errBadRequest
	}
	if h.ContentLength() > 0 && !h.ConnectionClose() {
		return nil
	}
	coding, ok := rawHeader(h, "transfer-encoding")
	if !ok {
		return nil
	}
	if _, both := rawHeader(h, "content-length"); both || !bytes.EqualFold(coding, []byte("chunked")) {
		return errBadRequest
	}
	return nil
}

// rawHeader looks for a header, by its name in lower case, among the raw ones:
// fasthttp drops those that it takes as overruled.
func rawHeader(h *fasthttp.RequestHeader, name string) (value []byte, ok bool) {
	for line := range bytes.Lines(h.RawHeaders()) {
		if len(line) > len(name) && line[len(name)] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return bytes.TrimSpace(line[len(name)+1:]), true
		}
	}
	return nil, false
}

// hasBadLine reports whether a line of the raw headers ends in a bare LF, or goes on
// with the next.
func hasBadLine(h *fasthttp.RequestHeader) bool {
	raw := h.RawHeaders()
	for {
		i := bytes.IndexByte(raw, '\n') + 1
		switch {
		case i == 0:
			return false
		case i == 1 || raw[i-2] != '\r':
			return true
		case i == len(raw):
			return false
		}
		if raw = raw[i:]; raw[0] == ' ' || raw[0] == '\t' {
			return true
		}
	}
}

// checkTarget refuses what fasthttp takes for a path of ours although it is
// none: one with an authority before it or a fragment behind it.
func checkTarget(ctx *fasthttp.RequestCtx) error {
	target := ctx.Request.Header.RequestURI()
	if len(target) > 1 && target[0] == '/' && target[1] == '/' || bytes.IndexByte(target, '#') >= 0 {
		return errNotFound
	}
	return nil
}
