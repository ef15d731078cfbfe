package year

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"

	_ "modernc.org/sqlite"
)

// SQLite is a database file.
type SQLite struct {
	db      *sql.DB
	file    string
	indexes []string // dropped ones
}

// OpenSQLite opens a file that no server uses.
func OpenSQLite(ctx context.Context, file string) (*SQLite, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(OFF)&_pragma=synchronous(OFF)&_pragma=cache_size(-2000000)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return &SQLite{db: db, file: file}, db.PingContext(ctx)
}

// Close closes it, in the state that the product keeps it in.
func (s *SQLite) Close(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, "PRAGMA journal_mode=WAL")
	return errors.Join(err, s.db.Close())
}

func (s *SQLite) strings(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func (s *SQLite) tables(ctx context.Context) ([]string, error) {
	return s.strings(ctx, `SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND c.name = 'challenge_id' ORDER BY m.name`)
}

const peopleQuery = `SELECT u.id, u.name, d.id FROM users u JOIN devices d ON d.realm = u.realm AND d.user_id = u.id
	WHERE d.state = 'active' ORDER BY u.id`

func (s *SQLite) people(ctx context.Context) ([]person, error) {
	rows, err := s.db.QueryContext(ctx, peopleQuery)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []person
	for rows.Next() {
		var p person
		if err := rows.Scan(&p.id, &p.name, &p.device); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

func (s *SQLite) challenge(ctx context.Context, user string) (string, error) {
	var id string
	err := s.db.QueryRowContext(ctx, `SELECT id FROM challenges WHERE user_id = $1`, user).Scan(&id)
	return id, err
}

func (s *SQLite) rows(ctx context.Context, table, column, value string) ([]string, [][]any, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT * FROM "+table+" WHERE "+column+" = $1", value) //nolint:gosec // names of our tables
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, nil, err
	}
	var out [][]any
	for rows.Next() {
		row, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, nil, err
		}
		out = append(out, row)
	}
	return columns, out, rows.Err()
}

func (s *SQLite) write(ctx context.Context, table string, columns []string, n int, row func(int) []any) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	holes := strings.TrimSuffix(strings.Repeat("?,", len(columns)), ",")
	insert, err := tx.PrepareContext(ctx, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, strings.Join(columns, ", "), holes))
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }() // it ends with the transaction
	for i := range n {
		if _, err := insert.ExecContext(ctx, row(i)...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// begin drops the indexes: sorting them once at the end is much faster.
func (s *SQLite) begin(ctx context.Context, tables []string) error {
	for _, t := range tables {
		names, err := s.strings(ctx, `SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = $1 AND sql IS NOT NULL`, t)
		if err != nil {
			return err
		}
		made, err := s.strings(ctx, `SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = $1 AND sql IS NOT NULL`, t)
		if err != nil {
			return err
		}
		s.indexes = append(s.indexes, made...)
		for _, n := range names {
			if _, err := s.db.ExecContext(ctx, "DROP INDEX "+n); err != nil {
				return fmt.Errorf("drop index: %w", err)
			}
		}
	}
	return nil
}

func (s *SQLite) finish(ctx context.Context) error {
	for _, made := range s.indexes {
		if _, err := s.db.ExecContext(ctx, made); err != nil {
			return fmt.Errorf("%s: %w", made, err)
		}
	}
	return nil
}

func (s *SQLite) size(context.Context) (int64, error) {
	info, err := os.Stat(s.file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
