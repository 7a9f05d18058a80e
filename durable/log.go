package durable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/wal"
)

// Pebble takes the first record of its last log that it can't read for the torn
// end of the log, unless it finds evidence that the end was synced. It finds
// little, since it counts only some of what it syncs: damage in the middle would
// pass for a crash, and all that was written behind it would be lost, or undone.
// So each tick leaves a mark, which says up to where the log is known to be on disk.

// markMagic is what a mark begins with. JSON has no such bytes, so none of it
// passes for a mark.
const markMagic = "\x00\xff\x01tsmk\xfe"

const markLen = len(markMagic) + 8

// appendMark appends a mark, which says that all writes whose sequence number is
// less than synced are on disk.
func appendMark(dst []byte, synced uint64) []byte {
	dst = append(dst, markMagic...)
	return binary.LittleEndian.AppendUint64(dst, synced)
}

// Pebble's format of a log: each record is one chunk, or several where it does
// not fit into a block, and is a batch. A mark is a batch of one entry.
const (
	chunkHeaderLen = 19 // checksum 4, length 2, type 1, log number 4, synced offset 8
	chunkFull      = 9  // type of a chunk that is a whole record
	batchHeaderLen = 12 // sequence number 8, count 4
	entryHeaderLen = 2  // kind, length
)

// checkLog refuses a folder whose last log breaks off before a point that was
// on disk once.
func (f *folder) checkLog() error {
	logs, err := wal.Scan(wal.Dir{FS: f.fs, Dirname: f.dir})
	if err != nil {
		return err
	}
	if len(logs) == 0 {
		return f.checkNoLog()
	}
	last := logs[len(logs)-1]
	_, path := last.SegmentLocation(0)
	good, err := readLog(last)
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrCorrupt, path, err)
	}
	// The end that was found is looked at even if it looks like one: Pebble takes a
	// chunk with the next log's number for it, whatever else the chunk has.
	data, err := f.read(f.fs.PathBase(path))
	if err != nil {
		return err
	}
	if good.breaks(marks(data, uint32(last.Num))) {
		return fmt.Errorf("%w %s: it breaks off at byte %d", ErrCorrupt, path, good.size)
	}
	return nil
}

// checkNoLog refuses a folder whose log somebody has deleted, or left out of a
// backup: Pebble would go on without it.
func (f *folder) checkNoLog() error {
	names, err := f.fs.List(f.dir)
	if err == nil && slices.Contains(names, openedFile) {
		return fmt.Errorf("%w %s: its log is gone (files *.log)", ErrCorrupt, f.dir)
	}
	return err
}

// opening says that there may be no log for a while: Pebble deletes the old ones,
// once it has replayed them, before it makes a new one.
func (f *folder) opening() error {
	err := f.fs.Remove(f.path(openedFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // but perhaps it is gone in memory only
	}
	return errors.Join(err, syncDir(f.fs, f.dir))
}

// notOpened says that the logs are as they were, if they are.
func (f *folder) notOpened() {
	logs, err := wal.Scan(wal.Dir{FS: f.fs, Dirname: f.dir})
	if err == nil && len(logs) > 0 {
		_ = f.opened() // there is an error already, and this one only guards against another
	}
}

// opened says that there is a log from now on.
func (f *folder) opened() error { return f.write(openedFile, nil) }

// readable is the part of a log that can be read.
type readable struct {
	size int64  // bytes
	end  uint64 // sequence number behind its last write, 0 if there is none
}

// mark is a mark in a log.
type mark struct {
	at     int64  // where it is
	seq    uint64 // all writes before it have lesser sequence numbers
	synced uint64 // all writes with lesser sequence numbers are on disk
}

// breaks says whether a write that was on disk is missing.
func (r *readable) breaks(marks []mark) bool {
	synced := uint64(0)
	for _, m := range marks {
		synced = max(synced, m.synced)
	}
	for _, m := range marks {
		// A write behind the mark is on disk, so the mark was, and what is before it.
		if m.at >= r.size && m.seq < synced {
			return true
		}
	}
	return r.end > 0 && r.end < synced
}

// readLog reads a log as far as it can be read.
func readLog(log wal.LogicalLog) (good readable, err error) {
	r := log.OpenForRead()
	defer r.Close()
	for {
		rec, offset, err := r.NextRecord()
		good.size = offset.Physical
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, record.ErrUnexpectedEOF):
			return good, nil
		case err != nil:
			return good, err
		}
		var header [batchHeaderLen]byte
		if _, err := io.ReadFull(rec, header[:]); err != nil {
			return good, err
		}
		good.end = binary.LittleEndian.Uint64(header[:]) + uint64(binary.LittleEndian.Uint32(header[8:]))
	}
}

// marks returns the marks in a log, also those behind what can't be read.
func marks(data []byte, number uint32) (all []mark) {
	const before = chunkHeaderLen + batchHeaderLen + entryHeaderLen
	for i := 0; ; i++ {
		next := bytes.Index(data[i:], []byte(markMagic))
		if next < 0 {
			return all
		}
		i += next
		start, end := i-before, i+markLen
		if start >= 0 && end <= len(data) && isMark(data[start:end], number) {
			all = append(all, mark{
				at:     int64(start),
				seq:    binary.LittleEndian.Uint64(data[start+chunkHeaderLen:]),
				synced: binary.LittleEndian.Uint64(data[i+len(markMagic):]),
			})
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// isMark says whether a chunk, which has the length of a mark's, is undamaged
// and of this log: a log's file may have been another's before.
func isMark(chunk []byte, number uint32) bool {
	crc := crc32.Checksum(chunk[6:], castagnoli)
	masked := crc>>15 | crc<<17
	return binary.LittleEndian.Uint32(chunk) == masked+0xa282ead8 &&
		int(binary.LittleEndian.Uint16(chunk[4:])) == len(chunk)-chunkHeaderLen &&
		chunk[6] == chunkFull &&
		binary.LittleEndian.Uint32(chunk[7:]) == number
}
