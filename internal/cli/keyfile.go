package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/nodauth/nod/client"
)

// newKeyFile makes a file that only this user reads, before there is a key to be lost, and gives
// what writes the key into it. Without a path the key is passed on, to be shown.
func newKeyFile(path string) (func(client.Secret, error) (client.Secret, error), error) {
	if path == "" {
		return func(key client.Secret, err error) (client.Secret, error) { return key, err }, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already; keys are written to new files only", path)
	}
	if err != nil {
		return nil, fmt.Errorf("make the key file: %w", err)
	}
	return func(key client.Secret, err error) (client.Secret, error) {
		if err != nil {
			return "", errors.Join(err, f.Close(), os.Remove(path))
		}
		_, err = fmt.Fprintln(f, string(key))
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			// Better seen than lost.
			return key, fmt.Errorf("write the key file: %w", err)
		}
		return "", nil
	}, nil
}
