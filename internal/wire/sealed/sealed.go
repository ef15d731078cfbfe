// Package sealed lists the columns of the database that hold sealed values. Whoever gives the
// sealing key a successor walks this list, so that nothing stays under the old key; the keyring
// refuses to seal for a place that is not in it.
package sealed

// Column is one column of sealed values.
type Column struct {
	Table string
	// Column is what the places of its values call it, Stored what the database does.
	Column, Stored string
	// Key are the columns that name a row beside its realm, in the order of the primary key.
	Key []string
	// Realm stands in the places of a table without realms. Its rows have none beside their key.
	Realm string
	// Join is what stands between them in the place's row. Encoded says that they stand there with
	// their lengths instead.
	Join    string
	Encoded bool
	// Text says that the column holds base64url without padding, and nothing is the empty text.
	Text bool
}

// Columns gives every column of sealed values, in the order in which they are walked.
func Columns() []Column {
	id := []string{"id"}
	return []Column{
		{Table: "realm_keys", Column: "private", Stored: "sealed", Key: []string{"purpose", "kid"}, Join: ":"},
		{Table: "totps", Column: "seed", Stored: "sealed", Key: id},
		{Table: "enrolments", Column: "code", Stored: "sealed_code", Key: id},
		{Table: "enrolments", Column: "answer", Stored: "answer", Key: id, Text: true},
		{Table: "challenges", Column: "sealed", Stored: "sealed", Key: id},
		{Table: "challenges", Column: "grant", Stored: "grant_sealed", Key: id},
		{Table: "replays", Column: "answer", Stored: "answer", Key: []string{"application_id", "route", "idempotency_key"}, Encoded: true},
		{Table: "webhooks", Column: "secret", Stored: "secret", Key: id},
		{Table: "webhooks", Column: "former_secret", Stored: "former_secret", Key: id},
		{Table: "certificates", Column: "sealed", Stored: "sealed", Key: []string{"name"}, Realm: "*"},
	}
}

// Places gives a function that tells whether a place is in a column of the list.
func Places() func(table, column string) bool {
	type place struct{ table, column string }
	listed := make(map[place]bool)
	for _, c := range Columns() {
		listed[place{c.Table, c.Column}] = true
	}
	return func(table, column string) bool { return listed[place{table, column}] }
}
