// Package machine reads what Linux says of processes and of the machine: processor time, memory,
// and what else is going on.
package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of processor time in /proc, the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// stat is what is needed of /proc/PID/stat.
type stat struct {
	parent   int
	own      time.Duration // user and system
	children time.Duration // of children that ended
}

func read(pid int) (stat, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name before may hold anything
	f := strings.Fields(rest)
	if len(f) < 15 {
		return stat{}, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	n := func(i int) time.Duration {
		v, _ := strconv.ParseInt(f[i], 10, 64) // the kernel writes numbers here
		return time.Duration(v)
	}
	return stat{int(n(1)), (n(11) + n(12)) * tick, (n(13) + n(14)) * tick}, nil
}

// Parent is the process that started pid.
func Parent(pid int) (int, error) {
	s, err := read(pid)
	return s.parent, err
}

// CPU is the processor time that a process has used so far, user and system.
func CPU(pid int) (time.Duration, error) {
	s, err := read(pid)
	return s.own, err
}

// TreeCPU is the processor time of a process and of all its children, those that ended too.
func TreeCPU(pid int) (time.Duration, error) {
	top, err := read(pid)
	if err != nil {
		return 0, err
	}
	sum := top.own + top.children
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range all {
		child, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		s, err := read(child)
		if err != nil || s.parent != pid {
			continue // it has ended since, and is in its parent's sum next time
		}
		sum += s.own
	}
	return sum, nil
}

// Self is the processor time that this process has used so far.
func Self() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // Linux has no reason to refuse
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Busy is the time that all processors together have not been idle so far, what the host took of
// them included.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	f := strings.Fields(line)
	if len(f) < 9 {
		return 0, fmt.Errorf("/proc/stat: %q", line)
	}
	var sum int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} { // all but idle and iowait, guests are in user
		v, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return time.Duration(sum) * tick, nil
}

// RSS is the resident memory of a process in bytes.
func RSS(pid int) (int64, error) {
	return kilobytes(filepath.Join("/proc", strconv.Itoa(pid), "status"), "VmRSS:")
}

// Slab is the memory that the kernel has for its own small objects, sockets among them, in bytes.
func Slab() (int64, error) { return kilobytes("/proc/meminfo", "Slab:") }

func kilobytes(file, name string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("%s: no %s", file, name)
}

// Files is how many files this process and the children it starts may have open. It raises its own
// limit to what it is allowed.
func Files() (uint64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	l.Cur = l.Max
	return l.Cur, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}

// Ports are the first and the last port that connections are made from.
func Ports() (first, last int, err error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(string(text), &first, &last); err != nil {
		return 0, 0, fmt.Errorf("ip_local_port_range: %w", err)
	}
	return first, last, nil
}

// Free is how many bytes the file system of a directory has left.
func Free(dir string) (int64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("file system of %s: %w", dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil //nolint:gosec // no disk is that large
}

// ErrMemoryDisk says that files would not be on a disk.
var ErrMemoryDisk = errors.New("on a file system in memory, where a sync costs nothing")

// Disk says on which file system a directory is, by a number that is equal for equal ones, or
// ErrMemoryDisk.
func Disk(dir string) (uint64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("file system of %s: %w", dir, err)
	}
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	if fs.Type == tmpfs || fs.Type == ramfs {
		return 0, fmt.Errorf("%s is %w", dir, ErrMemoryDisk)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return 0, err
	}
	return st.Dev, nil
}
