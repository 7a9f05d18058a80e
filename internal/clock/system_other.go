//go:build !linux

package clock

import "time"

func slept() time.Duration { return 0 }

func boot() Boot { return Boot{} }
