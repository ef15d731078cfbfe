//go:build linux && amd64

// Command clockjump runs a program that sees another wall clock than the machine's.
//
//	clockjump FILE PROGRAM [ARGUMENT...]
//
// FILE holds a duration such as 24h or -1h, read anew whenever the program asks what time it is, so
// that the clock can be moved while it runs. Monotonic time stays. The program is traced with
// ptrace; the page of the kernel that tells the time without a system call is hidden from it.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	auxIgnore  = 1  // AT_IGNORE
	auxSysinfo = 33 // AT_SYSINFO_EHDR: where that page is

	clockRealtime       = 0
	clockRealtimeCoarse = 5

	noSuchCall = ^uint64(37) // -ENOSYS: what a call is said to return at its beginning

	exitKill   = 0x100000 // PTRACE_O_EXITKILL
	ofSyscalls = 0x80     // with PTRACE_O_TRACESYSGOOD
	allThreads = 0x40000000
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: clockjump FILE PROGRAM [ARGUMENT...]")
		os.Exit(2)
	}
	code, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "clockjump:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run(file string, args []string) (int, error) {
	runtime.LockOSThread()                                                 // the tracer is a thread
	cmd := exec.CommandContext(context.Background(), args[0], args[1:]...) //nolint:gosec // what it is for
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	forward(pid)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return 0, fmt.Errorf("wait for the program: %w", err)
	}
	err := syscall.PtraceSetOptions(pid, exitKill|syscall.PTRACE_O_TRACESYSGOOD|syscall.PTRACE_O_TRACECLONE|
		syscall.PTRACE_O_TRACEFORK|syscall.PTRACE_O_TRACEVFORK)
	if err != nil {
		return 0, fmt.Errorf("trace: %w", err)
	}
	if err := hidePage(pid); err != nil {
		return 0, fmt.Errorf("hide the kernel's page: %w", err)
	}
	if err := syscall.PtraceSyscall(pid, 0); err != nil {
		return 0, err
	}
	return trace(pid, file)
}

// forward passes on what asks this process to end.
func forward(pid int) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for s := range asked {
			_ = syscall.Kill(pid, s.(syscall.Signal)) // it may be gone
		}
	}()
}

// trace runs the program to its end and gives its exit code.
func trace(pid int, file string) (int, error) {
	known := map[int]bool{pid: true}
	for {
		var status syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &status, allThreads, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait: %w", err)
		}
		if status.Exited() || status.Signaled() {
			if tid != pid {
				continue
			}
			if status.Signaled() {
				return 128 + int(status.Signal()), nil
			}
			return status.ExitStatus(), nil
		}
		send := 0
		switch s := status.StopSignal(); {
		case s == syscall.SIGTRAP|ofSyscalls:
			if err := answered(tid, file); err != nil && !errors.Is(err, syscall.ESRCH) {
				return 0, err
			}
		case s == syscall.SIGTRAP, s == syscall.SIGSTOP && !known[tid]: // news of a thread, and its beginning
		default:
			send = int(s)
		}
		known[tid] = true
		if err := syscall.PtraceSyscall(tid, send); err != nil && !errors.Is(err, syscall.ESRCH) {
			return 0, err
		}
	}
}

// answered moves the time that a thread was just told.
func answered(tid int, file string) error {
	var r syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &r); err != nil {
		return err
	}
	if r.Orig_rax != syscall.SYS_CLOCK_GETTIME || r.Rax == noSuchCall || r.Rax != 0 ||
		(r.Rdi != clockRealtime && r.Rdi != clockRealtimeCoarse) {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	by, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		return nil //nolint:nilerr // it is just being written
	}
	var told [16]byte
	if _, err := syscall.PtracePeekData(tid, uintptr(r.Rsi), told[:]); err != nil {
		return err
	}
	seconds := binary.LittleEndian.Uint64(told[:8]) + uint64(by/time.Second) //nolint:gosec // modulo 2^64, as it is stored
	binary.LittleEndian.PutUint64(told[:8], seconds)
	_, err = syscall.PtracePokeData(tid, uintptr(r.Rsi), told[:])
	return err
}

// hidePage takes the page's address from what the kernel tells a new program: it stands above the
// arguments and the environment on the stack.
func hidePage(pid int) error {
	var r syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(pid, &r); err != nil {
		return err
	}
	at := uintptr(r.Rsp)
	word := func() (uint64, error) {
		var b [8]byte
		_, err := syscall.PtracePeekData(pid, at, b[:])
		at += 8
		return binary.LittleEndian.Uint64(b[:]), err
	}
	if _, err := word(); err != nil { // how many arguments
		return err
	}
	for range 2 { // the arguments, and the environment
		for {
			if w, err := word(); err != nil {
				return err
			} else if w == 0 {
				break
			}
		}
	}
	for {
		key, err := word()
		if err != nil || key == 0 {
			return err
		}
		if key == auxSysinfo {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], auxIgnore)
			_, err := syscall.PtracePokeData(pid, at-8, b[:])
			return err
		}
		at += 8
	}
}
