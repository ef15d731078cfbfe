package sqlstore

import (
	"errors"

	"github.com/nodauth/nod/internal/mfa"
)

// postgresStamps is the keeper of a transaction on PostgreSQL. Stamps are read in the transaction
// itself, where triggers have changed them together with what they stand for.
type postgresStamps struct {
	read    func(places []int64) ([]int64, mfa.Instant, error)
	known   map[scope]int64
	touched map[scope]bool // by this transaction; shared by the jobs of one
	none    bool           // something of everybody was touched
}

func newPostgresStamps(stamp int64) *postgresStamps {
	return &postgresStamps{known: map[scope]int64{house: stamp}, touched: make(map[scope]bool)}
}

func (p *postgresStamps) stamp(t *tx, s scope) (edition, bool, error) {
	if s.flow() || p.touched[s] || (p.none && s != house) {
		return edition{}, false, nil
	}
	own, ok := p.known[s]
	if ok {
		return edition{own: own}, true, nil
	}
	stamps, _, err := p.read([]int64{int64(s)})
	if err != nil {
		return edition{}, false, t.fail(err)
	}
	p.known[s] = stamps[0]
	return edition{own: stamps[0]}, true, nil
}

func (p *postgresStamps) current(*tx, scope) bool { return true }

func (p *postgresStamps) touch(_ *tx, s scope) error {
	p.touched[s] = true
	return nil
}

func (p *postgresStamps) touchEverybody(*tx) error {
	p.none = true
	return nil
}

// errChanged ends a run of a function that reads: what it took from the cache was changed before it
// began to read the database.
var errChanged = errors.New("the cache was changed meanwhile")
