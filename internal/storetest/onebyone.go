package storetest

import (
	"context"

	"tokenserver/token"
)

// OneByOne carries out the items of a batch by the methods of their names: it is what
// Batch of a store has to be like.
func OneByOne(ctx context.Context, s Store, b *token.Batch) {
	for i := range b.Items {
		item := &b.Items[i]
		switch {
		case item.Err != nil:
		case !b.MakeRoom():
			item.Err = token.ErrBatchTooLarge
		default:
			oneByOne(ctx, s, item, b)
		}
	}
}

func oneByOne(ctx context.Context, s Store, item *token.BatchItem, b *token.Batch) {
	before := b.Buf
	switch item.Op {
	case token.OpCreate:
		item.Token, item.Err = s.Create(ctx, item.NewSession())
	case token.OpExchange:
		var x token.ExchangeResult
		x, item.Err = s.Exchange(ctx, item.Token, item.Patch(), b.Buf)
		item.Token, item.Reused, b.Buf = x.Token, x.Reused, x.Meta
	case token.OpValidate:
		b.Buf, item.Expires, item.Err = s.Validate(ctx, item.Token, b.Buf)
	case token.OpDelete:
		item.Err = s.Delete(ctx, item.Token)
	}
	if item.Err != nil {
		b.Buf = before
	}
	item.MetaLen = len(b.Buf) - len(before)
}
