package main

import (
	"cmp"
	"errors"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
)

// readProc reads what the kernel tells of the machine.
func (m *machine) readProc() error {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return err
	}
	cpus, err := fs.CPUInfo()
	if err != nil {
		return err
	}
	memory, err := fs.Meminfo()
	if err != nil {
		return err
	}
	load, err := fs.LoadAvg()
	if err != nil {
		return err
	}
	release, err := fs.SysctlStrings("kernel.osrelease")
	if err != nil {
		return err
	}
	if len(cpus) == 0 || memory.MemTotalBytes == nil || len(release) == 0 {
		return errors.New("/proc has no processor, memory or kernel")
	}
	m.cpu = cmp.Or(cpus[0].ModelName, runtime.GOARCH) // not every architecture has a name there
	m.virtual = slices.Contains(cpus[0].Flags, "hypervisor")
	m.memory, m.load = int64(*memory.MemTotalBytes), load.Load1
	m.kernel = "Linux " + kernelVersion(release[0])
	return nil
}

// kernelVersion leaves out what whoever has built the kernel has added.
func kernelVersion(release string) string {
	version, _, _ := strings.Cut(release, "-")
	return version
}
