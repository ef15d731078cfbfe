package disk_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"github.com/nodauth/nod/internal/disk"
)

func TestSpace(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, tc := range []struct {
		free, total uint64
		short, low  bool
	}{
		{500_000 * mib, 1_000_000 * mib, false, false},
		{1024 * mib, 1_000_000 * mib, false, false},
		{1023 * mib, 1_000_000 * mib, false, true},
		{64 * mib, 1_000_000 * mib, false, true},
		{63 * mib, 1_000_000 * mib, true, true},
		{0, 1_000_000 * mib, true, true},
		{10 * mib, 100 * mib, false, false},
		{9 * mib, 100 * mib, false, true},
		{4 * mib, 100 * mib, true, true},
	} {
		s := disk.Space{Free: tc.free, Total: tc.total}
		if s.Short() != tc.short || s.Low() != tc.low {
			t.Errorf("%+v: short %v, low %v", s, s.Short(), s.Low())
		}
	}
}

func TestOfThisDisk(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux is asked")
	}
	s, err := disk.SpaceOf(t.TempDir())
	if err != nil || s.Total == 0 || s.Free > s.Total {
		t.Errorf("got %+v, %v", s, err)
	}
	if name, err := disk.Network(t.TempDir()); err != nil {
		t.Errorf("got %q, %v", name, err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	if _, err := disk.SpaceOf(gone); err == nil {
		t.Error("what is not there has space")
	}
	if _, err := disk.Network(gone); err == nil {
		t.Error("what is not there has a kind")
	}
}
