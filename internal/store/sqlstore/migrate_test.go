package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/store"
)

// everyDatabase runs test on an empty database of each kind.
func everyDatabase(t *testing.T, test func(t *testing.T, c Config)) {
	t.Helper()
	for name, dsn := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "nod.db") },
		"postgres": func(t *testing.T) string { return pgtest.Database(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, Config{DSN: dsn(t)}.withDefaults())
		})
	}
}

// raw opens the database beside the store.
func raw(t *testing.T, c Config) *sql.DB {
	t.Helper()
	var db *sql.DB
	if c.postgres() {
		config, err := pgx.ParseConfig(c.DSN)
		if err != nil {
			t.Fatal(err)
		}
		db = stdlib.OpenDB(*config)
	} else {
		var err error
		if db, err = sqliteOpen(c); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t *testing.T, db *sql.DB, text string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func mustOpen(t *testing.T, c Config) *Store {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestMigrationsAreAlike(t *testing.T) {
	t.Parallel()
	files := map[string][]string{}
	for _, dir := range []string{"sqlite", "postgres"} {
		entries, err := fs.ReadDir(migrations, "migrations/"+dir)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			files[dir] = append(files[dir], e.Name())
			if want := fmt.Sprintf("%05d_", i+1); !strings.HasPrefix(e.Name(), want) {
				t.Errorf("%s/%s does not begin with %s", dir, e.Name(), want)
			}
			text, err := fs.ReadFile(migrations, "migrations/"+dir+"/"+e.Name())
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "+goose Down") {
				t.Errorf("%s/%s goes down: migrations only go up", dir, e.Name())
			}
		}
	}
	if diff := cmp.Diff(files["sqlite"], files["postgres"]); diff != "" {
		t.Errorf("migrations (-SQLite +PostgreSQL):\n%s", diff)
	}
	if len(files["sqlite"]) != Version {
		t.Errorf("Version is %d and there are %d migrations", Version, len(files["sqlite"]))
	}
}

func TestSchemasAreAlike(t *testing.T) {
	t.Parallel()
	pgtest.Server(t)
	list := func(c Config, text string) []string {
		db := raw(t, c)
		if _, err := Migrate(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		rows, err := db.QueryContext(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var all []string
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			all = append(all, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		return all
	}
	lite := Config{DSN: filepath.Join(t.TempDir(), "nod.db")}.withDefaults()
	post := Config{DSN: pgtest.Database(t)}.withDefaults()
	columns := cmp.Diff(
		list(lite, `SELECT m.name || '.' || c.name || ' ' || CASE c."notnull" OR c.pk > 0 WHEN 1 THEN 'not null' ELSE 'null' END
			FROM sqlite_master m, pragma_table_info(m.name) c
			WHERE m.type = 'table' AND m.name NOT LIKE 'goose%' AND m.name NOT LIKE 'sqlite%'`),
		list(post, `SELECT table_name || '.' || column_name || ' ' || CASE is_nullable WHEN 'NO' THEN 'not null' ELSE 'null' END
			FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%'
			AND table_name <> 'cache_stamps'`)) // which SQLite keeps in memory
	if columns != "" {
		t.Errorf("columns (-SQLite +PostgreSQL):\n%s", columns)
	}
	indexes := cmp.Diff(
		list(lite, `SELECT m.tbl_name || '.' || m.name || ' ' || group_concat(c.name, ',')
			FROM sqlite_master m, pragma_index_info(m.name) c
			WHERE m.type = 'index' AND m.name NOT LIKE 'sqlite%' GROUP BY m.name ORDER BY c.seqno`),
		list(post, `SELECT t.relname || '.' || i.relname || ' ' || string_agg(a.attname, ',' ORDER BY a.attnum)
			FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
			JOIN pg_attribute a ON a.attrelid = i.oid
			WHERE t.relnamespace = 'public'::regnamespace AND t.relname NOT LIKE 'goose%'
			AND i.relname NOT LIKE '%_pkey' AND i.relname NOT LIKE '%_key' GROUP BY t.relname, i.relname`))
	if indexes != "" {
		t.Errorf("indexes (-SQLite +PostgreSQL):\n%s", indexes)
	}
	for _, line := range list(lite, `SELECT m.name || ' ' || group_concat(i.name || ':' || c.name, ' ')
		FROM sqlite_master m, pragma_index_list(m.name) i, pragma_index_info(i.name) c
		WHERE m.type = 'table' AND i."unique" AND c.seqno = 0 AND m.name NOT LIKE 'goose%'
		AND m.name NOT IN ('settings', 'feeds', 'certificates', 'certificate_orders', 'ring_nodes') GROUP BY m.name`) {
		for _, key := range strings.Fields(line)[1:] {
			if !strings.HasSuffix(key, ":realm") {
				t.Errorf("a unique key does not begin with the realm: %s", line)
			}
		}
	}
}

// TestUpgrade opens a database that the first schema was used with.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	everyDatabase(t, func(t *testing.T, c Config) {
		if _, err := migrate(t.Context(), c, 1); err != nil {
			t.Fatal(err)
		}
		db := raw(t, c)
		old := store.Challenge{
			Realm: "r", Name: "Anna", Sealed: []byte{0, 1, 255}, Nonce: "n", Rung: true, ChangedAt: 11, Version: 3,
			MatchOrder: []mfa.Match{mfa.Digits, mfa.Scan},
			Challenge: mfa.Challenge{
				ID: "ch_1", User: "usr_1", Application: "app_1", Kind: mfa.Login, Provenance: mfa.Strangers,
				FirstFactor: mfa.FirstFactorNone, Matches: mfa.MatchesOf(mfa.Scan, mfa.Digits),
				Methods: mfa.MethodsOf(mfa.Push, mfa.TOTP), State: mfa.Approved, CreatedAt: 10, DecideBy: 20, RedeemBy: 30,
			},
		}
		columns := strings.ReplaceAll(challengeColumns, "received, shown, opened, ", "")
		var fields []any
		for i, f := range challengeFields(&old) {
			if n := len(challengeFields(&old)); i < n-5 || i >= n-2 {
				fields = append(fields, f)
			}
		}
		values, err := plain(fields)
		if err != nil {
			t.Fatal(err)
		}
		execute(t, db, insertText("challenges", columns), values...)
		user := store.User{Realm: "r", ID: "usr_1", Name: "anna", State: store.UserActive, Version: 2, Groups: []string{"a"}}
		if values, err = plain(userFields(&user)); err != nil {
			t.Fatal(err)
		}
		execute(t, db, insertUser, values...)
		execute(t, db, `INSERT INTO guesses (realm, user_id, id, bucket, at) VALUES ('r', 'usr_1', 'g', 'b', 5)`)
		execute(t, db, `INSERT INTO replays (realm, application_id, route, idempotency_key, done, lease_until, status,
			object, secret, answer, created_at) VALUES ('r', 'app_1', 'x', 'k', $1, 0, 200, '', $1, $2, 7)`, true, []byte("y"))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}

		if from, err := Migrate(t.Context(), c); err != nil || from != 1 {
			t.Fatalf("Migrate: from %d, %v", from, err)
		}
		s := mustOpen(t, c)
		check := func(want store.Challenge) {
			t.Helper()
			err := s.View(t.Context(), func(tx store.Tx) error {
				got, err := tx.Challenge("r", "ch_1")
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("challenge (-want +got):\n%s", diff)
				}
				due, dueErr := tx.DueChallenges(30, 5)
				if len(due) != 1 {
					t.Errorf("%d challenges are due, want 1", len(due))
				}
				u, userErr := tx.User("r", "usr_1")
				if diff := cmp.Diff(user, u); diff != "" {
					t.Errorf("user (-want +got):\n%s", diff)
				}
				return errors.Join(err, dueErr, userErr)
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		check(old)
		err = s.Update(t.Context(), func(tx store.Tx) error {
			old.Shown, old.ChangedAt = 15, tx.Now()
			return errors.Join(
				stamp(tx, store.Stamp{Realm: "r", Challenge: "ch_1", Stamp: store.StampShown, At: 15}),
				tx.SweepRations(6), tx.SweepReplays(1, 8),
			)
		})
		if err != nil {
			t.Fatal(err)
		}
		check(old)
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	everyDatabase(t, func(t *testing.T, c Config) {
		from, err := Migrate(t.Context(), c)
		if err != nil || from != 0 {
			t.Fatalf("Migrate: from %d, %v", from, err)
		}
		if from, err = Migrate(t.Context(), c); err != nil || from != Version {
			t.Fatalf("Migrate again: from %d, %v", from, err)
		}
		db := raw(t, c)
		execute(t, db, `INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, $2)`, Version+1, true)
		refused := func(oldest string) {
			t.Helper()
			if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("has version %d", Version+1)) {
				t.Errorf("Open, the oldest being %q: %v", oldest, err)
			}
		}
		for _, oldest := range []string{strconv.Itoa(Version + 1), "", "-", "1 "} {
			execute(t, db, `UPDATE settings SET value = $1 WHERE name = $2`, oldest, settingOldest)
			refused(oldest)
		}
		// The newer one said that this one may go on.
		execute(t, db, `UPDATE settings SET value = $1 WHERE name = $2`, strconv.Itoa(Version), settingOldest)
		s := mustOpen(t, c)
		if err := s.Update(t.Context(), func(tx store.Tx) error { return tx.PutSetting("x", "y") }); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		execute(t, db, `DELETE FROM settings WHERE name = $1`, settingOldest)
		refused("not there")
	})
}

// released is the schema of the last release. What came after it only adds, so that its programs
// read and write what they know as before.
const released = 2

// contracts are statements that take something from older programs, or refuse what they write.
var contracts = []*regexp.Regexp{
	regexp.MustCompile(`\bDROP (TABLE|COLUMN|CONSTRAINT|DEFAULT|VIEW)\b`),
	regexp.MustCompile(`\bRENAME\b`),
	regexp.MustCompile(`\bALTER COLUMN\b`),
	regexp.MustCompile(`\bADD (CONSTRAINT|CHECK|FOREIGN|UNIQUE|PRIMARY)\b`),
}

// contracting says why a migration is no mere addition; "" if it is one.
func contracting(text string) string {
	text = regexp.MustCompile(`--.*`).ReplaceAllString(text, "")
	text = strings.ToUpper(strings.Join(strings.Fields(text), " "))
	for _, s := range strings.Split(text, ";") {
		for _, c := range contracts {
			if c.MatchString(s) {
				return s
			}
		}
		for _, column := range strings.Split(s, "ADD COLUMN")[1:] {
			if strings.Contains(column, "NOT NULL") && !strings.Contains(column, "DEFAULT") {
				return s
			}
		}
		if on := regexp.MustCompile(`CREATE UNIQUE INDEX \S+ ON (\S+)`).FindStringSubmatch(s); on != nil &&
			!strings.Contains(text, "CREATE TABLE "+on[1]+" ") {
			return s
		}
	}
	return ""
}

func TestMigrationsOnlyAdd(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"sqlite", "postgres"} {
		entries, err := fs.ReadDir(migrations, "migrations/"+dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries[released:] {
			text, err := fs.ReadFile(migrations, "migrations/"+dir+"/"+e.Name())
			if err != nil {
				t.Fatal(err)
			}
			if why := contracting(string(text)); why != "" {
				t.Errorf("%s/%s does more than to add:%s", dir, e.Name(), why)
			}
		}
	}
	if Oldest < released || Oldest > Version {
		t.Errorf("Oldest is %d", Oldest)
	}
	for _, bad := range []string{
		"DROP TABLE users;", "alter table users drop column name;", "ALTER TABLE users RENAME COLUMN a TO b",
		"ALTER TABLE users ADD COLUMN x\n  INTEGER NOT NULL;", "ALTER TABLE users ALTER COLUMN name SET NOT NULL",
		"CREATE UNIQUE INDEX i ON users (realm, name)", "ALTER TABLE users ADD CONSTRAINT c CHECK (a > 0)",
	} {
		if contracting(bad) == "" {
			t.Errorf("%q passes", bad)
		}
	}
	for _, good := range []string{
		"ALTER TABLE users ADD COLUMN x INTEGER NOT NULL DEFAULT 0", "DROP INDEX i", "CREATE INDEX i ON users (a)",
		"CREATE TABLE a (x INTEGER NOT NULL); CREATE UNIQUE INDEX i ON a (x)", "-- DROP TABLE users",
	} {
		if why := contracting(good); why != "" {
			t.Errorf("%q: %s", good, why)
		}
	}
}

func TestNodesStartTogether(t *testing.T) {
	t.Parallel()
	everyDatabase(t, func(t *testing.T, c Config) {
		nodes := 4
		if !c.postgres() {
			nodes = 1
		}
		var group sync.WaitGroup
		for range nodes {
			group.Go(func() {
				s, err := Open(context.WithoutCancel(t.Context()), c)
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
		}
		group.Wait()
	})
}

func stamp(tx store.Tx, s store.Stamp) error {
	_, err := tx.PutStamp(s)
	return err
}
