// Package stack makes stack traces that may be logged: without the arguments of
// functions, among which are ids and parts of nonces.
package stack

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Current returns the stack of the calling goroutine.
func Current() []byte { return Strip(debug.Stack()) }

// PanicError returns the error that stands for a recovered panic, with the stack of
// the calling goroutine.
func PanicError(p any) error { return fmt.Errorf("panic: %v\n%s", p, Current()) }

// maxSize bounds All in bytes. A goroutine takes some hundred.
const maxSize = 64 << 20

// All returns the stacks of all goroutines, the calling one first, cut off after
// 64 MiB. It stops the process while it works.
func All() []byte {
	for size := 1 << 20; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size || size >= maxSize {
			return Strip(buf[:n])
		}
	}
}

// Strip takes the arguments out of a trace as the runtime prints it. A line that
// names a function begins at the margin and ends in its arguments; the file and
// line below it is indented. A last line that is cut off loses them too.
func Strip(trace []byte) []byte {
	out := make([]byte, 0, len(trace))
	for line := range bytes.Lines(trace) {
		text, whole := bytes.CutSuffix(line, []byte("\n"))
		open := bytes.LastIndexByte(text, '(')
		switch {
		case open < 0 || text[0] == '\t' || bytes.HasPrefix(text, []byte("created by ")):
			out = append(out, line...)
		case whole:
			out = append(append(out, text[:open]...), "(…)\n"...)
		default:
			out = append(out, text[:open+1]...)
		}
	}
	return out
}
