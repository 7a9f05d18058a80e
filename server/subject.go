package server

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/token"
)

// subjectLimit is how many sessions of a subject are listed.
const subjectLimit = 1000

// handleEndSubject ends all sessions of a subject: it logs a user out everywhere.
func (s *Server) handleEndSubject(ctx *fasthttp.RequestCtx) error {
	r := s.requests.Get().(*request)
	defer s.requests.Put(r)
	if err := r.read(ctx, fieldsOfSubject); err != nil {
		return err
	}
	ended, err := s.store.EndSubject(context.Background(), r.subject())
	if err != nil {
		return err
	}
	buf := append(body(ctx), `{"Ok":{"ended":`...)
	buf = strconv.AppendInt(buf, int64(ended), 10)
	setBody(ctx, append(buf, `}}`...))
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	return nil
}

// handleListSubject lists the sessions of a subject: where a user is logged in.
func (s *Server) handleListSubject(ctx *fasthttp.RequestCtx) error {
	r := s.requests.Get().(*request)
	defer s.requests.Put(r)
	if err := r.read(ctx, fieldsOfSubject); err != nil {
		return err
	}
	sessions, more, err := s.store.SubjectSessions(context.Background(), r.subject(), subjectLimit)
	if err != nil {
		return err
	}
	buf := append(slices.Grow(body(ctx), listedSize(sessions)), `{"Ok":{"sessions":[`...)
	for i, session := range sessions {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendSession(buf, session)
	}
	buf = append(buf, ']')
	if more {
		buf = append(buf, `,"more":true`...)
	}
	setBody(ctx, append(buf, `}}`...))
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	return nil
}

// listedSize is enough for a list of sessions, so that one of many megabytes is
// not moved while it grows.
func listedSize(sessions []token.Session) int {
	const frame = 100 // what is around the metadata of a session, and less than what is around all
	size := frame * (1 + len(sessions))
	for _, session := range sessions {
		size += len(session.Meta)
	}
	return size
}

func appendSession(buf []byte, session token.Session) []byte {
	buf = append(buf, `{"created":"`...)
	buf = session.Created.UTC().AppendFormat(buf, time.RFC3339)
	buf = append(buf, `","expires":"`...)
	buf = session.Expires.UTC().AppendFormat(buf, time.RFC3339)
	buf = append(buf, `","meta":`...)
	buf = append(buf, session.Meta...)
	return append(buf, '}')
}
