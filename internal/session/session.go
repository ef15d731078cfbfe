// Package session keeps what outlasts one sign-in: the browsers that a person asked to remember.
// A known browser is a key pair that never leaves the browser. It proves itself at every sign-in
// with a proof that is good once and for two minutes; it becomes known only when the person says
// so in the approving decision.
package session

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// Limits of known browsers.
const (
	BrowserLife = 7 * 24 * time.Hour
	MaxBrowsers = 10
	ProofLife   = 120 * time.Second
)

// Writer is what this package needs of a transaction.
type Writer interface {
	Now() mfa.Instant
	store.Browsers
}

// Prove keeps a proof for a browser whose signature was checked, and gives it. It does the same
// for every name, known or not.
func Prove(tx Writer, realm mfa.RealmID, name, thumbprint string, jwk []byte) (proof string, err error) {
	proof = secret.Base64(24)
	p := store.Proof{
		Realm: realm, Hash: hash(proof), Name: name, Thumbprint: thumbprint, JWK: jwk,
		ExpiresAt: tx.Now().Add(ProofLife),
	}
	if err := tx.InsertProof(p); err != nil {
		return "", fmt.Errorf("write browser proof: %w", err)
	}
	return proof, nil
}

// Consume uses a proof up and gives the browser that it proves, for the user with one of these
// canonical names only. A proof that is unknown, used, late or for somebody else proves nothing: ok is false
// and the browser is a stranger.
func Consume(tx Writer, realm mfa.RealmID, proof string, names []string) (p store.Proof, ok bool, err error) {
	p, err = tx.ConsumeProof(realm, hash(proof))
	if errors.Is(err, store.ErrUsed) {
		return store.Proof{}, false, nil
	}
	if err != nil {
		return store.Proof{}, false, fmt.Errorf("use browser proof: %w", err)
	}
	now := tx.Now()
	if !slices.Contains(names, p.Name) || now >= p.ExpiresAt || now < p.ExpiresAt.Add(-ProofLife-mfa.ClockSlack) {
		return store.Proof{}, false, nil
	}
	return p, true, nil
}

func hash(proof string) []byte {
	sum := sha256.Sum256([]byte(proof))
	return sum[:]
}

// Remember makes the browser known, or known for longer. When there are too many, one that is known
// no longer gives way, or else the one that was not seen for longest; it is returned.
func Remember(tx Writer, realm mfa.RealmID, user mfa.UserID, thumbprint string, jwk []byte, name string) (forgotten string, err error) {
	list, err := tx.ListBrowsers(realm, user)
	if err != nil {
		return "", fmt.Errorf("list browsers: %w", err)
	}
	now := tx.Now()
	b := store.Browser{Realm: realm, User: user, Thumbprint: thumbprint, JWK: jwk, Name: name, CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(BrowserLife)}
	if i := slices.IndexFunc(list, func(k store.Browser) bool { return k.Thumbprint == thumbprint }); i >= 0 {
		b.CreatedAt = list[i].CreatedAt
		list = slices.Delete(list, i, i+1)
	}
	if len(list) >= MaxBrowsers {
		over := slices.IndexFunc(list, func(k store.Browser) bool { return now >= k.ExpiresAt })
		forgotten = list[max(over, 0)].Thumbprint // the list begins with the one not seen for longest
		if err := tx.DeleteBrowser(realm, user, forgotten); err != nil {
			return "", fmt.Errorf("forget browser: %w", err)
		}
	}
	if err := tx.PutBrowser(b); err != nil {
		return "", fmt.Errorf("remember browser: %w", err)
	}
	return forgotten, nil
}

// Seen notes that a known browser signed in; it does not make it known for longer.
func Seen(tx Writer, realm mfa.RealmID, user mfa.UserID, thumbprint string) error {
	b, err := tx.Browser(realm, user, thumbprint)
	if err != nil {
		return fmt.Errorf("read browser: %w", err)
	}
	b.SeenAt = tx.Now()
	if err := tx.PutBrowser(b); err != nil {
		return fmt.Errorf("note browser: %w", err)
	}
	return nil
}
