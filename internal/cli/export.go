package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nodauth/nod/client"
)

type eventExport struct {
	Since      string `placeholder:"WHEN" help:"Only those not older: a time as 2026-11-22T10:00:00Z, or how long ago, as 24h."`
	Until      string `placeholder:"WHEN" help:"Only those before: likewise."`
	Kind       string `placeholder:"KIND" help:"Only of this kind, as challenge.denied, or of all that begin so, as challenge. with the dot."`
	Follow     bool   `short:"f" help:"Go on with those to come."`
	CursorFile string `placeholder:"FILE" type:"path" help:"Go on where the last run with this file and the same --kind ended, whatever --since says, and note there how far this one came."`
}

// Help gives examples.
func (eventExport) Help() string {
	return "Oldest first, one JSON object on a line. An event comes a moment after it was written, when none can come before it\n" +
		"any more, so that nothing is missed. The cursor file is written after the lines: a run that is interrupted repeats\n" +
		"some of them, and leaves none out.\n\nExamples:\n\n" +
		"    nod event export --since 24h\n    nod event export --follow --cursor-file nod.cursor\n" +
		"    nod event export --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --kind challenge.\n"
}

// Run writes events.
func (v *eventExport) Run(a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	q := client.EventQuery{Settled: true, Kind: v.Kind, Paging: client.Paging{Limit: mostPerPage}}
	if q.Since, err = a.moment("--since", v.Since); err != nil {
		return err
	}
	if q.Until, err = a.moment("--until", v.Until); err != nil {
		return err
	}
	if q.Cursor, err = readCursor(v.CursorFile); err != nil {
		return err
	}
	if q.Cursor != "" {
		q.Since = time.Time{} // what came between that and the cursor would be left out
	}
	out := bufio.NewWriter(a.stdout)
	for {
		p, err := c.Events.List(a.ctx, q)
		if err != nil {
			if v.Follow && a.ctx.Err() != nil {
				return nil // stopped by the person
			}
			return err
		}
		if err := writeLines(out, p.Items); err != nil {
			return err
		}
		if p.Next != q.Cursor {
			if err := writeCursor(v.CursorFile, p.Next); err != nil {
				return err
			}
			q.Cursor = p.Next
		}
		if len(p.Items) == mostPerPage {
			continue
		}
		if !v.Follow || (!q.Until.IsZero() && !q.Until.After(a.now())) {
			return nil
		}
		if err := pause(a.ctx, followPace); err != nil {
			return nil // stopped by the person
		}
	}
}

func writeLines(out *bufio.Writer, events []client.Event) error {
	for _, e := range events {
		text, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write event: %w", err)
		}
		_, _ = out.Write(append(text, '\n')) // Flush says what went wrong
	}
	return out.Flush()
}

// moment reads a time, or how long ago it is.
func (a *app) moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := parseSpan(text); err == nil && d >= 0 {
		return a.now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usagef("%s: %q is neither a time such as 2026-11-22T10:00:00Z nor how long ago it is, such as 24h or 7d", flag, text)
	}
	return t, nil
}

func readCursor(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read cursor: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// writeCursor replaces the file, so that it is never half of one.
func writeCursor(file, cursor string) error {
	if file == "" {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".cursor-*")
	if err == nil {
		_, err = f.WriteString(cursor + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), file)
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}
	if err != nil {
		return fmt.Errorf("write cursor: %w", err)
	}
	return nil
}
