package archtest

import (
	"io/fs"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const goMod = `module example.org/m

go 1.26.0

require example.org/single v1.0.0

require (
	example.org/direct v1.2.3
	example.org/distant v0.1.0 // indirect
)
`

// sound is a tree without a breach.
var sound = map[string]string{
	"go.mod":                              goMod,
	"client/client.go":                    `package client; import "net/http"; var _ http.Client`,
	"protocol/protocol.go":                `package protocol; import _ "embed"; import "github.com/go-jose/go-jose/v4"`,
	"authenticator/auth.go":               `package authenticator; import "example.org/m/protocol"; import "net/http"; var _ = http.DefaultClient`,
	"cmd/nod/main.go":                     `package main; import "example.org/m/internal/cli"`,
	"examples/web/main.go":                `package main; import ("example.org/m/client"; "net/http"; "os"); var _ = os.Getenv; var _ http.Server`,
	"internal/mfa/mfa.go":                 `package mfa; import "time"`,
	"internal/store/store.go":             `package store; import "example.org/m/internal/mfa"`,
	"internal/store/store_test.go":        `package store_test; import ("example.org/m/internal/store/sqlstore"; "example.org/m/internal/pgtest"; "os"); var _ = os.Getenv`,
	"internal/store/storetest/suite.go":   `package storetest; import ("example.org/m/internal/store"; "example.org/m/internal/pgtest")`,
	"internal/store/sqlstore/sqlstore.go": `package sqlstore; import ("database/sql"; "example.org/m/internal/store"; _ "modernc.org/sqlite")`,
	"internal/bus/bus.go":                 `package bus`,
	"internal/bus/local/local.go":         `package local; import "example.org/m/internal/bus"`,
	"internal/bus/pgnotify/pgnotify.go":   `package pgnotify; import ("example.org/m/internal/bus"; "github.com/jackc/pgx/v5")`,
	"internal/pgtest/pgtest.go":           `package pgtest; import ("github.com/jackc/pgx/v5"; "os"); var _ = os.Getenv("X")`,
	"internal/user/user.go":               `package user; import "example.org/m/internal/store"; func New() { type t struct{ Getenv int }; var os t; _ = os.Getenv }`,
	"internal/factor/factor.go":           `package factor; import "example.org/m/internal/factor/totp"`,
	"internal/factor/totp/totp.go":        `package totp; import "example.org/m/internal/mfa"`,
	"internal/authn/authn.go":             `package authn; import "example.org/m/internal/user"`,
	"internal/account/account.go":         `package account; import "example.org/m/internal/user"`,
	"internal/front/httpkit/httpkit.go":   `package httpkit; import "net/http"; var _ http.Handler`,
	"internal/front/rest/rest.go":         `package rest; import ("example.org/m/internal/authn"; "example.org/m/internal/front/httpkit"; "net/http"); var _ http.ServeMux`,
	"internal/front/device/device.go":     `package device`,
	"internal/server/server.go":           `package server; import ("example.org/m/internal/store/sqlstore"; "example.org/m/internal/front/rest"; "os"); var _ = os.Getenv`,
	"internal/cli/cli.go":                 `package cli; import ("example.org/m/internal/server"; "example.org/m/internal/cli/demo"; "flag")`,
	"internal/cli/demo/demo.go":           `package demo; import ("example.org/m/internal/server"; "example.org/m/client")`,
	"test/story_test.go":                  `package test; import "example.org/m/internal/store"`,
	"internal/user/testdata/bad.go":       `package bad; import "example.org/m/internal/cli"`,
	"tools/go.mod":                        `module example.org/m/tools`,
	"tools/tools.go":                      `package tools; import "example.org/m/internal/cli"`,
	".cache/x.go":                         `package x`,
}

func TestSoundTree(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string(nil), check(t, tree(nil))); diff != "" {
		t.Error(diff)
	}
}

