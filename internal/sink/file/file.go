// Package file keeps events as lines of JSON in a file.
package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nodauth/nod/internal/store"
)

// Sink appends to a file, which somebody else may move away at any time: the next events go to a new
// one of the same name. Make it with New.
type Sink struct {
	path string
	file *os.File
}

// New makes a Sink. The file is made, readable by its owner alone, when there is something to write;
// its directory has to be there.
func New(path string) *Sink { return &Sink{path: path} }

// Send writes the lines and syncs them.
func (s *Sink) Send(_ context.Context, _ []store.Event, lines [][]byte) error {
	if err := s.open(); err != nil {
		return err
	}
	var b bytes.Buffer
	for _, l := range lines {
		b.Write(l)
		b.WriteByte('\n')
	}
	_, err := s.file.Write(b.Bytes())
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write events to %s: %w", s.path, err), s.Close())
	}
	return nil
}

// open opens the file, and opens it anew if it was moved or removed. A line that was cut, by a full
// disk or the end of the process, is ended, so that the one after it can be read.
func (s *Sink) open() error {
	if s.file != nil {
		here, err := s.file.Stat()
		there, gone := os.Stat(s.path)
		if err == nil && gone == nil && os.SameFile(here, there) {
			return nil
		}
		_ = s.file.Close() // what was written is synced
		s.file = nil
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open file for events: %w", err)
	}
	if err := endLine(f); err != nil {
		return errors.Join(fmt.Errorf("look at file for events: %w", err), f.Close())
	}
	s.file = f
	return nil
}

func endLine(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, info.Size()-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = f.Write([]byte{'\n'})
	}
	return err
}

// Close closes the file.
func (s *Sink) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}
