package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/boombuler/barcode/qr"
	"github.com/charmbracelet/x/term"
)

// isTerminal reports whether a stream is one that a person sits at.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// talks reports whether a person can be asked.
func (a *app) talks() bool { return isTerminal(a.stdin) && isTerminal(a.stderr) }

// colors reports whether a stream may have colours (https://no-color.org).
func (a *app) colors(stream any) bool {
	return isTerminal(stream) && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb"
}

// say tells a person how it goes.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// show prints what was asked for: v as JSON if so wanted, else what human writes.
func (a *app) show(v any, human func(w io.Writer)) error {
	if a.json {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	}
	human(a.stdout)
	return nil
}

// line prints one JSON document of several.
func (a *app) line(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// fields prints names and values under each other; empty values are left out.
func fields(w io.Writer, pairs ...string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", pairs[i], pairs[i+1])
		}
	}
	_ = t.Flush() // as Fprintf
}

// table prints rows under a heading.
func table(w io.Writer, heading string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(heading, " ", "\t"))
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // as Fprintln
}

// moment is a time for people, in their own zone; nothing for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05 -0700")
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// ask asks a person at the terminal for a line.
func (a *app) ask(question string) (string, error) {
	fmt.Fprint(a.stderr, question)
	return a.readLine()
}

// readLine reads one line of standard input, and of the input no more than that.
func (a *app) readLine() (string, error) {
	const most = 4096
	var line []byte
	one := make([]byte, 1)
	for len(line) < most {
		n, err := a.stdin.Read(one)
		if n == 1 && one[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, one[:n]...)
		if errors.Is(err, io.EOF) {
			if len(line) == 0 {
				return "", errors.New("standard input ended before there was an answer")
			}
			return string(line), nil
		}
		if err != nil {
			return "", fmt.Errorf("read standard input: %w", err)
		}
	}
	return "", errors.New("the line on standard input is longer than 4 KiB")
}

// sure asks before something that cannot be taken back.
func (a *app) sure(given bool, question string) error {
	if given {
		return nil
	}
	if !a.talks() {
		return usagef("%s Nobody is at the terminal to say so: add --yes.", question)
	}
	answer, err := a.ask(question + " [y/N] ")
	if err != nil {
		return err
	}
	if !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		a.say("Nothing was done.")
		return outcome(codeError)
	}
	return nil
}

// secret reads a secret: from the file, from standard input for "-" or where nobody is at the
// terminal, and else from the person, unseen, twice if it is a new one.
func (a *app) secret(what, file string, twice bool) (string, error) {
	switch {
	case file != "" && file != "-":
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", what, err)
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	case file == "-" || !a.talks():
		text, err := bufio.NewReader(io.LimitReader(a.stdin, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read %s from standard input: %w", what, err)
		}
		if text = strings.TrimRight(text, "\r\n"); text == "" {
			return "", usagef("%s is missing: put it into a file and name that, or on standard input.", what)
		}
		return text, nil
	}
	first, err := a.unseen(what + ": ")
	if err != nil || !twice {
		return first, err
	}
	second, err := a.unseen("Once more: ")
	if err == nil && first != second {
		err = errors.New("the two are not the same; nothing was done")
	}
	return first, err
}

// unseen reads a line from the terminal without showing it.
func (a *app) unseen(question string) (string, error) {
	fmt.Fprint(a.stderr, question)
	f, ok := a.stdin.(*os.File)
	if !ok {
		return "", errors.New("standard input is no terminal")
	}
	text, err := term.ReadPassword(f.Fd())
	fmt.Fprintln(a.stderr)
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	return string(text), nil
}

// code reads a short code that a person types or a script gives.
func (a *app) code(what string) (string, error) {
	if a.talks() {
		text, err := a.ask(what + ": ")
		return strings.TrimSpace(text), err
	}
	text, err := a.secret(what, "-", false)
	return strings.TrimSpace(text), err
}

// drawQR draws a QR code with half blocks, two rows of modules in a line. With colour it is black
// on white on every terminal; without, it counts on light text on a dark ground.
func drawQR(w io.Writer, text string, color bool) error {
	const quiet = 2 // modules; scanners want 4 and do with 2 on a dark ground
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return fmt.Errorf("draw the QR code: %w", err)
	}
	size := code.Bounds().Dx()
	light := func(x, y int) bool {
		if x < 0 || y < 0 || x >= size || y >= size {
			return true
		}
		r, _, _, _ := code.At(x, y).RGBA()
		return r != 0
	}
	begin, end := "", ""
	if color {
		begin, end = "\x1b[97;40m", "\x1b[0m"
	}
	for y := -quiet; y < size+quiet; y += 2 {
		fmt.Fprint(w, begin)
		for x := -quiet; x < size+quiet; x++ {
			fmt.Fprint(w, map[[2]bool]string{
				{true, true}: "█", {true, false}: "▀", {false, true}: "▄", {false, false}: " ",
			}[[2]bool{light(x, y), light(x, y+1)}])
		}
		fmt.Fprintln(w, end)
	}
	return nil
}
