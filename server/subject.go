package server

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// maxPage is how many sessions of a subject are listed at most, and if nobody says how
// many.
const maxPage = 1000

// handleEndSubject ends sessions of a subject: it logs a user out everywhere, on one
// device, or on all others.
func (s *Server) handleEndSubject(ctx *fasthttp.RequestCtx) error {
	r := s.newRequest()
	defer s.release(r)
	if err := r.read(ctx, fieldsOfEndSubject); err != nil {
		return err
	}
	ended, err := s.endSubject(r)
	if err != nil {
		return err
	}
	buf := append(body(ctx), `{"Ok":{"ended":`...)
	buf = strconv.AppendInt(buf, int64(ended), 10)
	setBody(ctx, append(buf, `}}`...))
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	return nil
}

func (s *Server) endSubject(r *request) (ended int, err error) {
	ctx := context.Background()
	switch session, keep := r.values[fieldSession], r.values[fieldKeep]; {
	case session != nil && keep != nil:
		return 0, errTwoEnds
	case session != nil:
		name, err := token.ParseSessionName(metadata.Unquote(session))
		if err != nil {
			return 0, nil // no session has such a name
		}
		return s.store.EndSession(ctx, r.subject(), name)
	case keep != nil:
		t, err := token.Parse(metadata.Unquote(keep))
		if err != nil {
			return 0, err
		}
		return s.store.EndOthers(ctx, r.subject(), t)
	}
	return s.store.EndSubject(ctx, r.subject())
}

// handleListSubject lists the sessions of a subject: where a user is logged in.
func (s *Server) handleListSubject(ctx *fasthttp.RequestCtx) error {
	r := s.newRequest()
	defer s.release(r)
	if err := r.read(ctx, fieldsOfListSubject); err != nil {
		return err
	}
	page, err := r.page()
	if err != nil {
		return err
	}
	memory, err := s.answers.take(s.largestList)
	if err != nil {
		return err
	}
	defer memory.releaseUnlessSent()
	list, err := s.listSubject(r, page)
	if err != nil {
		return err
	}
	setLargeBody(ctx, list, memory)
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	return nil
}

func (s *Server) listSubject(r *request, page token.Page) ([]byte, error) {
	sessions, more, err := s.store.SubjectSessions(context.Background(), r.subject(), page)
	if errors.Is(err, token.ErrUnknownSession) {
		return nil, fieldRules[fieldAfter].wrong
	}
	if err != nil {
		return nil, err
	}
	buf := append(make([]byte, 0, listedSize(sessions)), `{"Ok":{"sessions":[`...)
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
	return append(buf, `}}`...), nil
}

// largestList returns how much memory a list takes while it is made: its metadata
// twice, in the sessions and in the answer. One session that alone has more than a
// page is listed too.
func largestList(maxMeta int) int64 {
	return 2 * int64(max(token.MaxListing, maxMeta)+listFrame*(1+maxPage))
}

// listFrame is what is around the metadata of a session in a list, in bytes, and less
// than what is around all.
const listFrame = 128

// listedSize is enough for a list of sessions, so that one of many megabytes is
// not moved while it grows.
func listedSize(sessions []token.Session) int {
	size := listFrame * (1 + len(sessions))
	for _, session := range sessions {
		size += len(session.Meta)
	}
	return size
}

func appendSession(buf []byte, session token.Session) []byte {
	buf = session.Name.Append(append(buf, `{"session":"`...))
	buf = append(buf, `","created":"`...)
	buf = session.Created.UTC().AppendFormat(buf, time.RFC3339)
	buf = append(buf, `","expires":"`...)
	buf = session.Expires.UTC().AppendFormat(buf, time.RFC3339)
	buf = append(buf, `","meta":`...)
	buf = append(buf, session.Meta...)
	return append(buf, '}')
}
