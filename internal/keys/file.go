package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxRootBytes is far above the size of a root with many rotated keys.
const maxRootBytes = 1 << 20

func readRoot(path string, create bool) ([]byte, error) {
	root, err := loadRoot(path)
	if !create || !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	fresh, err := NewRoot()
	if err != nil {
		return nil, err
	}
	if err := storeRoot(path, fresh); err != nil {
		return nil, err
	}
	// Another process may have been first; its root is the one.
	return loadRoot(path)
}

func loadRoot(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (mode %04o); set it to 0600", path, mode)
	}
	return io.ReadAll(io.LimitReader(f, maxRootBytes))
}

// storeRoot writes a root that is there wholly and durably or not at all, and never
// replaces one: sealed rows could not be opened again.
func storeRoot(path string, root []byte) error {
	return writeRoot(path, root, func(made string) error {
		if err := os.Link(made, path); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Remove(made)
	})
}

// replaceRoot puts a root in the place of the one that it was made from.
func replaceRoot(path string, root []byte) error {
	return writeRoot(path, root, func(made string) error { return os.Rename(made, path) })
}

func writeRoot(path string, root []byte, place func(made string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".seal-*") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(root)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = place(f.Name())
	}
	if err != nil {
		_ = os.Remove(f.Name()) // of no use to anybody; gone already if it was put into place
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
