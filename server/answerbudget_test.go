package server

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/shard"
	"tokenserver/token"
)

func TestAnswerBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newAnswerBudget()
		first, err := b.take(maxLargeAnswers - 10)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := b.take(11); !errors.Is(err, errBusy) || time.Since(start) != shareTimeout {
			t.Errorf("take of more than there is = %v after %v, want errBusy after %v", err, time.Since(start), shareTimeout)
		}
		if !first.grow(10) || first.grow(1) {
			t.Error("a share does not grow to all that there is, or grows beyond it")
		}
		time.AfterFunc(shareTimeout/2, func() { first.shrink(100) })
		second, err := b.take(maxLargeAnswers - 100)
		if err != nil {
			t.Errorf("take of what is given back meanwhile = %v", err)
		}
		synctest.Wait()
		for range 2 { // more than once is as once
			first.release()
			second.release()
		}
		if all, err := b.take(maxLargeAnswers); err != nil {
			t.Errorf("take of all = %v, want all to be there again", err)
		} else if all.releaseUnlessSent(); all.bytes != 0 {
			t.Errorf("an answer that was not sent has kept %d bytes", all.bytes)
		}
	})
}

// A large answer gives its memory back when it was written, when it can't be written,
// and when it is dropped.
func TestLargeBody(t *testing.T) {
	const text = "0123456789"
	b := newAnswerBudget()
	for name, use := range map[string]func(r *fasthttp.Response, body *largeBody){
		"written": func(r *fasthttp.Response, _ *largeBody) {
			if got := string(r.Body()); got != text {
				t.Errorf("the body is %q, want %q", got, text)
			}
		},
		"read": func(_ *fasthttp.Response, body *largeBody) {
			if got, err := io.ReadAll(io.LimitReader(body, 100)); string(got) != text || err != nil {
				t.Errorf("read %q, %v, want %q", got, err, text)
			}
			body.Close()
		},
		"dropped": func(r *fasthttp.Response, _ *largeBody) { r.Reset() },
	} {
		memory, err := b.take(maxLargeAnswers)
		if err != nil {
			t.Fatalf("%s: the memory of the answer before it is still taken", name)
		}
		var ctx fasthttp.RequestCtx
		setLargeBody(&ctx, []byte(text), memory)
		memory.releaseUnlessSent() // it is sent
		if memory.bytes == 0 {
			t.Errorf("%s: the memory of an answer was released before it was written", name)
		}
		use(&ctx.Response, ctx.Response.BodyStream().(*largeBody))
		ctx.Response.Reset()
		if memory.bytes != 0 {
			t.Errorf("%s: %d bytes are still taken", name, memory.bytes)
		}
	}
}

// Lists that no client reads share a memory. Who gets none is told so, and all is well
// once they are read.
func TestUnreadLists(t *testing.T) {
	const maxMeta = 2 * token.MaxListing // one session makes a list of more than a page
	s := serve(t, Config{
		Store:   newStore(t, shard.Config{MaxMeta: maxMeta}),
		MaxMeta: maxMeta, MaxBody: 2 * maxMeta, AnswerTimeout: patience,
	})
	ln := s.servePipes(t)
	c := s.dial(t)
	c.createFor("s", `{"a":"`+strings.Repeat("x", token.MaxListing)+`"}`)
	list := requestText("POST", "/subject/sessions", subjectBody("s"))
	var unread []*client
	for len(unread) == 0 || unread[len(unread)-1].peekStatus() == "200" {
		reader := ln.dial(t)
		reader.send(list)
		unread = append(unread, reader)
		if len(unread) > maxLargeAnswers/token.MaxListing {
			t.Fatalf("%d lists of over %d bytes are under way, want %d bytes at most", len(unread), token.MaxListing, maxLargeAnswers)
		}
	}
	refused := unread[len(unread)-1].receive("POST")
	refused.wantError(t, 503, "StoreUnavailable")
	if !strings.HasSuffix(refused.body, `,"done":false}`) {
		t.Errorf("a list without memory got %s, want that nothing was done", refused.body)
	}
	if least := maxLargeAnswers / token.MaxListing / 2; len(unread) < least {
		t.Errorf("%d lists are under way, want %d at least", len(unread)-1, least)
	}
	for i, reader := range unread[:len(unread)-1] {
		if i%2 == 0 {
			reader.conn.Close()
		} else if r := reader.receive("POST"); r.status != 200 {
			t.Errorf("a list that was read late got %v", r)
		}
	}
	if memory, err := s.answers.take(maxLargeAnswers); err != nil {
		t.Error("after all lists were read or given up, some of their memory is taken")
	} else {
		memory.release()
	}
	if r := c.do("POST", "/subject/sessions", subjectBody("s")); r.status != 200 {
		t.Errorf("a list after all that got %v", r)
	}
}

// peekStatus returns the status of the next answer, and reads no more of it.
func (c *client) peekStatus() string {
	c.t.Helper()
	const start = "HTTP/1.1 "
	line, err := c.in.Peek(len(start) + 3)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(line[len(start):])
}
