package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"tokenserver/client"
)

// With --client a worker is a goroutine that calls the Go client, one call after another, and
// the client decides what travels together.

// call makes the call for the only request of the batch, and judges its answer.
func (w *worker) call() {
	r := &w.batch[0]
	a, err := w.load.answerOf(r)
	w.answers.arrived = w.load.now()
	w.latest = w.answers.arrived
	if err == nil {
		w.judge(r, &a)
		w.answered++
	} else {
		w.giveUp(w.batch, err)
	}
	w.pool.settle()
	w.batch, w.out = w.batch[:0], w.out[:0]
	w.flush(w.latest)
}

// answerOf makes a call and returns the answer that the request of its own would have got.
func (l *load) answerOf(r *request) (a answer, err error) {
	ctx := context.Background()
	a.head = head{status: 200, contentType: []byte(jsonType), cacheControl: []byte("no-store")}
	switch r.op {
	case opCreate:
		var t string
		t, err = l.client.Create(ctx, client.NewSession{Meta: l.checker.meta.append(nil, r.user, 0)})
		a.contentType, a.body = []byte(tokenType), []byte(t)
	case opValidate:
		var v client.Validated
		v, err = l.client.Validate(ctx, r.presented())
		a.body = validAnswer(v)
	case opDelete:
		err = l.client.Delete(ctx, r.presented())
		a.status, a.contentType = 202, nil
	default: // an exchange of any kind
		var x client.Exchanged
		x, err = l.client.Exchange(ctx, r.presented(), client.Patch{Meta: r.patch()})
		a.body = exchangedAnswer(x)
	}
	if errors.Is(err, client.ErrInvalidToken) {
		a.body, err = []byte(invalidTokenBody), nil
	}
	return a, err
}

// presented is the token that a request presents.
func (r *request) presented() string {
	if r.session == nil {
		return string(r.spent[:])
	}
	return string(r.session.token[:])
}

// patch is the metadata of a patch, and nil for another operation.
func (r *request) patch() json.RawMessage {
	if r.op != opPatch {
		return nil
	}
	return appendPatch(nil, r.session.visits+1)
}

func exchangedAnswer(x client.Exchanged) []byte {
	return append(append(append(append([]byte(okTokenStart), x.Token...), okMeta...), x.Meta...), okEnd...)
}

func validAnswer(v client.Validated) []byte {
	body := append(append([]byte(validStart), v.Meta...), validExpires...)
	body = strconv.AppendInt(body, int64(v.ExpiresIn/time.Second), 10)
	return append(body, okEnd...)
}
