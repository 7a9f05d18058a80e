package client

import (
	"context"
	"encoding/json"
	"strconv"
	"time"
)

// Listing says which sessions of a subject are listed. Its zero value is the newest
// ones, as many as the server lists.
type Listing struct {
	// Limit is how many, 1 to 1000. 0 means as many as the server lists.
	Limit int
	// After is the name of the session behind which the list begins. Empty means at the
	// newest.
	After string
}

// Sessions are sessions of a subject, the newest first.
type Sessions struct {
	Sessions []Session `json:"sessions"`
	// More says that there are others behind the last one.
	More bool `json:"more"`
}

// Session is a session in a list.
type Session struct {
	// Name is what the session is called by. It opens nothing.
	Name string `json:"session"`
	// Created and Expires are to the second.
	Created time.Time       `json:"created"`
	Expires time.Time       `json:"expires"`
	Meta    json.RawMessage `json:"meta"`
}

// SubjectSessions lists sessions of a subject. Its errors match [ErrInvalidRequest],
// also where Listing.After has ended, [ErrUnavailable] or [ErrUnauthorized].
func (c *Client) SubjectSessions(ctx context.Context, subject string, l Listing) (s Sessions, err error) {
	body, err := appendText([]byte(`{"subject":`), "subject", subject)
	if err != nil {
		return s, err
	}
	if l.Limit != 0 {
		body = strconv.AppendInt(append(body, `,"limit":`...), int64(l.Limit), 10)
	}
	if l.After != "" {
		if body, err = appendText(append(body, `,"after":`...), "after", l.After); err != nil {
			return s, err
		}
	}
	err = c.subject(ctx, list, append(body, '}'), &s)
	return s, err
}

// Ending says which sessions of a subject end. Its zero value is all of them. At most
// one of its fields may be given.
type Ending struct {
	// Session is the name of the only one to end.
	Session string
	// Keep is a token of the only one not to end.
	Keep string
}

// EndSubject ends sessions of a subject, and returns how many have lived. Its errors
// match [ErrInvalidToken], if Ending.Keep is no token of the subject's and nothing was
// ended, [ErrInvalidRequest], [ErrUnavailable], [ErrUnauthorized] or
// [ErrOutcomeUnknown]; repeating it does no harm.
func (c *Client) EndSubject(ctx context.Context, subject string, e Ending) (ended int, err error) {
	if e.Session != "" && e.Keep != "" {
		return 0, invalid("of Session and Keep one at most may be given")
	}
	if e.Keep != "" && !isToken(e.Keep) {
		return 0, ErrInvalidToken
	}
	body, err := appendText([]byte(`{"subject":`), "subject", subject)
	if err != nil {
		return 0, err
	}
	if e.Session != "" {
		if body, err = appendText(append(body, `,"session":`...), "session", e.Session); err != nil {
			return 0, err
		}
	}
	if e.Keep != "" {
		body = append(append(append(body, `,"keep":"`...), e.Keep...), '"')
	}
	var answer struct {
		Ended int `json:"ended"`
	}
	err = c.subject(ctx, endSubject, append(body, '}'), &answer)
	return answer.Ended, err
}

// subject makes a call that travels alone.
func (c *Client) subject(ctx context.Context, k kind, body []byte, into any) error {
	r := c.newCall(k)
	r.body = append(r.body[:0], body...)
	if err := c.do(ctx, r); err != nil {
		return err
	}
	meta := r.meta
	c.free(r)
	if err := json.Unmarshal(meta, into); err != nil {
		return &Error{Kind: ErrOutcomeUnknown, Status: 200, Cause: errAnswer}
	}
	return nil
}
