package client

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// NewSession describes a session to be created.
type NewSession struct {
	// Meta is the session's metadata, a JSON object.
	Meta json.RawMessage
	// Subject says whose session it is, in 1 to 256 bytes. Empty means nobody's.
	Subject string
	// Lifetime is the session's own idle time-out, 1 minute to 96 hours. 0 means that
	// the server's holds.
	Lifetime time.Duration
}

// Create stores a session and returns its first token. Its errors match
// [ErrStoreFull], [ErrMetaTooLarge], [ErrInvalidRequest], [ErrUnavailable],
// [ErrUnauthorized], [ErrOutcomeUnknown]: then there may be a session whose token
// nobody has.
func (c *Client) Create(ctx context.Context, s NewSession) (token string, err error) {
	r := c.newCall(create)
	if r.body, err = appendCreate(r.body[:0], s); err != nil {
		return "", err
	}
	if err := c.do(ctx, r); err != nil {
		return "", err
	}
	token = r.token
	c.free(r)
	return token, nil
}

// Patch says how an exchange changes the metadata. Its zero value changes nothing.
type Patch struct {
	// Meta is a JSON object whose members are merged into the session's. Nil means
	// none.
	Meta json.RawMessage
	// Unset are names of members that go, after the merge.
	Unset []string
}

// Exchanged is what a token was exchanged for.
type Exchanged struct {
	// Token is the session's next token.
	Token string
	// Meta is the session's metadata, with the patch.
	Meta json.RawMessage
	// Reused says that the token had been spent before and is in its grace: Token is
	// the session's current one.
	Reused bool
}

// Exchange spends a token and returns the next one, with the session's metadata. Its
// errors match [ErrInvalidToken], [ErrStoreFull], [ErrMetaTooLarge],
// [ErrInvalidRequest], [ErrUnavailable], [ErrUnauthorized], with which the token is as
// it was, or [ErrOutcomeUnknown], with which it may be spent.
func (c *Client) Exchange(ctx context.Context, token string, patch Patch) (x Exchanged, err error) {
	if !isToken(token) {
		return x, ErrInvalidToken
	}
	r := c.newCall(exchange)
	if r.body, err = appendExchange(r.body[:0], token, patch); err != nil {
		return x, err
	}
	if err := c.do(ctx, r); err != nil {
		return x, err
	}
	x = Exchanged{r.token, r.meta, r.reused}
	c.free(r)
	return x, nil
}

// Validated is what a look at a token has found.
type Validated struct {
	// Meta is the session's metadata.
	Meta json.RawMessage
	// ExpiresIn is how long the session lives if nothing more is done with it, in
	// whole seconds, rounded up.
	ExpiresIn time.Duration
}

// Validate looks at a token, and spends and renews nothing. Its errors match
// [ErrInvalidToken], [ErrUnavailable] or [ErrUnauthorized].
func (c *Client) Validate(ctx context.Context, token string) (v Validated, err error) {
	if !isToken(token) {
		return v, ErrInvalidToken
	}
	r := c.newCall(validate)
	r.body = append(appendToken(r.body[:0], token), '}')
	if err := c.do(ctx, r); err != nil {
		return v, err
	}
	v = Validated{r.meta, time.Duration(r.expiresIn) * time.Second}
	c.free(r)
	return v, nil
}

// Delete ends the session of a token. An invalid token is no error. Its errors match
// [ErrUnavailable], [ErrUnauthorized] or [ErrOutcomeUnknown]; repeating it does no harm.
func (c *Client) Delete(ctx context.Context, token string) error {
	if !isToken(token) {
		return nil
	}
	r := c.newCall(remove)
	r.body = append(appendToken(r.body[:0], token), '}')
	if err := c.do(ctx, r); err != nil {
		return err
	}
	c.free(r)
	return nil
}

// Decode returns metadata as a value of a type of the caller's. Its error is that of
// [json.Unmarshal].
func Decode[T any](meta json.RawMessage) (v T, err error) {
	err = json.Unmarshal(meta, &v)
	return v, err
}

// Ready says whether calls can be expected to succeed: nil if a server is ready, and
// otherwise why none is. An error that matches [ErrStoresDiffer] says that an address
// is refused, of which there may be others that are not. It asks all servers.
func (c *Client) Ready(ctx context.Context) error {
	c.begin(time.Now())
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.ctx.Err(); err != nil {
		return ErrClosed
	}
	err := c.servers.check(ctx)
	if err != nil && !errors.Is(err, ErrStoresDiffer) {
		return notDone(ctx.Err(), err)
	}
	return err
}
