package sqlstore

import (
	"slices"
	"strings"
	"testing"

	"github.com/nodauth/nod/internal/wire/sealed"
)

// TestSealedColumnsAreListed holds that a column which may hold sealed values is in the list by
// which the sealing key is replaced. Whoever adds a binary column says here why it is not sealed, or
// puts it into internal/wire/sealed.
func TestSealedColumnsAreListed(t *testing.T) {
	t.Parallel()
	open := []string{
		"api_keys.hash", "enrolments.ticket_hash", "browser_proofs.hash", "invitations.secret_hash", // digests
		"devices.app_lock",                  // public
		"deliveries.payload",                // what a receiver gets
		"replays.body_hash", "replays.seed", // a keyed digest, and what makes ids of public things
	}
	listed := map[string]bool{}
	for _, c := range sealed.Columns() {
		listed[c.Table+"."+c.Stored] = true
	}
	everyDatabase(t, func(t *testing.T, c Config) {
		mustOpen(t, c)
		text := `SELECT m.name, p.name, p.type FROM sqlite_schema m, pragma_table_info(m.name) p WHERE m.type = 'table'`
		if c.postgres() {
			text = `SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = current_schema()`
		}
		rows, err := raw(t, c).QueryContext(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		there := map[string]bool{}
		for rows.Next() {
			var table, column, kind string
			if err := rows.Scan(&table, &column, &kind); err != nil {
				t.Fatal(err)
			}
			name := table + "." + column
			there[name] = true
			binary := strings.EqualFold(kind, "blob") || strings.EqualFold(kind, "bytea")
			if (binary || strings.Contains(column, "seal")) && !listed[name] && !slices.Contains(open, name) && name != "ring_nodes.seals" {
				t.Errorf("%s may hold sealed values and is not in the list of internal/wire/sealed", name)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		for name := range listed {
			if !there[name] {
				t.Errorf("%s is in the list of internal/wire/sealed and not in the schema", name)
			}
		}
	})
}
