package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// session is one connection inside a transaction. The arguments are plain values: int64, bool,
// string, []byte or nil.
type session interface {
	// exec returns how many rows the statement touched.
	exec(text string, args []any) (int64, error)
	// query calls row for each row with a function that reads it.
	query(text string, args []any, row func(scan func(...any) error) error) error
}

// tx is one run of one function inside a transaction.
type tx struct {
	session session
	ctx     context.Context // of the caller, asked between statements
	now     mfa.Instant
	viewing bool
	over    bool
	wakes   []string
	events  int // the next place
	wrote   bool

	cache   *cache
	keeper  keeper // nil without a cache
	touched kinds  // what the cache was told of
	owing   string // the last statement that wrote and returned rows, of which it has to be told after it

	// later holds events that are written at the end of the transaction, with those of others, and
	// flush writes them before; nil where events are written at once.
	later *[]store.Event
	flush func(*[]store.Event) error

	// failed is the first error of the database or of ctx. What comes after it is refused, and the
	// run is undone even if its function forgets the error: PostgreSQL has given up the
	// transaction by then.
	failed error
}

var _ store.Tx = (*tx)(nil)

var (
	errViewing = errors.New("write inside View")
	errOver    = errors.New("transaction used after its function has returned")
)

// Now implements store.Tx.
func (t *tx) Now() mfa.Instant { return t.now }

// Wake implements store.Tx.
func (t *tx) Wake(keys ...string) { t.wakes = append(t.wakes, keys...) }

// outcome is what becomes of the run whose function returned err.
func (t *tx) outcome(err error) error {
	if err == nil {
		err = t.failed
	}
	if err == nil {
		err = t.untold(t.owing)
	}
	return err
}

func (t *tx) ready() error {
	if t.over {
		return errOver
	}
	if t.failed == nil {
		t.failed = t.ctx.Err()
	}
	return t.failed
}

// fail remembers an error of the database.
func (t *tx) fail(err error) error {
	if err != nil && t.failed == nil {
		t.failed = err
	}
	return err
}

// write runs a statement that changes rows, and returns how many it changed.
func (t *tx) write(text string, args ...any) (int64, error) {
	if t.viewing {
		return 0, errViewing
	}
	if err := t.ready(); err != nil {
		return 0, err
	}
	if err := t.untold(text); err != nil {
		return 0, err
	}
	return t.exec(text, args)
}

func (t *tx) exec(text string, args []any) (int64, error) {
	values, err := plain(args)
	if err != nil {
		return 0, err
	}
	t.wrote = true
	n, err := t.session.exec(text, values)
	return n, t.fail(err)
}

func (t *tx) read(text string, args []any, row func(scan func(...any) error) error) error {
	if !strings.HasPrefix(text, "SELECT ") { // a write that returns rows
		if t.viewing {
			return errViewing
		}
		t.wrote = true
	}
	if err := t.ready(); err != nil {
		return err
	}
	values, err := plain(args)
	if err != nil {
		return err
	}
	if t.viewing || t.untold(text) == nil {
		return t.fail(t.session.query(text, values, row))
	}
	return t.fail(t.session.query(text, values, func(scan func(...any) error) error {
		t.owing = text
		return row(scan)
	}))
}

// insert runs an INSERT that does nothing when a key is taken.
func (t *tx) insert(text string, args ...any) error {
	n, err := t.write(text, args...)
	if err == nil && n == 0 {
		return store.ErrExists
	}
	return err
}

// change runs a statement that is to change a row that exists.
func (t *tx) change(text string, args ...any) error {
	n, err := t.write(text, args...)
	if err == nil && n == 0 {
		return store.ErrNotFound
	}
	return err
}

// consume runs a statement that uses something up.
func (t *tx) consume(text string, args ...any) error {
	n, err := t.write(text, args...)
	if err == nil && n == 0 {
		return store.ErrUsed
	}
	return err
}

// put runs an UPDATE that is conditional on the version, and says why it changed nothing: exists is
// the query that finds the row by its key.
func (t *tx) put(exists string, key []any, text string, args ...any) error {
	n, err := t.write(text, args...)
	if err != nil || n > 0 {
		return err
	}
	there, err := t.there(exists, key...)
	if err != nil {
		return err
	}
	if !there {
		return store.ErrNotFound
	}
	return store.ErrStale
}

// there says whether a query has any row.
func (t *tx) there(text string, args ...any) (bool, error) {
	found := false
	err := t.read(text, args, func(func(...any) error) error {
		found = true
		return nil
	})
	return found, err
}

// one reads the single row of a query; fields gives the places of its columns.
func one[T any](t *tx, fields func(*T) []any, text string, args ...any) (T, error) {
	var v T
	rows, err := list(t, fields, text, args...)
	if err != nil {
		return v, err
	}
	switch len(rows) {
	case 0:
		return v, store.ErrNotFound
	case 1:
		return rows[0], nil
	}
	return v, errors.New("more than one row where there can be one")
}

