package cli

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// build is what the program knows of its own making.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func buildVersion() build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = cmp.Or(info.Main.Version, b.Version)
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

type versionCmd struct{}

// Help gives examples.
func (versionCmd) Help() string { return "Examples:\n\n    nod version\n    nod version --json\n" }

// Run says the version.
func (versionCmd) Run(a *app) error {
	b := buildVersion()
	return a.show(b, func(w io.Writer) {
		fmt.Fprintf(w, "nod %s (%s, %s)\n", b.Version, b.Go, b.Platform)
		fields(w, "commit", b.Commit, "made", b.Time)
	})
}
