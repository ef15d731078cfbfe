// Package pgtest gives tests a PostgreSQL database of their own.
//
// The server is the one that NOD_TEST_POSTGRES names, a URL of a superuser such as
// postgres:///postgres?host=/run/postgresql&user=postgres. make test starts a private one
// and sets NOD_TEST_REQUIRE=all, by which the absence of a server fails a test. Without
// both, as under plain go test, the tests that need PostgreSQL are skipped and say so.
package pgtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

const absent = "PostgreSQL tests left out: set NOD_TEST_POSTGRES or run make test"

// Database creates an empty database, used by nobody else, and returns its URL in the form
// that pgx reads. The database is dropped, and whoever is still connected to it is
// disconnected, when t ends. Without a server t is skipped, or fails if one is required.
//
// It is safe for parallel tests. It must be called from the goroutine of the test.
func Database(t testing.TB) string {
	t.Helper()
	server := Server(t)
	at, err := url.Parse(server)
	if err != nil || at.Scheme != "postgres" && at.Scheme != "postgresql" {
		t.Fatalf("NOD_TEST_POSTGRES is not a postgres:// URL: %q", server)
	}
	name := "nodtest_" + strings.ToLower(rand.Text())
	at.Path = "/" + name
	at.RawPath = ""

	// A test's own context has ended by the time of its cleanups.
	ctx := context.WithoutCancel(t.Context())
	if err := run(ctx, server, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() {
		if err := run(ctx, server, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop database: %v", err)
		}
	})
	return at.String()
}

// Server returns the URL of the server itself, for a test that acts on it from outside: one
// that ends connections, for example. Absence is treated as in Database.
func Server(t testing.TB) string {
	t.Helper()
	server := os.Getenv("NOD_TEST_POSTGRES")
	if server != "" {
		return server
	}
	if os.Getenv("NOD_TEST_REQUIRE") == "all" {
		t.Fatal("NOD_TEST_REQUIRE=all, and NOD_TEST_POSTGRES is not set: run make test")
	}
	t.Skip(absent)
	return ""
}

// run carries out one statement on a connection of its own: a pool kept between tests would
// be state that they share, and would have to be closed by the last of them.
func run(ctx context.Context, server, statement string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	if closed := conn.Close(ctx); err == nil {
		err = closed
	}
	return err
}
