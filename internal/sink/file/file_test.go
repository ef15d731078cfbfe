package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodauth/nod/internal/sink/file"
)

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	s := file.New(path)
	send := func(lines ...string) {
		t.Helper()
		var all [][]byte
		for _, l := range lines {
			all = append(all, []byte(l))
		}
		if err := s.Send(t.Context(), nil, all); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(name, want string) {
		t.Helper()
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	send("1", "2")
	send("3")
	holds(path, "1\n2\n3\n")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// Somebody moves it away.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	send("4")
	holds(path+".1", "1\n2\n3\n")
	holds(path, "4\n")

	// A line was cut.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("4\nhal"), 0o600); err != nil {
		t.Fatal(err)
	}
	send("5")
	holds(path, "4\nhal\n5\n")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := file.New(filepath.Join(t.TempDir(), "none", "x")).Send(t.Context(), nil, nil); err == nil {
		t.Error("a directory that is not there")
	}
}
