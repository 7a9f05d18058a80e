package main

import (
	"fmt"

	"tokenserver/token"
)

const tokenSize = token.EncodedLen

// rawToken is a token as it travels.
type rawToken [tokenSize]byte

// Request bodies, around the token and the metadata.
const (
	metaBody     = `{"meta":`
	tokenBody    = `{"token":"`
	tokenEnd     = `"}`
	tokenMeta    = `","meta":`
	bodyEnd      = `}`
	tokenBodyLen = len(tokenBody) + tokenSize + len(tokenEnd)
	patchBodyLen = len(tokenBody) + tokenSize + len(tokenMeta) + patchSize + len(bodyEnd)
)

// requestWriter appends whole requests, or items of a batch. All requests of an operation have
// the same length, so that their heads are made once.
type requestWriter struct {
	heads [operationCount]string
	end   string // of an item
	meta  *metadata
}

func newRequestWriter(address string, meta *metadata) *requestWriter {
	head := func(line string, bodyLen int) string {
		return fmt.Sprintf(requestHead, line, address, bodyLen)
	}
	return &requestWriter{meta: meta, heads: [operationCount]string{
		opCreate:   head("POST /token", len(metaBody)+meta.size+len(bodyEnd)),
		opExchange: head("PUT /token", tokenBodyLen),
		opPatch:    head("PUT /token", patchBodyLen),
		opValidate: head("POST /token/validate", tokenBodyLen),
		opDelete:   head("DELETE /token", tokenBodyLen),
		opReplay:   head("PUT /token", tokenBodyLen),
	}}
}

const requestHead = "%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

func (w *requestWriter) appendCreate(dst []byte, user uint32) []byte {
	dst = append(dst, w.heads[opCreate]...)
	dst = append(dst, metaBody...)
	dst = w.meta.append(dst, user, 0)
	dst = append(dst, bodyEnd...)
	return append(dst, w.end...)
}

func (w *requestWriter) appendPatch(dst []byte, t *rawToken, visits uint32) []byte {
	dst = append(dst, w.heads[opPatch]...)
	dst = append(dst, tokenBody...)
	dst = append(dst, t[:]...)
	dst = append(dst, tokenMeta...)
	dst = appendPatch(dst, visits)
	dst = append(dst, bodyEnd...)
	return append(dst, w.end...)
}

// appendToken appends a request of op whose body is the token alone.
func (w *requestWriter) appendToken(dst []byte, op operation, t *rawToken) []byte {
	dst = append(dst, w.heads[op]...)
	dst = append(dst, tokenBody...)
	dst = append(dst, t[:]...)
	dst = append(dst, tokenEnd...)
	return append(dst, w.end...)
}
