package server

import (
	"slices"
	"sync/atomic"

	"github.com/valyala/fasthttp"

	"tokenserver/internal/stats"
	"tokenserver/token"
)

// itemCodes are the results of items. The last one is that of all errors that are no
// answer of a store.
var itemCodes = [...]string{
	itemOk, "InvalidToken", codeInvalidRequest, "MetaTooLarge", "StoreFull", "BatchTooLarge", codeUnavailable,
}

const (
	itemOk          = "Ok"
	itemUnavailable = len(itemCodes) - 1
)

// itemKinds are the kinds of items that are counted: those of batchKinds, after none.
const itemKinds = 1 + len(batchKinds)

// sizeBounds are upper bounds of how many items a batch has.
var sizeBounds = [...]float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096}

type batchCounters struct {
	items [itemKinds][len(itemCodes)]atomic.Uint64
	sizes [len(sizeBounds) + 1]atomic.Uint64
}

// countBatch counts a batch and its items, and logs if the store has failed.
func (s *Server) countBatch(ctx *fasthttp.RequestCtx, items []token.BatchItem) {
	var counts [itemKinds][len(itemCodes)]uint64
	for i := range items {
		result := resultOf(items[i].Err)
		if result == itemUnavailable && counts[items[i].Op][itemUnavailable] == 0 {
			s.logStoreError(items[i].Err)
		}
		counts[items[i].Op][result]++
	}
	c := &s.stats.stripe(ctx).batches
	for kind := range counts {
		for result, n := range counts[kind] {
			if n > 0 {
				c.items[kind][result].Add(n)
			}
		}
	}
	c.sizes[boundIndex(sizeBounds[:], float64(len(items)))].Add(1)
}

// resultOf returns the place of an item's result in itemCodes.
func resultOf(err error) int {
	code := itemOk
	if err != nil {
		code = answerTo(err).code
	}
	if i := slices.Index(itemCodes[:], code); i >= 0 {
		return i
	}
	return itemUnavailable
}

// addBatches adds up what is counted of batches.
func (st *counters) addBatches(sum *stats.Server) {
	sum.BatchSizes = stats.Sizes{Bounds: sizeBounds[:], Counts: make([]uint64, len(sizeBounds)+1)}
	for i := range st {
		for b := range sum.BatchSizes.Counts {
			sum.BatchSizes.Counts[b] += st[i].batches.sizes[b].Load()
		}
	}
	for kind := range itemKinds {
		for result, code := range itemCodes {
			n := st.items(kind, result)
			sum.BatchSizes.Sum += n
			if n > 0 {
				sum.BatchItems = append(sum.BatchItems, stats.ItemCount{Kind: kindName(kind), Result: code, Count: n})
			}
		}
	}
}

func (st *counters) items(kind, result int) (n uint64) {
	for i := range st {
		n += st[i].batches.items[kind][result].Load()
	}
	return n
}

// kindName returns what an item of a kind is called, and "none" for one of no kind.
func kindName(kind int) string {
	if kind == 0 {
		return "none"
	}
	return batchKinds[kind-1].name
}
