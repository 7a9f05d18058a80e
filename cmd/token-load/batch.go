package main

import (
	"bytes"
	"fmt"
)

// With --batch the requests of a batch are the items of one POST /token/batch.

// Around the items of a batch, and the answers to them.
const (
	batchBody    = `{"batch":[`
	batchBodyEnd = `]}`
	answersStart = `{"Ok":[`
	answersEnd   = `]}`
)

// newItemWriter returns a requestWriter that appends items, each behind a comma.
func newItemWriter(meta *metadata) *requestWriter {
	item := func(kind string) string { return `,{"` + kind + `":` }
	return &requestWriter{meta: meta, end: bodyEnd, heads: [operationCount]string{
		opCreate:   item("create"),
		opExchange: item("exchange"),
		opPatch:    item("exchange"),
		opValidate: item("validate"),
		opDelete:   item("delete"),
		opReplay:   item("exchange"),
	}}
}

// wrapBatch makes one request of the items in w.out.
func (w *worker) wrapBatch() {
	items := w.out[1:] // the first comma
	size := len(batchBody) + len(items) + len(batchBodyEnd)
	w.wrapped = fmt.Appendf(w.wrapped[:0], requestHead, "POST /token/batch", w.load.config.Address, size)
	w.wrapped = append(w.wrapped, batchBody...)
	w.wrapped = append(w.wrapped, items...)
	w.wrapped = append(w.wrapped, batchBodyEnd...)
	w.out, w.wrapped = w.wrapped, w.out
}

// readBatch reads the answer to a batch and judges those to its items. It returns how many
// requests have an answer.
func (w *worker) readBatch() (answered int, err error) {
	var a answer
	if err := w.answers.next(opCreate, &a); err != nil {
		return 0, err
	}
	rest, ok := bytes.CutPrefix(a.body, []byte(answersStart))
	if !ok {
		for i := range w.batch { // a fault of each, as a single request's would be
			w.judge(&w.batch[i], &a)
		}
		return len(w.batch), nil
	}
	for i := range w.batch {
		var item []byte
		if item, rest, ok = cutItem(rest, i == len(w.batch)-1); !ok {
			return i, malformedError("batch without an answer to each item")
		}
		single := answerToItem(&a, w.batch[i].op, item)
		w.judge(&w.batch[i], &single)
	}
	if len(rest) > 0 {
		return len(w.batch), malformedError("batch with more answers than items")
	}
	return len(w.batch), nil
}

// cutItem cuts the answer to an item, and what is behind it, off the rest of a batch's.
func cutItem(rest []byte, last bool) (item, behind []byte, ok bool) {
	end := objectLen(rest)
	if end == 0 {
		return nil, nil, false
	}
	item, behind = rest[:end], rest[end:]
	separator := ","
	if last {
		separator = answersEnd
	}
	behind, ok = bytes.CutPrefix(behind, []byte(separator))
	return item, behind, ok
}

// objectLen returns the length of the JSON object at the start of b, or 0 if there is none.
func objectLen(b []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		if depth == 0 {
			return 0
		}
	}
	return 0
}

// answerToItem returns the answer that a request of its own would have got.
func answerToItem(batch *answer, op operation, item []byte) answer {
	a := *batch
	a.body = item
	switch inner, created := bytes.CutPrefix(item, []byte(okTokenStart)); {
	case op == opCreate && created:
		a.contentType = []byte(tokenType)
		a.body = bytes.TrimSuffix(inner, []byte(`"}}`))
	case op == opDelete && string(item) == `{"Ok":{}}`:
		a.status, a.body = 202, nil
	}
	return a
}
