package sqlstore

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/nodauth/nod/internal/store"
)

// sqliteSession is one connection with its prepared statements. Nothing interrupts a statement,
// which would roll back the transaction that it shares with others.
type sqliteSession struct {
	conn       *sqlite.Conn
	statements map[string]sqliteStatement
	scan       func(...any) error // for row: reads the statement that stands on one
	row        *sqlite.Stmt
	ran        atomic.Int64 // statements
}

// sqliteStatement is a statement and the arguments that its parameters take: for SQLite $1 is a
// name, and parameters are counted as they come.
type sqliteStatement struct {
	*sqlite.Stmt
	args []int
}

// sqliteConnect opens a connection to a file that exists.
func sqliteConnect(path string) (*sqliteSession, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	conn.SetBusyTimeout(sqliteBusy)
	s := &sqliteSession{conn: conn, statements: make(map[string]sqliteStatement)}
	s.scan = s.scanRow
	for _, p := range sqlitePragmas {
		if err := s.query(`PRAGMA `+p, nil, func(func(...any) error) error { return nil }); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return s, nil
}

func (s *sqliteSession) close() error { return s.conn.Close() }

func (s *sqliteSession) prepare(text string) (sqliteStatement, error) {
	if st, ok := s.statements[text]; ok {
		return st, nil
	}
	st, err := s.conn.Prepare(text)
	if err != nil {
		return sqliteStatement{}, err
	}
	p := sqliteStatement{Stmt: st}
	for i := range st.BindParamCount() {
		n, err := strconv.Atoi(strings.TrimPrefix(st.BindParamName(i+1), "$"))
		if err != nil {
			return sqliteStatement{}, fmt.Errorf("parameter %d of a statement: %w", i+1, err)
		}
		p.args = append(p.args, n-1)
	}
	s.statements[text] = p
	return p, nil
}

func (s *sqliteSession) bind(text string, args []any) (*sqlite.Stmt, error) {
	s.ran.Add(1)
	p, err := s.prepare(text)
	if err != nil {
		return nil, err
	}
	for i, n := range p.args {
		if n >= len(args) {
			return nil, fmt.Errorf("a statement has parameter $%d and %d arguments", n+1, len(args))
		}
		switch v := args[n].(type) {
		case string:
			p.BindText(i+1, v)
		case int64:
			p.BindInt64(i+1, v)
		case bool:
			p.BindBool(i+1, v)
		case []byte:
			p.BindBytes(i+1, v)
		case nil:
			p.BindNull(i + 1)
		default:
			return nil, fmt.Errorf("no column for a %T", v)
		}
	}
	return p.Stmt, nil
}

func (s *sqliteSession) exec(text string, args []any) (int64, error) {
	st, err := s.bind(text, args)
	if err != nil {
		return 0, sqliteError(err)
	}
	for more := true; more; {
		if more, err = st.Step(); err != nil {
			return 0, sqliteError(err)
		}
	}
	if err := st.Reset(); err != nil {
		return 0, sqliteError(err)
	}
	return int64(s.conn.Changes()), nil
}

func (s *sqliteSession) query(text string, args []any, row func(scan func(...any) error) error) error {
	st, err := s.bind(text, args)
	if err != nil {
		return sqliteError(err)
	}
	for {
		more, err := st.Step()
		if err != nil {
			return sqliteError(err)
		}
		if !more {
			return sqliteError(st.Reset())
		}
		s.row = st
		if err := row(s.scan); err != nil {
			return errors.Join(err, st.Reset())
		}
	}
}

// scanRow reads the columns of the row on which the statement stands.
func (s *sqliteSession) scanRow(to ...any) error {
	if n := s.row.ColumnCount(); n != len(to) {
		return fmt.Errorf("the row has %d columns and %d are read", n, len(to))
	}
	for i, p := range to {
		if err := scanColumn(s.row, i, p); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

func scanColumn(st *sqlite.Stmt, i int, to any) error {
	switch p := to.(type) {
	case *string:
		*p = st.ColumnText(i)
		return nil
	case *int64:
		*p = st.ColumnInt64(i)
		return nil
	case *[]byte:
		*p = columnBytes(st, i)
		return nil
	case column:
		switch st.ColumnType(i) {
		case sqlite.TypeNull:
			return p.Scan(nil)
		case sqlite.TypeBlob:
			return p.Scan(columnBytes(st, i))
		default:
			return p.Scan(st.ColumnText(i))
		}
	}
	v := reflect.ValueOf(to)
	if v.Kind() != reflect.Pointer {
		return fmt.Errorf("a %T cannot be read into", to)
	}
	v = v.Elem()
	switch v.Kind() {
	case reflect.String:
		v.SetString(st.ColumnText(i))
	case reflect.Int, reflect.Int64:
		v.SetInt(st.ColumnInt64(i))
	case reflect.Bool:
		v.SetBool(st.ColumnBool(i))
	default:
		return fmt.Errorf("a %T cannot be read into", to)
	}
	return nil
}

func columnBytes(st *sqlite.Stmt, i int) []byte {
	if st.ColumnType(i) == sqlite.TypeNull {
		return nil
	}
	b := make([]byte, st.ColumnLen(i))
	st.ColumnBytes(i, b)
	return b
}

// sqliteBusy is how long a statement waits for a lock of another connection.
const sqliteBusy = 5 * time.Second

// sqlitePragmas are what every connection begins with. SQLite forgets a failed sync of its own
// checkpoints, so it makes none; checkpoint does not forget.
var sqlitePragmas = []string{
	"journal_mode = WAL", "synchronous = FULL", "foreign_keys = 1", "cache_size = -8000", "wal_autocheckpoint = 0",
}

// sqliteError gives a reference to a row that is not there its name.
func sqliteError(err error) error {
	if sqlite.ErrCode(err) == sqlite.ResultConstraintForeignKey {
		return fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	return err
}

// sqliteClass says whom an error concerns.
func sqliteClass(err error) class {
	code := sqlite.ErrCode(err)
	if code == sqlite.ResultIOErrSHMSize { // no room to lengthen a file: nothing was lost
		return classFull
	}
	switch code.ToPrimary() { //nolint:exhaustive // what is left concerns a statement
	case sqlite.ResultIOErr, sqlite.ResultCorrupt, sqlite.ResultNotADB, sqlite.ResultCantOpen, sqlite.ResultReadOnly:
		return classFault
	case sqlite.ResultFull:
		return classFull
	case sqlite.ResultBusy, sqlite.ResultLocked, sqlite.ResultNoMem, sqlite.ResultProtocol, sqlite.ResultInterrupt,
		sqlite.ResultAbort:
		return classBusy
	}
	return classStatement
}
