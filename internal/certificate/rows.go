package certificate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/store"
)

// answerLife is how long the answer to a challenge is kept if nobody deletes it.
const answerLife = time.Hour

// accountKey is the name under which autocert keeps the key of the account.
const accountKey = "acme_account+key"

// httpSuffix ends the names of answers to HTTP-01 challenges.
const httpSuffix = "+http-01"

// rows keeps for autocert what it makes, sealed, where every node finds it. It implements
// [autocert.Cache].
type rows struct {
	c      IssuedConfig
	orders *orders
	take   func(host string, cert *tls.Certificate) // is told of every certificate that comes by
}

// place is where a row's content is sealed for. It belongs to no realm.
func place(name string) keys.AAD {
	return keys.AAD{Realm: "*", Table: "certificates", Row: name, Column: "sealed"}
}

// Get implements [autocert.Cache].
func (r *rows) Get(ctx context.Context, name string) ([]byte, error) {
	var row store.Certificate
	err := r.c.Store.View(ctx, func(tx store.Tx) (err error) {
		row, err = tx.Certificate(name)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, autocert.ErrCacheMiss
	}
	if err != nil && strings.HasSuffix(name, httpSuffix) {
		r.c.Logger.WarnContext(ctx, "answer to a challenge not read", slog.Any("error", err))
		return nil, autocert.ErrCacheMiss // which autocert shows to whoever asks
	}
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	plain, err := r.c.Ring.Open(row.Sealed, place(name))
	if err != nil {
		return nil, fmt.Errorf("open certificate %s: %w", name, err)
	}
	r.seen(name, plain)
	return plain, nil
}

// seen passes on what is a host's certificate.
func (r *rows) seen(name string, text []byte) {
	if strings.Contains(name, "+") {
		return
	}
	if cert, err := tls.X509KeyPair(text, text); err == nil {
		r.take(name, &cert)
	}
}

// Put implements [autocert.Cache]. Of several nodes that make an account at once one is first, and
// the others begin again with its key. A host's certificate ends its order in the same
// transaction.
func (r *rows) Put(ctx context.Context, name string, data []byte) error {
	sealed, err := r.c.Ring.Seal(data, place(name))
	if err != nil {
		return err
	}
	host := !strings.Contains(name, "+")
	err = r.c.Store.Update(ctx, func(tx store.Tx) error {
		row := store.Certificate{Name: name, Sealed: sealed, ChangedAt: tx.Now()}
		if name == accountKey {
			return tx.InsertCertificate(row)
		}
		if !host {
			row.ExpiresAt = tx.Now().Add(answerLife)
			return tx.PutCertificate(row)
		}
		if err := tx.EndCertificateOrder(name); err != nil {
			return err
		}
		return tx.PutCertificate(row)
	})
	if err != nil {
		return fmt.Errorf("keep certificate %s: %w", name, err)
	}
	if host {
		r.orders.succeeded(name)
		r.seen(name, data)
	}
	return nil
}

// Delete implements [autocert.Cache].
func (r *rows) Delete(ctx context.Context, name string) error {
	err := r.c.Store.Update(ctx, func(tx store.Tx) error { return tx.DeleteCertificate(name) })
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
