package token

import (
	"errors"
	"time"
)

// ErrBatchTooLarge says that an item of a batch was not carried out, since the
// outcomes before it are as large as they may be.
var ErrBatchTooLarge = errors.New("token: batch too large")

// Op is what an item of a batch asks for.
type Op uint8

// The operations, each as the method of a store that is called so.
const (
	OpCreate Op = iota + 1
	OpExchange
	OpValidate
	OpDelete
)

// Batch is operations that travel together, and their outcomes.
type Batch struct {
	Items []BatchItem
	// Buf is what a store appends the metadata of the outcomes to, in the order of
	// the items. It may have Limit bytes, and what one more item adds. 0 means no
	// limit.
	Buf   []byte
	Limit int
	// Grow is called when Buf has reached Limit. It raises Limit, or returns false:
	// then the items that are left are ErrBatchTooLarge. It may take its time.
	Grow func() bool
}

// BatchItem is one operation of a Batch. Its slices are the caller's, and valid until
// the call of the store returns.
type BatchItem struct {
	Op    Op
	Token Token // presented; after an exchange or a create, the new one

	Meta, Unset []byte        // of a NewSession, or a Patch
	Subject     []byte        // of a NewSession
	Lifetime    time.Duration // of a NewSession

	// Err is the outcome. An item that has one before the store is called is
	// passed over.
	Err error
	// Expires is when a session expires that was validated.
	Expires time.Time
	// Reused is what an ExchangeResult has.
	Reused bool
	// MetaLen is how many bytes of metadata were appended to Buf.
	MetaLen int
}

// NewSession returns the session that an OpCreate asks for.
func (i *BatchItem) NewSession() NewSession {
	return NewSession{Meta: i.Meta, Subject: i.Subject, Lifetime: i.Lifetime}
}

// Patch returns the patch of an OpExchange.
func (i *BatchItem) Patch() Patch { return Patch{Meta: i.Meta, Unset: i.Unset} }

// Full says whether Buf has reached Limit: no more items are carried out.
func (b *Batch) Full() bool { return b.Limit != 0 && len(b.Buf) >= b.Limit }

// MakeRoom calls Grow as long as b is full, and says whether one more item may be
// carried out.
func (b *Batch) MakeRoom() bool {
	for b.Full() {
		if b.Grow == nil || !b.Grow() {
			return false
		}
	}
	return true
}

// RefuseFrom makes the item at i and those behind it ErrBatchTooLarge.
func (b *Batch) RefuseFrom(i int) {
	for ; i < len(b.Items); i++ {
		if b.Items[i].Err == nil {
			b.Items[i].Err = ErrBatchTooLarge
		}
	}
}

// DropFailed takes the metadata of items that have an error out of Buf. A store calls
// it where items were carried out and turn out not to last.
func (b *Batch) DropFailed() {
	at := len(b.Buf)
	for i := range b.Items {
		at -= b.Items[i].MetaLen
	}
	kept := b.Buf[:at]
	for i := range b.Items {
		item := &b.Items[i]
		meta := b.Buf[at : at+item.MetaLen]
		if at += item.MetaLen; item.Err != nil {
			item.MetaLen = 0
		} else {
			kept = append(kept, meta...)
		}
	}
	b.Buf = kept
}
