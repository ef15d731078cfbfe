package year

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Postgres is a PostgreSQL database.
type Postgres struct {
	conn    *pgx.Conn
	indexes []string // dropped ones
}

// OpenPostgres connects to a database that no server uses.
func OpenPostgres(ctx context.Context, dsn string) (*Postgres, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, "SET synchronous_commit = off; SET maintenance_work_mem = '1GB'")
	return &Postgres{conn: conn}, err
}

// Close ends the connection.
func (p *Postgres) Close(ctx context.Context) error { return p.conn.Close(ctx) }

func (p *Postgres) strings(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := p.conn.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// tables leaves out partitions: what is written to their table comes to them.
func (p *Postgres) tables(ctx context.Context) ([]string, error) {
	return p.strings(ctx, `SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE a.attname = 'challenge_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		AND c.relnamespace = 'public'::regnamespace ORDER BY 1`)
}

func (p *Postgres) people(ctx context.Context) ([]person, error) {
	rows, err := p.conn.Query(ctx, peopleQuery)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (person, error) {
		var x person
		err := row.Scan(&x.id, &x.name, &x.device)
		return x, err
	})
}

func (p *Postgres) challenge(ctx context.Context, user string) (string, error) {
	var id string
	err := p.conn.QueryRow(ctx, `SELECT id FROM challenges WHERE user_id = $1`, user).Scan(&id)
	return id, err
}

func (p *Postgres) rows(ctx context.Context, table, column, value string) (columns []string, out [][]any, err error) {
	rows, err := p.conn.Query(ctx, "SELECT * FROM "+table+" WHERE "+column+" = $1", value)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for _, f := range rows.FieldDescriptions() {
		columns = append(columns, f.Name)
	}
	for rows.Next() {
		row, err := rows.Values()
		if err != nil {
			return nil, nil, err
		}
		out = append(out, row)
	}
	return columns, out, rows.Err()
}

func (p *Postgres) write(ctx context.Context, table string, columns []string, n int, row func(int) []any) error {
	i := 0
	_, err := p.conn.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromFunc(func() ([]any, error) {
		if i == n {
			return nil, nil
		}
		i++
		return row(i - 1), nil
	}))
	return err
}

// begin drops the indexes that no constraint needs: sorting them once at the end is much faster.
func (p *Postgres) begin(ctx context.Context, tables []string) error {
	for _, t := range tables {
		const of = ` FROM pg_index i WHERE i.indrelid = $1::regclass
			AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid) ORDER BY i.indexrelid`
		names, err := p.strings(ctx, "SELECT i.indexrelid::regclass::text"+of, t)
		if err != nil {
			return err
		}
		made, err := p.strings(ctx, "SELECT pg_get_indexdef(i.indexrelid)"+of, t)
		if err != nil {
			return err
		}
		p.indexes = append(p.indexes, made...)
		for _, n := range names {
			if _, err := p.conn.Exec(ctx, "DROP INDEX "+n); err != nil {
				return fmt.Errorf("drop index: %w", err)
			}
		}
	}
	return nil
}

// finish also does what the autovacuum would have done meanwhile.
func (p *Postgres) finish(ctx context.Context) error {
	for _, made := range append(p.indexes, "VACUUM ANALYZE", "CHECKPOINT") {
		if _, err := p.conn.Exec(ctx, made); err != nil {
			return fmt.Errorf("%s: %w", made, err)
		}
	}
	return nil
}

func (p *Postgres) size(ctx context.Context) (int64, error) {
	var n int64
	err := p.conn.QueryRow(ctx, `SELECT pg_database_size(current_database())`).Scan(&n)
	return n, err
}
