// Package shard is the embedded store: sessions in memory, spread over shards.
//
// # Basics
//
// [New] makes a [Store]. A session's id is hashed to one of its shards, each with
// its own map, RWMutex and min-heap of deadlines, so that an exchange is one
// look-up and an update in place under one lock. A deadline is checked at every
// use; the purge in the background only takes back memory.
//
// A public method hashes, picks the shard and delegates to it; tokens, digests and
// patches are made ready before the lock is taken. [Store.Batch] carries many
// operations out in windows, each under the locks of a few shards, and waits for the
// Journal once. A [Journal] makes the changes
// last: it is told of each while the lock is held, and waited for once it is
// released.
//
// # Caveats
//
// Without a Journal nothing outlives the Store. No method waits for anything but a
// shard's lock, the Journal, the purge of a full store and its compaction, and short pauses between
// batches, so contexts are not looked at, except by a
// listing of all sessions. Byte slices that are passed in belong to the caller:
// the store copies what it keeps. What it returns is appended to the caller's
// buffer, or copied.
//
// # Memory
//
// No record, entry or block has a pointer in it or to it, so that the garbage
// collector has next to nothing to scan. A region of 4 MiB is cut into pages of the
// pool; a page holds records, heap entries, policy states, or blocks of one size
// class. The first ones of a shard, and of a class, are smaller, and no pages of the
// pool. A session is
//
//	map: id → record index
//	record (32 bytes)       digest, id, block, heap index
//	heap entry (16 bytes)   deadline, record index
//	block                   record index, size of the metadata, policy index if any, the metadata
//	policy state            what grace, subject and lifetimes keep; only with a policy
//
// # Limit of memory
//
// What the limit counts is what shards have reserved, whether it is used or not. It
// is taken before anything changes (memory.take). Of what a shard uses, so much
// more may be reserved:
//
//	block classes     an eighth, and 4 KiB or a block each: 322 KiB for 77 classes
//	                  (freeShare, freeSlack), and a page that is being emptied
//	tails of pages    less than a sixteenth; 1/28 is the most
//	records           a sixteenth (packShare), 2 KiB, and a page and a half
//	policy states     the same
//	heap entries      a page and a half
//	maps              none, for mapCost and subjectCost are the most that a map
//	                  takes before its keys move to one of half the size, and that
//	                  one while they move
//
// That is at most a quarter and 1 MiB. An operation that frees something pays for
// it with a step of compaction in the same hold of the lock: it moves up to
// compactMoves blocks, records and policy states, no more than compactBytes, and
// compactKeys keys of a map. For each thing that is freed one at most has to be
// moved, so that one step an operation keeps up; who frees more, a purge or the end
// of a subject, makes the other steps in holds of their own. An exchange that frees
// nothing pays nothing.
//
// Where there is no room all the same, what has expired goes, and pages are emptied
// that usually would not be (squeeze).
//
// # Invariants
//
// While no call is under way:
//
//   - A record is in the map under its id, in the heap at its heap index, and has
//     a block of its own, which names it; or it is wiped and in the free list, once.
//   - While keys move to a smaller map, those of the new map count; each key of a
//     session or subject is in one of the two, and in the new one if what it leads to
//     lies before index.next.
//   - A heap entry is not later than its children, and its record knows its index.
//   - A session is in the shard that the hash of its id names, and so is its
//     subject.
//   - A policy state is free, once, or belongs to one record, whose block names it.
//     A subject's sessions are a ring in the order of their creation, the newest
//     first, and the map of subjects has the newest of each (once Restored).
//   - A block in use lies in a page of its size class, or of a larger one where there
//     was no room to make it smaller. No two share a slot, and
//     each slot of a page is used, free or fresh. A page with a free block is in
//     its class's list for its fullness, unless it is being emptied; a class has one
//     empty page at most, and its first four bytes tell a free block from a used one.
//   - A page of the pool is free, once, or has one owner.
//   - What the shards hold is what they have reserved, and what the budget has given
//     out, where there is a limit. Only what is restored exceeds that. Sessions created
//     and restored, less those ended, are those held.
//   - A shard has reserved 1.25 times what its sessions use, and 1 MiB, at most,
//     unless a listing goes through it: records do not move meanwhile.
//   - No session expires before purgeState.earliest.
//   - Metadata is a compact JSON object, each name once.
//
// checkStore in the tests checks all of them.
//
// # Lock order
//
// This is the order of the whole program. Who holds a lock takes none that stands
// above it, nor a second one of the same line, unless it says so.
//
//  1. server: dump.mu, listeners.mu, reaper.mu; admin: Sampler.mu, frames.mu. None is
//     held while a store is called.
//  2. shard: purgeState.makingRoom, by whoever purges a full store.
//  3. shard: shard.mu, the read or the write lock, of one shard at a time. Only a batch
//     takes several, windowItems at most, in the order of their numbers.
//  4. shard: pagePool.mu; durable: journal.expired, expiredKeys.mu.
//  5. durable: journal.writing, by whoever writes a group. It is never taken under
//     shard.mu, but who holds shard.mu may wait for its owner, if the open group is
//     full: so its owner takes no lock of a shard.
//  6. durable: journal.mu, openDir.mu, spaceLook.
//  7. Pebble's own locks.
//  8. durable: watchdog.mu, which file operations take, whoever they are for.
//  9. clock: Clock.looking.
//  10. The lock of the log's handler, which may be taken under any of them.
//
// A method whose name ends in Locked says which lock it requires.
package shard
