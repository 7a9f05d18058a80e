package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

const (
	barWidth      = 30
	progressPause = 200 * time.Millisecond
	clearLine     = "\r\x1b[K"
)

// showProgress draws a progress bar on the standard error until the function that it returns is
// called. It draws none unless both outputs are terminals.
func (m *Main) showProgress(l *load) (hide func()) {
	if !isTerminal(m.Stdout) || !isTerminal(m.Stderr) {
		return func() {}
	}
	done, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		drawProgress(m.Stderr, l, done)
	}()
	return func() {
		close(done)
		<-gone
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func drawProgress(w io.Writer, l *load, done <-chan struct{}) {
	ticker := time.NewTicker(progressPause)
	defer ticker.Stop()
	var before int64
	for {
		select {
		case <-done:
			fmt.Fprint(w, clearLine)
			return
		case <-ticker.C:
		}
		count := l.recorder.answered.Load()
		rate := float64(count-before) / progressPause.Seconds()
		before = count
		fmt.Fprint(w, clearLine, l.progressLine(l.now(), rate))
	}
}

// progressLine says where the load is at the time now.
func (l *load) progressLine(now int64, rate float64) string {
	name, part := "sessions", 1.0
	switch {
	case !l.loading.Load():
		if l.config.Sessions > 0 {
			part = float64(l.recorder.created.Load()) / float64(l.config.Sessions)
		}
	case now < l.measureFrom:
		name, part = "warm-up", float64(now-l.begin)/float64(l.measureFrom-l.begin)
	default:
		name, part = "measuring", float64(now-l.measureFrom)/float64(l.end-l.measureFrom)
	}
	part = min(part, 1)
	filled := int(part * barWidth)
	return fmt.Sprintf("%-9s [%s%s] %3.0f %%  %.0f/s  %d errors", name,
		strings.Repeat("=", filled), strings.Repeat(" ", barWidth-filled), 100*part, rate, l.recorder.faulty.Load())
}
