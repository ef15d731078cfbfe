// Package year fills databases with the sign-ins of years, as the product writes them: it looks at
// every row that one real sign-in left, and writes those again and again for other people and
// other times, with ids of their own. What is sealed or signed keeps its size and means nothing.
package year

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	challenges = "challenges" // the table of sign-ins themselves
	// batch is how many sign-ins are written at a time.
	batch = 10_000
	// indexes is the share that indexes and sorting them take besides.
	indexes = .6
)

// Plan says what is written.
type Plan struct {
	N    int                   // sign-ins
	Over time.Duration         // the time until now that they are spread over
	Keep time.Duration         // how long challenges are kept; what else a sign-in leaves stays for good
	Name string                // the user of the one sign-in to copy, who has had no other
	Free func() (int64, error) // bytes that the disk has left
	Say  func(format string, args ...any)
}

// Database is one to fill, while no server uses it.
type Database interface {
	// tables gives the tables whose rows name a challenge.
	tables(ctx context.Context) ([]string, error)
	// people gives user id, user name and device id of everybody with an active device.
	people(ctx context.Context) ([]person, error)
	// challenge gives the id of the user's only challenge.
	challenge(ctx context.Context, user string) (string, error)
	// rows gives all columns of the rows with a text in one.
	rows(ctx context.Context, table, column, value string) (columns []string, rows [][]any, err error)
	// write adds n rows, which row gives.
	write(ctx context.Context, table string, columns []string, n int, row func(int) []any) error
	// begin prepares for rows in bulk, finish makes the database what it would be if they had come
	// one after the other.
	begin(ctx context.Context, tables []string) error
	finish(ctx context.Context) error
	// size is what the database takes of the disk.
	size(ctx context.Context) (int64, error)
}

type person struct{ id, name, device string }

// Fill writes the sign-ins.
func Fill(ctx context.Context, db Database, p Plan) error {
	g, err := learn(ctx, db, p)
	if err != nil {
		return err
	}
	tables := make([]string, 0, len(g.copies))
	for _, c := range g.copies {
		tables = append(tables, c.table)
		p.Say("a sign-in leaves %d rows in %s", len(c.rows), c.table)
	}
	if err := db.begin(ctx, tables); err != nil {
		return err
	}
	before, err := db.size(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	for at := 0; at < p.N; at += batch {
		n := min(batch, p.N-at)
		for _, c := range g.copies {
			if c.table == challenges && g.before(at+n) > p.Keep {
				continue
			}
			err := db.write(ctx, c.table, c.columns, n*len(c.rows), func(i int) []any {
				return g.row(c, at+i/len(c.rows), i%len(c.rows))
			})
			if err != nil {
				return fmt.Errorf("write %s: %w", c.table, err)
			}
		}
		if err := g.check(ctx, db, before, at+n, start); err != nil {
			return err
		}
	}
	p.Say("indexes")
	return db.finish(ctx)
}

// check tells how far it is, and stops before the disk is full.
func (g *generator) check(ctx context.Context, db Database, before int64, done int, start time.Time) error {
	if done%(50*batch) != 0 && done != batch && done != g.plan.N {
		return nil
	}
	size, err := db.size(ctx)
	if err != nil {
		return err
	}
	each := float64(size-before) / float64(done)
	need := int64(each * (float64(g.plan.N-done) + indexes*float64(g.plan.N)))
	g.plan.Say("%d sign-ins in %v, %.0f bytes each before indexes", done, time.Since(start).Round(time.Second), each)
	free, err := g.plan.Free()
	if err == nil && need > free {
		return fmt.Errorf("the disk has %d MiB left, and the sign-ins that are missing need some %d with their indexes", free>>20, need>>20)
	}
	return err
}

// generator makes rows.
type generator struct {
	plan   Plan
	people []person
	from   person // whose sign-in is copied
	id     string // of its challenge
	prefix string // of ids of challenges
	copies []copied
	ago    time.Duration // between two sign-ins
}

// copied is what one sign-in left in one table.
type copied struct {
	table   string
	columns []string
	rows    [][]any
}

func learn(ctx context.Context, db Database, p Plan) (*generator, error) {
	g := &generator{plan: p, ago: p.Over / time.Duration(p.N)}
	var err error
	if g.people, err = db.people(ctx); err != nil {
		return nil, fmt.Errorf("read people: %w", err)
	}
	for _, x := range g.people {
		if x.name == p.Name {
			g.from = x
		}
	}
	if g.from.id == "" {
		return nil, fmt.Errorf("there is no user %s with a device", p.Name)
	}
	if g.id, err = db.challenge(ctx, g.from.id); err != nil {
		return nil, fmt.Errorf("find the sign-in to copy: %w", err)
	}
	g.prefix, _, _ = strings.Cut(g.id, "_")
	tables, err := db.tables(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range append([]string{challenges}, tables...) {
		column := "challenge_id"
		if t == challenges {
			column = "id"
		}
		columns, rows, err := db.rows(ctx, t, column, g.id)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", t, err)
		}
		if len(rows) > 0 {
			g.copies = append(g.copies, copied{t, columns, rows})
		}
	}
	if len(g.copies) == 0 {
		return nil, errors.New("the sign-in to copy has left nothing")
	}
	return g, nil
}

// before is how long before now sign-in n was.
func (g *generator) before(n int) time.Duration { return g.plan.Over - time.Duration(n)*g.ago }

// row is row r of sign-in n.
func (g *generator) row(c copied, n, r int) []any {
	who := g.people[int(mix(uint64(n))%uint64(len(g.people)))] //nolint:gosec // neither is negative
	shift := -g.before(n).Microseconds()
	out := make([]any, len(c.columns))
	for i, v := range c.rows[r] {
		switch x := v.(type) {
		case int64:
			if x > 1e15 { // a time
				v = x + shift
			}
		case string:
			switch {
			case x == g.id:
				v = g.prefix + "_" + id(n, 0)
			case x == g.from.id:
				v = who.id
			case x == g.from.device:
				v = who.device
			case x == g.from.name:
				v = who.name
			case c.columns[i] == "id":
				kind, _, _ := strings.Cut(x, "_")
				v = kind + "_" + id(n, r+1)
			}
		}
		out[i] = v
	}
	return out
}

// id is the part of an id after its prefix: the same for the same numbers, and else as good as random.
func id(n, r int) string {
	var b [16]byte
	at := uint64(n)<<8 + uint64(r) //nolint:gosec // neither is negative
	binary.LittleEndian.PutUint64(b[:], mix(at))
	binary.LittleEndian.PutUint64(b[8:], mix(^at))
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// mix is SplitMix64: all its values differ, and look random.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