// list reads the rows of a query.
func list[T any](t *tx, fields func(*T) []any, text string, args ...any) ([]T, error) {
	var all []T
	err := t.read(text, args, func(scan func(...any) error) error {
		var v T
		if err := scan(fields(&v)...); err != nil {
			return err
		}
		all = append(all, v)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// itself is the fields of a query with one column.
func itself[T any](v *T) []any { return []any{v} }

// insertText writes the INSERT of a table for a list of columns.
func insertText(table, columns string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES (", table, columns)
	for i := range strings.Count(columns, ",") + 1 {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	b.WriteString(") ON CONFLICT DO NOTHING")
	return b.String()
}

// errText refuses text that PostgreSQL cannot keep, so that both databases refuse the same.
var errText = mfa.Errorf(mfa.Invalid, mfa.ReasonMalformed, "The text has characters that cannot be stored.")

// plain turns arguments, and the places that a row is read into, into values that both drivers
// take as they are.
func plain(args []any) ([]any, error) {
	out := make([]any, len(args))
	for i, a := range args {
		v, err := plainValue(a)
		if err != nil {
			return nil, err
		}
		if s, ok := v.(string); ok && (strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s)) {
			return nil, errText
		}
		out[i] = v
	}
	return out, nil
}

func plainValue(a any) (any, error) {
	if c, ok := a.(column); ok {
		return c.value()
	}
	v := reflect.ValueOf(a)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Int, reflect.Int64:
		return v.Int(), nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if v.Len() == 0 {
				return nil, nil
			}
			return v.Bytes(), nil
		}
	default:
	}
	return nil, fmt.Errorf("no column for a %T", a)
}

// column is a field whose column holds it in another form. Its Scan is the way back.
type column interface {
	value() (any, error)
	Scan(from any) error
}

// text reads what a TEXT column holds, "" for NULL.
func textOf(from any) (string, error) {
	switch v := from.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	return "", fmt.Errorf("text column holds a %T", from)
}

// document is JSON kept as it is, NULL for none.
type document struct{ to *[]byte }

func (d document) value() (any, error) { //nolint:unparam // as every column
	if len(*d.to) == 0 {
		return nil, nil
	}
	return string(*d.to), nil
}

// Scan implements sql.Scanner.
func (d document) Scan(from any) error {
	s, err := textOf(from)
	if err != nil || s == "" {
		*d.to = nil
		return err
	}
	*d.to = []byte(s)
	return nil
}

// words is a list of texts as a JSON array.
type words[S ~string] struct{ to *[]S }

func (w words[S]) value() (any, error) {
	if len(*w.to) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(*w.to)
	return string(b), err
}

// Scan implements sql.Scanner.
func (w words[S]) Scan(from any) error {
	s, err := textOf(from)
	*w.to = nil
	if err != nil || s == "" || s == "[]" {
		return err
	}
	return json.Unmarshal([]byte(s), w.to)
}

// table is a map of texts as a JSON object.
type table struct{ to *map[string]string }

func (m table) value() (any, error) {
	if len(*m.to) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(*m.to)
	return string(b), err
}

// Scan implements sql.Scanner.
func (m table) Scan(from any) error {
	s, err := textOf(from)
	*m.to = nil
	if err != nil || s == "" || s == "{}" {
		return err
	}
	return json.Unmarshal([]byte(s), m.to)
}

// matches and methods are sets, kept by name so that the order of the sets' bits is nowhere on disk.
type (
	matches struct{ to *mfa.Matches }
	methods struct{ to *mfa.Methods }
)

func (m matches) value() (any, error) {
	kinds := m.to.List()
	return words[mfa.Match]{&kinds}.value()
}

// Scan implements sql.Scanner.
func (m matches) Scan(from any) error {
	var kinds []mfa.Match
	err := words[mfa.Match]{&kinds}.Scan(from)
	*m.to = mfa.MatchesOf(kinds...)
	return err
}

func (m methods) value() (any, error) {
	kinds := m.to.List()
	return words[mfa.Method]{&kinds}.value()
}

// Scan implements sql.Scanner.
func (m methods) Scan(from any) error {
	var kinds []mfa.Method
	err := words[mfa.Method]{&kinds}.Scan(from)
	*m.to = mfa.MethodsOf(kinds...)
	return err
}

// seen is the decisions that a challenge has counted, without the empty places at the end.
type seen struct{ to *[mfa.MaxSeen]mfa.Sighted }

func (s seen) value() (any, error) {
	n := len(s.to)
	for n > 0 && s.to[n-1] == "" {
		n--
	}
	counted := slices.Clone(s.to[:n])
	return words[mfa.Sighted]{&counted}.value()
}

// Scan implements sql.Scanner.
func (s seen) Scan(from any) error {
	var counted []mfa.Sighted
	err := words[mfa.Sighted]{&counted}.Scan(from)
	*s.to = [mfa.MaxSeen]mfa.Sighted{}
	copy(s.to[:], counted)
	return err
}

// after gives the place of a page for a list that goes up, before for one that goes down.
func after(p store.Page) (mfa.Instant, string) {
	if p.ID == "" {
		return -1, ""
	}
	return p.At, p.ID
}

func before(p store.Page) (mfa.Instant, string) {
	if p.ID == "" {
		return 1<<63 - 1, ""
	}
	return p.At, p.ID
}

func limit(n int) int { return max(n, 0) }

// prefixEnd is above every text that begins with the prefix and holds no U+10FFFF, which is no
// character.
func prefixEnd(prefix string) string { return prefix + "\U0010FFFF" }
