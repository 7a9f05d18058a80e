package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
)

// item returns the request as an item of a batch.
func (r *request) item() string {
	_, body, _ := strings.Cut(r.text(), "\r\n\r\n")
	return fmt.Sprintf(`{%q:%s}`, r.kind, body)
}

// sendBatch sends requests as one.
func (c *client) sendBatch(rs []*request) {
	var items []string
	for _, r := range rs {
		items = append(items, r.item())
	}
	c.write(textOf("POST", "/token/batch", `{"batch":[`+strings.Join(items, ",")+`]}`), rs...)
}

// receiveBatch reads the answers to rs.
func (c *client) receiveBatch(rs []*request) error {
	res, body, err := c.read(rs...)
	if err != nil {
		return err
	}
	var all struct{ Ok []json.RawMessage }
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all.Ok) != len(rs) {
		return fmt.Errorf("%d %.300s: %d answers to %d items, %v", res.StatusCode, body, len(all.Ok), len(rs), err)
	}
	for i, r := range rs {
		err = errors.Join(err, r.answerItem(res, string(all.Ok[i])))
	}
	return err
}

// answerItem takes the answer to an item: that to the request of its own, in other words.
func (r *request) answerItem(res *http.Response, text string) error {
	if strings.HasPrefix(text, `{"Err":"StoreUnavailable"`) {
		r.notDone = strings.Contains(text, `"done":false`)
		return errUnavailable
	}
	alone := *res
	alone.Header = make(http.Header)
	switch {
	case r.kind == kindCreate:
		text = strings.TrimSuffix(strings.TrimPrefix(text, `{"Ok":{"token":"`), `"}}`)
	case r.kind == kindDelete && text == `{"Ok":{}}`:
		alone.StatusCode, text = http.StatusAccepted, ""
	case strings.HasSuffix(text, `,"reused":true}}`):
		alone.Header.Set("Token-Reused", "true")
		text = strings.TrimSuffix(text, `,"reused":true}}`) + "}}"
	}
	r.answer = parseAnswer(r.kind, &alone, text)
	return nil
}

// doBatch sends requests in a batch, and settles them, those of one session together.
func (w *worker) doBatch(as []*account, rs []*request) error {
	c := w.clients[w.rng.IntN(len(w.clients))]
	c.sendBatch(rs)
	failed := c.receiveBatch(rs)
	for _, r := range rs {
		r.notDone = r.notDone || r.answer == nil && failed != nil && w.ledger.stopping.Load()
	}
	if errors.Is(failed, os.ErrDeadlineExceeded) {
		w.ledger.violation("batch of %v: %v", rs, failed)
	}
	for i, a := range as {
		var ofOne []*request
		for k := i; k < len(as); k++ {
			if as[k] == a {
				ofOne = append(ofOne, rs[k])
			}
		}
		if slices.Index(as, a) == i {
			a.settle(ofOne...)
		}
	}
	w.ledger.count(len(rs))
	return failed
}
