package sqlstore

import (
	"slices"
	"sync/atomic"
)

// marks are the stamps of a SQLite database. Only the writer changes them; they are read by all.
type marks struct {
	own       [scopes]mark
	everybody mark
	epoch     atomic.Int64 // counts changes of all of them

	writing []*mark // the writer's: those that its open transaction made odd
}

// mark is a stamp and the epoch in which it was changed last.
type mark struct{ stamp, epoch atomic.Int64 }

// touch makes a stamp odd until the transaction is over.
func (m *marks) touch(a *mark) {
	if a.stamp.Load()%2 == 0 {
		a.epoch.Store(m.epoch.Add(1))
		a.stamp.Add(1)
		m.writing = append(m.writing, a)
	}
}

// over ends the writer's transaction, whether it was committed or not.
func (m *marks) over() {
	epoch := m.epoch.Add(1)
	for _, a := range m.writing {
		a.epoch.Store(epoch) // who began to read before the commit must not take what comes after it
		a.stamp.Add(1)
	}
	m.writing = m.writing[:0]
}

func (m *marks) read(s scope) edition {
	return edition{own: m.own[s].stamp.Load(), everybody: m.everybody.stamp.Load()}
}

func (s edition) even() bool { return s.own%2 == 0 && s.everybody%2 == 0 }

// sqliteWriting is the keeper of a writing transaction: what it reads is what is committed, and
// what it has written itself, of which the stamps are odd.
type sqliteWriting struct{ *marks }

func (w sqliteWriting) stamp(_ *tx, s scope) (edition, bool, error) {
	at := w.read(s)
	return at, at.even(), nil
}

func (sqliteWriting) current(*tx, scope) bool { return true }

func (w sqliteWriting) touch(_ *tx, s scope) error {
	w.marks.touch(&w.own[s])
	return nil
}

func (w sqliteWriting) touchEverybody(*tx) error {
	w.marks.touch(&w.everybody)
	return nil
}

// sqliteViewing is the keeper of a reading transaction. It notes which stamps were relied upon.
type sqliteViewing struct {
	marks *marks
	begun bool  // to read the database
	epoch int64 // before that
	used  []usedStamp
}

type usedStamp struct {
	scope scope
	at    edition
}

func (v *sqliteViewing) stamp(_ *tx, s scope) (edition, bool, error) {
	at := v.marks.read(s)
	if !at.even() || !v.current(nil, s) {
		return at, false, nil
	}
	v.used = append(v.used, usedStamp{s, at})
	return at, true, nil
}

// current is whether the scope was not touched since the transaction began to read the database: else
// what it reads may be older than the cache.
func (v *sqliteViewing) current(_ *tx, s scope) bool {
	return !v.begun || max(v.marks.own[s].epoch.Load(), v.marks.everybody.epoch.Load()) <= v.epoch
}

func (v *sqliteViewing) touch(*tx, scope) error { return errViewing }

func (v *sqliteViewing) touchEverybody(*tx) error { return errViewing }

// consistent is whether everything that came from the cache is still good: then it belongs to the
// state that was read from the database.
func (v *sqliteViewing) consistent() bool {
	return !slices.ContainsFunc(v.used, func(u usedStamp) bool { return v.marks.read(u.scope) != u.at })
}
