package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			conn := connect(t, Database(t))
			// A second of these in one database would fail.
			if _, err := conn.Exec(t.Context(), "CREATE TABLE mine (id bigint)"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDatabaseIsDroppedUnderItsUsers(t *testing.T) {
	t.Parallel()
	server := Server(t)
	var name string
	t.Run("user", func(t *testing.T) {
		dsn := Database(t)
		at, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		name = strings.TrimPrefix(at.Path, "/")
		// Deliberately left open: the cleanup has to disconnect it.
		if _, err := pgx.Connect(context.WithoutCancel(t.Context()), dsn); err != nil {
			t.Fatal(err)
		}
	})
	var n int
	err := connect(t, server).QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE datname = $1", name).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("database %s is still there", name)
	}
}

func TestAbsence(t *testing.T) {
	for _, tt := range []struct {
		require      string
		skips, fails bool
	}{
		{require: "", skips: true},
		{require: "all", fails: true},
	} {
		t.Run("require="+tt.require, func(t *testing.T) {
			t.Setenv("NOD_TEST_POSTGRES", "")
			t.Setenv("NOD_TEST_REQUIRE", tt.require)
			r := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				Database(r)
			}()
			<-done
			if r.skipped != tt.skips || r.failed != tt.fails {
				t.Errorf("skipped %v, failed %v; want %v, %v", r.skipped, r.failed, tt.skips, tt.fails)
			}
		})
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}
