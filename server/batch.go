package server

import (
	"context"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/metadata"
	"tokenserver/token"
)

// Bounds and defaults of [Config].MaxBatch, in items, and [Config].MaxBatchBody, in
// bytes. Flags are held to the bounds; a Server takes what it is given.
const (
	MinMaxBatch     = 1
	MaxMaxBatch     = 4096
	DefaultMaxBatch = 1024

	MinMaxBatchBody     = 1 << 10
	MaxMaxBatchBody     = 64 << 20
	DefaultMaxBatchBody = 1 << 20
)

const (
	// maxBatchAnswer is how large the answer to a batch may be, in bytes, but for what
	// one more item adds.
	maxBatchAnswer = 16 << 20
	// minBatchStep is how much larger the answer to a batch may become at a time, in
	// bytes, if no session's metadata is larger.
	minBatchStep = 256 << 10
)

// batchKinds are the kinds of items, by the number that BatchScanner gives them.
var batchKinds = [...]struct {
	name   string
	op     token.Op
	fields fields
}{
	{"create", token.OpCreate, fieldsOfCreate},
	{"exchange", token.OpExchange, fieldsOfExchange},
	{"validate", token.OpValidate, fieldsOfToken},
	{"delete", token.OpDelete, fieldsOfToken},
}

var batchItemKinds = func() (kinds []metadata.ItemKind) {
	for _, k := range batchKinds {
		kinds = append(kinds, metadata.ItemKind{Name: k.name, Fields: k.fields.names})
	}
	return kinds
}()

// batch is a batch that is answered. It is reused, from the reading of the request
// until its answer was written.
type batch struct {
	server  *Server
	scanner metadata.BatchScanner
	item    request // the item that is being read
	token.Batch
	largeBody        // the answer
	frames    int    // bytes that the answer has around metadata, at most
	text      []byte // of one item
}

func (s *Server) newBatch() *batch {
	b := &batch{server: s}
	b.scanner.Array, b.scanner.Kinds, b.scanner.MaxItems = "batch", batchItemKinds, s.maxBatch
	b.Grow = b.grow
	return b
}

// handleBatch carries out many items, each as a request of its own would be.
func (s *Server) handleBatch(ctx *fasthttp.RequestCtx) error {
	b := s.batches.Get().(*batch)
	sent := false
	defer func() {
		if !sent {
			b.Close()
		}
	}()
	if err := b.carryOut(ctx); err != nil {
		return err
	}
	b.makeAnswer()
	s.countBatch(ctx, b.Items)
	sent = true
	ctx.Response.SetBodyStream(b, len(b.body))
	ctx.Response.Header.SetContentTypeBytes(contentTypeJSON)
	return nil
}

// carryOut reads a batch and has the store carry it out.
func (b *batch) carryOut(ctx *fasthttp.RequestCtx) (err error) {
	if err := checkMediaType(&ctx.Request.Header); err != nil {
		return err
	}
	if err := b.scanner.Scan(ctx.Request.Body()); err == metadata.ErrNoBatch {
		return b.server.errNoBatch
	} else if err != nil {
		return err
	}
	b.readItems()
	b.Limit = b.server.batchStep
	if b.share, err = b.server.answers.take(int64(b.frames + 2*b.Limit)); err != nil {
		return err
	}
	return b.server.store.Batch(context.Background(), &b.Batch)
}

// grow lets the answer take another step of memory. It takes it twice, since while it
// grows there are two of it.
func (b *batch) grow() bool {
	step := b.server.batchStep
	if b.Limit+step > maxBatchAnswer || !b.share.grow(2*int64(step)) {
		return false
	}
	b.Limit += step
	return true
}

// readItems reads the items. One that is not right has its error.
func (b *batch) readItems() {
	b.frames = len(batchHead) + len(batchTail)
	if n := len(b.scanner.Items()); cap(b.Items) < n {
		b.Items = make([]token.BatchItem, 0, n)
	}
	for _, scanned := range b.scanner.Items() {
		b.Items = append(b.Items, token.BatchItem{})
		item := &b.Items[len(b.Items)-1]
		if scanned.Kind == metadata.NoKind {
			item.Err = errNoKind
		} else {
			item.Err = b.readItem(item, scanned)
		}
		b.frames += itemFrame
	}
}

