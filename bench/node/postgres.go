package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/nodauth/nod/bench/machine"
)

// Postgres is a PostgreSQL server, with a connection of its own that asks it about itself.
type Postgres struct {
	Version string
	Data    string // its data directory
	PID     int    // of the postmaster

	dsn  string
	conn *pgx.Conn
}

// OpenPostgres connects to the server, as a superuser.
func OpenPostgres(ctx context.Context, dsn string) (*Postgres, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	p := &Postgres{dsn: dsn, conn: conn}
	var backend int
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('data_directory'), pg_backend_pid()`).
		Scan(&p.Version, &p.Data, &backend)
	if err == nil {
		p.PID, err = machine.Parent(backend)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask PostgreSQL, which must be on this machine: %w", err), conn.Close(ctx))
	}
	return p, nil
}

// Create makes an empty database and gives its DSN. settings are parameters of its sessions.
func (p *Postgres) Create(ctx context.Context, settings ...string) (string, error) {
	u, err := url.Parse(p.dsn)
	if err != nil {
		return "", err
	}
	name := "nodbench_" + strings.ToLower(rand.Text())
	if _, err := p.conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("create database: %w", err)
	}
	for _, s := range settings {
		if _, err := p.conn.Exec(ctx, "ALTER DATABASE "+name+" SET "+s); err != nil {
			return "", fmt.Errorf("set %s: %w", s, err)
		}
	}
	u.Path = "/" + name
	return u.String(), nil
}

// Copy makes a copy of a database that nobody uses, and gives its DSN.
func (p *Postgres) Copy(ctx context.Context, dsn string) (string, error) {
	from, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	to := *from
	to.Path = "/nodbench_" + strings.ToLower(rand.Text())
	_, err = p.conn.Exec(ctx, "CREATE DATABASE "+to.Path[1:]+" TEMPLATE "+from.Path[1:])
	if err != nil {
		return "", fmt.Errorf("copy database: %w", err)
	}
	return to.String(), nil
}

// Close drops databases that Create made, and ends the connection.
func (p *Postgres) Close(ctx context.Context, dsns ...string) error {
	var errs []error
	for _, dsn := range dsns {
		u, err := url.Parse(dsn)
		if err == nil {
			_, err = p.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+strings.TrimPrefix(u.Path, "/")+" WITH (FORCE)")
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, p.conn.Close(ctx))...)
}

// Syncs is how often the server has synced its log so far.
func (p *Postgres) Syncs(ctx context.Context) (int64, error) {
	var n int64
	err := p.conn.QueryRow(ctx, `SELECT wal_sync FROM pg_stat_wal`).Scan(&n)
	if err != nil { // since version 18 it stands elsewhere
		err = p.conn.QueryRow(ctx, `SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'`).Scan(&n)
	}
	return n, err
}

// Statements is how many statements the server's log has so far: those of databases with
// log_statement=all. The log is where scripts/postgres lets it be written.
func (p *Postgres) Statements(context.Context) (int64, error) {
	text, err := os.ReadFile(filepath.Join(p.Data, "server.log"))
	if err != nil {
		return 0, fmt.Errorf("the server's log, which scripts/postgres leaves there: %w", err)
	}
	return int64(strings.Count(string(text), "LOG:  execute ") + strings.Count(string(text), "LOG:  statement: ")), nil
}
