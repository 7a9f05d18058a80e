package main

import (
	"errors"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
)

// cpuSample is the processor time that a process had taken at a moment.
type cpuSample struct {
	at  time.Time
	cpu time.Duration
}

// sampleEvery is the time between two samples.
const sampleEvery = 20 * time.Millisecond

// watchCPU samples a process until the function that it returns is called.
func watchCPU(pid int) (stop func() ([]cpuSample, error)) {
	stopping := make(chan struct{})
	var samples []cpuSample
	var group errgroup.Group
	group.Go(func() error {
		ticker := time.NewTicker(sampleEvery)
		defer ticker.Stop()
		for {
			cpu, err := processCPU(pid)
			if err != nil {
				return err
			}
			samples = append(samples, cpuSample{time.Now(), cpu})
			select {
			case <-stopping:
				return nil
			case <-ticker.C:
			}
		}
	})
	return func() ([]cpuSample, error) {
		close(stopping)
		err := group.Wait()
		return samples, err
	}
}

// watchAll is watchCPU for several processes.
func watchAll(processes []*process) (stop func() ([][]cpuSample, error)) {
	var stops []func() ([]cpuSample, error)
	for _, p := range processes {
		stops = append(stops, watchCPU(p.cmd.Process.Pid))
	}
	return func() ([][]cpuSample, error) {
		all, errs := make([][]cpuSample, len(stops)), make([]error, len(stops))
		for i, stop := range stops {
			all[i], errs[i] = stop()
		}
		return all, errors.Join(errs...)
	}
}

// busy returns the processors that were used between two moments: 1 for one the whole time, NaN
// if there is less than two samples in between.
func busy(samples []cpuSample, from, to time.Time) float64 {
	var first, last *cpuSample
	for i := range samples {
		s := &samples[i]
		if s.at.Before(from) || s.at.After(to) {
			continue
		}
		if first == nil {
			first = s
		}
		last = s
	}
	if first == last {
		return math.NaN()
	}
	return float64(last.cpu-first.cpu) / float64(last.at.Sub(first.at))
}
