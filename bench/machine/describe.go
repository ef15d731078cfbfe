package machine

import (
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// Description is what a result has to be read beside.
type Description struct {
	Class      string `json:"class"` // for the name of a file
	Processors int    `json:"processors"`
	Model      string `json:"model"`
	Memory     int64  `json:"memory_bytes"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"file_system"`
	Go         string `json:"go"`
}

// Describe says what this machine is, and on what file system dir is.
func Describe(dir string) Description {
	d := Description{
		Processors: runtime.NumCPU(), Model: model(), Go: runtime.Version(), Kernel: "unknown", FileSystem: mounted(dir),
	}
	d.Memory, _ = kilobytes("/proc/meminfo", "MemTotal:") // 0 where it is not known
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		d.Kernel = strings.TrimSpace(string(text))
	}
	words := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(d.Model), "-")
	d.Class = strings.Trim(strings.Join([]string{strconv.Itoa(d.Processors) + "x", words, runtime.GOOS}, "-"), "-")
	return d
}

func model() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// mounted is the type and the options of the file system that holds dir.
func mounted(dir string) string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "unknown"
	}
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		return "unknown"
	}
	found := "unknown"
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		var at syscall.Stat_t
		if len(f) < 4 || syscall.Stat(f[1], &at) != nil || at.Dev != st.Dev {
			continue
		}
		found = f[2] + " (" + f[3] + ")"
	}
	return found
}
