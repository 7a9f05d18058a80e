package server

import (
	"fmt"
	"log/slog"

	"tokenserver/internal/stack"
)

// recovering is deferred by whatever has to outlive a panic.
func recovering(log *slog.Logger) {
	if p := recover(); p != nil {
		logPanic(log, p)
	}
}

// logPanic logs a panic with a stack that shows no arguments: ids and nonces are
// among them.
func logPanic(log *slog.Logger, p any) {
	log.Error("recovered panic", "panic", fmt.Sprint(p), "stack", string(stack.Current()))
}