// TestPlantedBreach plants one breach of each rule into the sound tree.
func TestPlantedBreach(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file, src string
		want            string // after "FILE:1: "
	}{
		{
			name: "lower floor imports higher", file: "internal/user/bad.go",
			src:  `package user; import "example.org/m/internal/authn"`,
			want: "imports example.org/m/internal/authn: it is on floor 3, above floor 2",
		},
		{
			name: "peer", file: "internal/user/bad.go",
			src:  `package user; import "example.org/m/internal/factor"`,
			want: "imports example.org/m/internal/factor: a peer, both are on floor 2",
		},
		{
			name: "pipelines are peers", file: "internal/account/bad.go",
			src:  `package account; import "example.org/m/internal/authn"`,
			want: "imports example.org/m/internal/authn: a peer, both are on floor 3",
		},
		{
			name: "part of another", file: "internal/authn/bad.go",
			src:  `package authn; import "example.org/m/internal/factor/totp"`,
			want: "imports example.org/m/internal/factor/totp: it is a part of internal/factor, which alone imports it",
		},
		{
			name: "adapter named outside server", file: "internal/cli/bad.go",
			src:  `package cli; import "example.org/m/internal/bus/local"`,
			want: "imports example.org/m/internal/bus/local: only internal/server imports it",
		},
		{
			name: "adapter named by its contract", file: "internal/store/bad.go",
			src:  `package store; import "example.org/m/internal/store/sqlstore"`,
			want: "imports example.org/m/internal/store/sqlstore: only internal/server imports it",
		},
		{
			name: "adapter uses another contract", file: "internal/store/sqlstore/bad.go",
			src: `package sqlstore; import "example.org/m/internal/bus"`,
			want: "imports example.org/m/internal/bus: of this module internal/store/sqlstore imports internal/store, " +
				"internal/mfa, internal/wire/..., internal/secret, internal/disk, internal/checkup, internal/lifecycle, protocol",
		},
		{
			name: "support of tests in the product", file: "internal/user/bad.go",
			src:  `package user; import "example.org/m/internal/store/storetest"`,
			want: "imports example.org/m/internal/store/storetest: it serves tests only",
		},
		{
			name: "mfa and a module", file: "internal/mfa/bad.go",
			src:  `package mfa; import "example.org/direct"`,
			want: "imports example.org/direct: internal/mfa uses nothing from outside",
		},
		{
			name: "mfa and the system", file: "internal/mfa/bad.go",
			src:  `package mfa; import "os/exec"`,
			want: "imports os/exec: internal/mfa never does",
		},
		{
			name: "mfa and logging", file: "internal/mfa/bad.go",
			src:  `package mfa; import "log/slog"`,
			want: "imports log/slog: internal/mfa never does",
		},
		{
			name: "protocol and a module", file: "protocol/bad.go",
			src: `package protocol; import "example.org/direct"`,
			want: "imports example.org/direct: protocol uses github.com/go-jose/go-jose/v4/..., " +
				"github.com/go-json-experiment/json/... from outside",
		},
		{
			name: "front and store", file: "internal/front/rest/bad.go",
			src:  `package rest; import "example.org/m/internal/store"`,
			want: "imports example.org/m/internal/store: internal/front/rest never does",
		},
		{
			name: "front and bus", file: "internal/front/login/bad.go",
			src:  `package login; import "example.org/m/internal/bus"`,
			want: "imports example.org/m/internal/bus: internal/front/login never does",
		},
		{
			name: "front and adapter", file: "internal/front/device/bad.go",
			src:  `package device; import "example.org/m/internal/bus/local"`,
			want: "imports example.org/m/internal/bus/local: internal/front/device never does",
		},
		{
			name: "front and front", file: "internal/front/rest/bad.go",
			src:  `package rest; import "example.org/m/internal/front/device"`,
			want: "imports example.org/m/internal/front/device: a peer, both are on floor 4",
		},
		{
			name: "service and what fronts share", file: "internal/user/bad.go",
			src:  `package user; import "example.org/m/internal/front/httpkit"`,
			want: "imports example.org/m/internal/front/httpkit: only internal/front/..., internal/server, internal/telemetry imports it",
		},
		{
			name: "client imports ours", file: "client/bad.go",
			src:  `package client; import "example.org/m/protocol"`,
			want: "imports example.org/m/protocol: of this module client imports nothing",
		},
		{
			name: "authenticator imports ours", file: "authenticator/bad.go",
			src:  `package authenticator; import "example.org/m/internal/mfa"`,
			want: "imports example.org/m/internal/mfa: of this module authenticator imports protocol",
		},
		{
			name: "server uses the client", file: "internal/server/bad.go",
			src:  `package server; import "example.org/m/client"`,
			want: "imports example.org/m/client: only internal/cli/..., examples/... imports it",
		},
		{
			name: "server uses the authenticator", file: "internal/server/bad.go",
			src:  `package server; import "example.org/m/authenticator"`,
			want: "imports example.org/m/authenticator: only internal/cli/..., examples/... imports it",
		},
		{
			name: "demo and services", file: "internal/cli/demo/bad.go",
			src: `package demo; import "example.org/m/internal/user"`,
			want: "imports example.org/m/internal/user: of this module internal/cli/demo imports " +
				"internal/server, client, authenticator, protocol",
		},
		{
			name: "demo and store", file: "internal/cli/demo/bad.go",
			src: `package demo; import "example.org/m/internal/store"`,
			want: "imports example.org/m/internal/store: of this module internal/cli/demo imports " +
				"internal/server, client, authenticator, protocol",
		},
		{
			name: "example and internals", file: "examples/web/bad.go",
			src: `package main; import "example.org/m/internal/mfa"`,
			want: "imports example.org/m/internal/mfa: of this module examples/... imports " +
				"client, authenticator, protocol",
		},
		{
			name: "program and server", file: "cmd/nod/bad.go",
			src:  `package main; import "example.org/m/internal/server"`,
			want: "imports example.org/m/internal/server: of this module cmd/nod imports internal/cli",
		},
		{
			name: "init", file: "internal/user/bad.go",
			src:  `package user; func init() {}`,
			want: "has an init function: build it in New and start it in internal/server",
		},
		{
			name: "init of a test", file: "internal/user/bad_test.go",
			src:  `package user; func init() {}`,
			want: "has an init function: build it in New and start it in internal/server",
		},
		{
			name: "blank import", file: "internal/user/bad.go",
			src:  `package user; import _ "time/tzdata"`,
			want: "blank import of time/tzdata: only embed, and drivers in internal/store/sqlstore",
		},
		{
			name: "import without a name", file: "internal/user/bad.go",
			src:  `package user; import . "os"`,
			want: "imports os into its own scope: name what is used",
		},
		{
			name: "name of its own", file: "internal/user/bad.go",
			src:  `package user; import system "os"; var _ = system.Getenv`,
			want: "uses os.Getenv: " + onlyProcess,
		},
		{
			name: "front calls out", file: "internal/front/rest/bad.go",
			src:  `package rest; import "net/http"; var _ = http.Get`,
			want: "uses net/http.Get: " + onlyCallers,
		},
		{
			name: "client takes requests", file: "client/bad.go",
			src:  `package client; import "net/http"; var _ = http.ListenAndServe`,
			want: "uses net/http.ListenAndServe: " + onlyFronts,
		},
		{
			name: "hidden by a build constraint", file: "internal/user/bad_plan9.go",
			src:  `package user; import "flag"`,
			want: "imports flag: " + onlyProcess,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := check(t, tree(map[string]string{tt.file: tt.src}))
			if diff := cmp.Diff([]string{tt.file + ":1: " + tt.want}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPackageWithoutRule(t *testing.T) {
	t.Parallel()
	got := check(t, tree(map[string]string{
		"internal/new/new.go": "package new",
		"root.go":             "package m",
	}))
	want := []string{
		".: no rule: give it a line in internal/archtest/table.go",
		"internal/new: no rule: give it a line in internal/archtest/table.go",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRestricted plants a use of each restricted name where nobody has the right to it.
func TestRestricted(t *testing.T) {
	t.Parallel()
	for _, r := range restricted {
		t.Run(r.pattern, func(t *testing.T) {
			t.Parallel()
			path, name := strings.TrimSuffix(r.pattern, "/..."), ""
			if dot := strings.LastIndexByte(path, '.'); dot > strings.LastIndexByte(path, '/') {
				path, name = path[:dot], path[dot+1:]
			}
			src, want := `package user; import p "`+path+`"`, "imports "+path+": "+r.why
			if name != "" {
				src, want = src+"; var _ = p."+name, "uses "+r.pattern+": "+r.why
			}
			got := strings.Join(check(t, tree(map[string]string{"internal/user/bad.go": src})), "\n")
			if !strings.Contains(got, want) {
				t.Errorf("got %q, want %q in it", got, want)
			}
		})
	}
}

// TestNobodyImportsUpwards plants into the packages of every rule an import of what is above
// all but programs.
func TestNobodyImportsUpwards(t *testing.T) {
	t.Parallel()
	for _, r := range table {
		if r.Test || r.Package == "cmd/nod" {
			continue
		}
		t.Run(r.Package, func(t *testing.T) {
			t.Parallel()
			file := strings.TrimSuffix(r.Package, "/...") + "/planted/bad.go"
			if !strings.HasSuffix(r.Package, "/...") {
				file = r.Package + "/bad.go"
			}
			got := check(t, tree(map[string]string{file: `package bad; import "example.org/m/cmd/nod"`}))
			if len(got) != 1 || !strings.HasPrefix(got[0], file+":1: imports example.org/m/cmd/nod: ") {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestDependencyPage(t *testing.T) {
	t.Parallel()
	const head = "# Dependencies\n\n| module | why |\n|---|---|\n"
	for _, tt := range []struct {
		name, page string
		want       []string
	}{
		{
			name: "exact",
			page: "| `example.org/direct` | it |\n| `example.org/single` | it |\n",
		},
		{
			name: "not explained",
			page: "| `example.org/direct` | beside `example.org/single` |\n",
			want: []string{"go.mod: example.org/single has no line in docs/dependencies.md"},
		},
		{
			name: "not required",
			page: "| `example.org/direct` | it |\n| `example.org/single` | it |\n| `example.org/distant` | it |\n",
			want: []string{"docs/dependencies.md: example.org/distant is not a direct dependency"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := CheckDependencies(tree(map[string]string{dependencyPage: head + tt.page}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	for name, fsys := range map[string]fs.FS{
		"no go.mod":   fstest.MapFS{},
		"no module":   fstest.MapFS{"go.mod": {Data: []byte("go 1.26\n")}},
		"not Go":      tree(map[string]string{"internal/user/bad.go": "not Go"}),
		"half a test": tree(map[string]string{"internal/user/bad_test.go": "package user; func"}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := Check(fsys, table); err == nil {
				t.Errorf("no error, and breaches %q", got)
			}
		})
	}
}

func check(t *testing.T, fsys fs.FS) []string {
	t.Helper()
	breaches, err := Check(fsys, table)
	if err != nil {
		t.Fatal(err)
	}
	return breaches
}

// tree is the sound tree with the planted files.
func tree(planted map[string]string) fs.FS {
	all := maps.Clone(sound)
	maps.Copy(all, planted)
	fsys := fstest.MapFS{}
	for name, src := range all {
		fsys[name] = &fstest.MapFile{Data: []byte(src)}
	}
	return fsys
}