func (b *batch) readItem(item *token.BatchItem, scanned metadata.Item) error {
	kind := &batchKinds[scanned.Kind]
	item.Op = kind.op
	r := &b.item
	if err := r.take(b.scanner.Fields(scanned), kind.fields); err != nil {
		return err
	}
	item.Meta, item.Unset = r.values[fieldMeta], r.values[fieldUnset]
	if kind.op == token.OpCreate {
		n := r.newSession()
		item.Subject, item.Lifetime = n.Subject, n.Lifetime
		return nil
	}
	t, err := r.parseToken()
	if err != nil && kind.op == token.OpDelete {
		return nil // of the zero token: there is no session of that
	}
	item.Token = t
	return err
}

// What a batch answers.
const (
	batchHead = `{"Ok":[`
	batchTail = `]}`

	createdHead = exchangedHead
	createdTail = `"}}`
	reusedTail  = `,"reused":true}}`
	deleted     = `{"Ok":{}}`

	// itemFrame is what an item takes beside its metadata, at most, and a comma.
	itemFrame = len(exchangedHead) + token.EncodedLen + len(exchangedMid) + len(reusedTail) + len(",")
)

// makeAnswer turns the metadata in Buf into the answer, in place: from the last item on
// each is moved to the right, and what is around it is put there. What is still to be
// moved is never overwritten, since the answer to the items that are left is at least
// as long as their metadata.
func (b *batch) makeAnswer() {
	read := len(b.Buf)
	write := read + b.frames + b.errorsLen()
	out := b.Buf
	if cap(out) < write {
		out = make([]byte, write)
		copy(out, b.Buf)
	}
	out = out[:write]
	put := func(text []byte) {
		write -= len(text)
		copy(out[write:], text)
	}
	put([]byte(batchTail))
	now := time.Now()
	for i := len(b.Items) - 1; i >= 0; i-- {
		item := &b.Items[i]
		put(b.after(item, now))
		write -= item.MetaLen
		read -= item.MetaLen
		copy(out[write:], out[read:][:item.MetaLen])
		put(b.before(item))
		if i > 0 {
			put([]byte(","))
		}
	}
	put([]byte(batchHead))
	b.Buf, b.body = out, out[write:]
	b.share.shrink(int64(cap(out)))
}

// errorsLen returns how many bytes errors take.
func (b *batch) errorsLen() (n int) {
	for i := range b.Items {
		if err := b.Items[i].Err; err != nil {
			n += len(errorText(err)) + len(",")
		}
	}
	return n
}

// before returns what the answer to an item has before its metadata.
func (b *batch) before(item *token.BatchItem) []byte {
	text := b.text[:0]
	switch {
	case item.Err != nil:
		text = append(text, errorText(item.Err)...)
	case item.Op == token.OpCreate:
		text = item.Token.Append(append(text, createdHead...))
	case item.Op == token.OpExchange:
		text = item.Token.Append(append(text, exchangedHead...))
		text = append(text, exchangedMid...)
	case item.Op == token.OpValidate:
		text = append(text, validatedHead...)
	default:
		text = append(text, deleted...)
	}
	b.text = text
	return text
}

// after returns what the answer to an item has behind its metadata.
func (b *batch) after(item *token.BatchItem, now time.Time) []byte {
	text := b.text[:0]
	switch {
	case item.Err != nil:
	case item.Op == token.OpCreate:
		text = append(text, createdTail...)
	case item.Op == token.OpExchange && item.Reused:
		text = append(text, reusedTail...)
	case item.Op == token.OpExchange:
		text = append(text, exchangedTail...)
	case item.Op == token.OpValidate:
		text = append(text, validatedMid...)
		text = strconv.AppendInt(text, secondsUntil(item.Expires, now), 10)
		text = append(text, validatedTail...)
	}
	b.text = text
	return text
}

// Close ends the batch. It is called once: by fasthttp when the answer was written or
// its connection has ended, or where there is none.
func (b *batch) Close() error {
	if b.share != nil {
		b.share.release()
	}
	b.scanner.Reset()
	b.item = request{}
	clear(b.Items)
	b.Items, b.Buf = b.Items[:0], b.Buf[:0]
	if cap(b.Items) > DefaultMaxBatch {
		b.Items = nil
	}
	if cap(b.Buf) > maxKept {
		b.Buf = nil
	}
	b.largeBody = largeBody{}
	b.server.batches.Put(b)
	return nil
}
