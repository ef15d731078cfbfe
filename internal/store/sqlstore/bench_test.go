package sqlstore_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/pgtest"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/store/sqlstore"
)

// BenchmarkUpdate is a decision: read a challenge, change it, write an event. Every caller has a
// challenge of its own.
func BenchmarkUpdate(b *testing.B) {
	for name, dsn := range map[string]func(b *testing.B) string{
		"sqlite":   func(b *testing.B) string { return filepath.Join(b.TempDir(), "nod.db") },
		"postgres": func(b *testing.B) string { return pgtest.Database(b) },
	} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, callers), func(b *testing.B) {
				s, err := sqlstore.Open(b.Context(), sqlstore.Config{DSN: dsn(b)})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = s.Close() })
				var next atomic.Int64
				b.SetParallelism(callers)
				b.RunParallel(func(p *testing.PB) {
					n := next.Add(1)
					if n > int64(callers) {
						return
					}
					c := store.Challenge{Realm: "r", Challenge: mfa.Challenge{
						ID: mfa.ChallengeID(fmt.Sprint("ch_", n)), User: mfa.UserID(fmt.Sprint("usr_", n)), Kind: mfa.Login,
						State: mfa.Pending, Provenance: mfa.Strangers, FirstFactor: mfa.FirstFactorNone,
					}}
					if err := s.Update(b.Context(), func(tx store.Tx) error { return tx.InsertChallenge(c) }); err != nil {
						b.Error(err)
					}
					for i := 0; p.Next(); i++ {
						err := s.Update(b.Context(), func(tx store.Tx) error {
							c, err := tx.Challenge("r", c.ID)
							if err != nil {
								return err
							}
							if err := tx.PutChallenge(c); err != nil {
								return err
							}
							return tx.InsertEvent(store.Event{
								Realm: "r", ID: mfa.EventID(fmt.Sprint(n, "-", i)), At: tx.Now(), Kind: "bench", User: c.User,
								Challenge: c.ID, Actor: mfa.ActorServer,
							})
						})
						if err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}
