package durable

import (
	"os"
	"strconv"
)

// descriptorPath returns a path that leads to an open directory wherever it is, or
// "" if there is none.
func descriptorPath(dir *os.File) string {
	path := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd()))
	if here, err := os.Stat(path); err == nil {
		if info, err := dir.Stat(); err == nil && os.SameFile(here, info) {
			return path
		}
	}
	return "" // /proc is not mounted
}
