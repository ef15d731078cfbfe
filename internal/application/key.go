package application

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// Scope is what an API key is good for.
type Scope string

// The scopes.
const (
	Authenticate      Scope = "authenticate"        // challenges of its own
	AssertFirstFactor Scope = "assert_first_factor" // and say that it checked a first factor
	Administer        Scope = "administer"          // everything else of its realm
)

// Scopes returns every scope.
func Scopes() []Scope { return []Scope{Authenticate, AssertFirstFactor, Administer} }

const (
	// MaxKeys is how many keys of an application are live.
	MaxKeys = 2
	// DefaultGrace is how long a replaced key goes on working.
	DefaultGrace = 24 * time.Hour
	// MaxGrace is the longest that it may.
	MaxGrace = 7 * 24 * time.Hour

	keyPrefix = "nod_sk_"
	keyBits   = 160
	keyChars  = keyBits / 5
)

// NewKey makes an API key with these scopes, for life or for ever if that is zero. The key is
// shown once and kept nowhere. It returns NotFound, Invalid for no or unknown scopes, and Conflict
// with ReasonLimit when two are live.
func NewKey(tx Tx, realm mfa.RealmID, app mfa.ApplicationID, scopes []Scope, life time.Duration) (store.APIKey, secret.Value, error) {
	names, err := checkScopes(scopes)
	if err != nil {
		return store.APIKey{}, secret.Value{}, err
	}
	if life < 0 {
		return store.APIKey{}, secret.Value{}, mfa.InvalidField("expires_in", "A key cannot have expired before it is made.")
	}
	if _, err := Get(tx, realm, app); err != nil {
		return store.APIKey{}, secret.Value{}, err
	}
	all, err := tx.APIKeys(realm, app)
	if err != nil {
		return store.APIKey{}, secret.Value{}, fmt.Errorf("list keys of %s: %w", app, err)
	}
	live := 0
	for _, k := range all {
		if Live(k, tx.Now()) {
			live++
		}
	}
	if live >= MaxKeys {
		return store.APIKey{}, secret.Value{}, mfa.Errorf(mfa.Conflict, mfa.ReasonLimit,
			"The application has %d live keys, which is the most. Revoke one first.", live)
	}
	return makeKey(tx, store.APIKey{Realm: realm, Application: app, Scopes: names}, life)
}

// NewSecret makes the text of a key for [FirstKey].
func NewSecret() secret.Value { return secret.New(secret.Token(keyPrefix, keyBits)) }

// FirstKey makes the key of an application that has none out of a text from [NewSecret], which
// somebody keeps already, for ever. It returns Invalid for no or unknown scopes and for another
// text.
func FirstKey(tx Tx, realm mfa.RealmID, app mfa.ApplicationID, scopes []Scope, text secret.Value) (store.APIKey, error) {
	names, err := checkScopes(scopes)
	if err != nil {
		return store.APIKey{}, err
	}
	if !wellFormed(text.Reveal()) {
		return store.APIKey{}, mfa.InvalidField("key", "This is not an API key.")
	}
	return insertKey(tx, store.APIKey{Realm: realm, Application: app, Scopes: names}, 0, text)
}

func makeKey(tx Tx, k store.APIKey, life time.Duration) (store.APIKey, secret.Value, error) {
	text := NewSecret()
	k, err := insertKey(tx, k, life, text)
	if err != nil {
		return store.APIKey{}, secret.Value{}, err
	}
	return k, text, nil
}

func insertKey(tx Tx, k store.APIKey, life time.Duration, text secret.Value) (store.APIKey, error) {
	k.ID, k.Hash, k.CreatedAt = secret.ID("key_"), hashOf(text.Reveal()), tx.Now()
	if life > 0 {
		k.ExpiresAt = tx.Now().Add(life)
	}
	if err := tx.InsertAPIKey(k); err != nil {
		return store.APIKey{}, fmt.Errorf("insert key of %s: %w", k.Application, err)
	}
	return k, nil
}

func checkScopes(scopes []Scope) ([]string, error) {
	var names []string
	for _, s := range Scopes() {
		if slices.Contains(scopes, s) {
			names = append(names, string(s))
		}
	}
	if len(names) == 0 || len(names) != len(scopes) {
		return nil, mfa.InvalidField("scopes", "Name one or more of authenticate, assert_first_factor and administer, each once.")
	}
	return names, nil
}

// RotateKey makes a key like the one named, which goes on working for grace, at most seven days.
// It returns NotFound, Invalid, and Conflict for a key that is not live or, with ReasonLimit, when
// the application has another live one besides.
func RotateKey(tx Tx, realm mfa.RealmID, app mfa.ApplicationID, id string, grace time.Duration) (store.APIKey, secret.Value, error) {
	fail := func(err error) (store.APIKey, secret.Value, error) { return store.APIKey{}, secret.Value{}, err }
	if grace < 0 || grace > MaxGrace {
		return fail(mfa.InvalidField("grace", "A replaced key goes on working for at most seven days."))
	}
	old, others, err := findKey(tx, realm, app, id)
	switch {
	case err != nil:
		return fail(err)
	case !Live(old, tx.Now()):
		return fail(mfa.Errorf(mfa.Conflict, "", "This key is not live any more. Make a new one."))
	case grace > 0 && others+1 >= MaxKeys:
		return fail(mfa.Errorf(mfa.Conflict, mfa.ReasonLimit, "The application has another live key. Revoke one first, or replace this one without grace."))
	}
	var life time.Duration
	if old.ExpiresAt != 0 {
		life = old.ExpiresAt.Sub(old.CreatedAt)
	}
	if grace == 0 {
		old.RevokedAt = tx.Now()
	} else if end := tx.Now().Add(grace); old.ExpiresAt == 0 || end < old.ExpiresAt {
		old.ExpiresAt = end
	}
	if err := tx.PutAPIKey(old); err != nil {
		return fail(fmt.Errorf("end key %s: %w", id, err))
	}
	return makeKey(tx, store.APIKey{Realm: realm, Application: app, Scopes: old.Scopes}, life)
}

// RevokeKey ends a key at once. It returns NotFound. That the key was not live is no error.
func RevokeKey(tx Tx, realm mfa.RealmID, app mfa.ApplicationID, id string) (store.APIKey, error) {
	k, _, err := findKey(tx, realm, app, id)
	if err != nil || !Live(k, tx.Now()) {
		return k, err
	}
	k.RevokedAt = tx.Now()
	if err := tx.PutAPIKey(k); err != nil {
		return store.APIKey{}, fmt.Errorf("revoke key %s: %w", id, err)
	}
	return k, nil
}

// findKey gives a key of the application and the number of its other live ones.
func findKey(tx Tx, realm mfa.RealmID, app mfa.ApplicationID, id string) (found store.APIKey, others int, err error) {
	all, err := tx.APIKeys(realm, app)
	if err != nil {
		return store.APIKey{}, 0, fmt.Errorf("list keys of %s: %w", app, err)
	}
	for _, k := range all {
		if k.ID == id {
			found = k
		} else if Live(k, tx.Now()) {
			others++
		}
	}
	if found.ID == "" {
		return store.APIKey{}, 0, mfa.ErrNotFound()
	}
	return found, others, nil
}

// Live tells whether the key works at now.
func Live(k store.APIKey, now mfa.Instant) bool {
	return k.RevokedAt == 0 && (k.ExpiresAt == 0 || now < k.ExpiresAt)
}

// Caller is who sends a request, as its credential says.
type Caller struct {
	Realm       mfa.RealmID
	Application store.Application
	KeyID       string
	Scopes      []Scope
}

// Has tells whether the caller's credential has a scope.
func (c Caller) Has(s Scope) bool { return slices.Contains(c.Scopes, s) }

// Require returns Forbidden with ReasonScope unless the caller's credential has the scope.
func (c Caller) Require(s Scope) error {
	if c.Has(s) {
		return nil
	}
	return mfa.Errorf(mfa.Forbidden, mfa.ReasonScope, "This key has not the scope %q.", s)
}

// Config of the Service.
type Config struct {
	Store store.Store
}

// Service tells who sends a request. It may be used by several goroutines.
type Service struct{ store store.Store }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Store == nil {
		return nil, errors.New("application: Config.Store is required")
	}
	return &Service{store: c.Store}, nil
}

// Authenticate gives the caller whose API key this is; the key names its realm. It returns
// Unauthenticated for a key that is malformed, unknown, expired, revoked or of a disabled realm,
// alike, and Forbidden with ReasonApplicationOff for that of a disabled application.
func (s *Service) Authenticate(ctx context.Context, key string) (Caller, error) {
	if !wellFormed(key) {
		return Caller{}, ErrKey()
	}
	var caller Caller
	err := s.store.View(ctx, func(tx store.Tx) error {
		var err error
		caller, err = authenticate(tx, key)
		return err
	})
	if err != nil {
		return Caller{}, err
	}
	return caller, nil
}

func authenticate(tx Tx, key string) (Caller, error) {
	k, err := tx.APIKeyByHash(hashOf(key))
	if errors.Is(err, store.ErrNotFound) {
		return Caller{}, ErrKey()
	}
	if err != nil {
		return Caller{}, fmt.Errorf("look up key: %w", err)
	}
	if !Live(k, tx.Now()) {
		return Caller{}, ErrKey()
	}
	app, err := tx.Application(k.Realm, k.Application)
	if err != nil {
		return Caller{}, fmt.Errorf("read application %s: %w", k.Application, err)
	}
	if app.RealmDisabledAt != 0 {
		return Caller{}, ErrKey()
	}
	if app.DisabledAt != 0 {
		return Caller{}, mfa.Errorf(mfa.Forbidden, mfa.ReasonApplicationOff, "This application is disabled.")
	}
	c := Caller{Realm: k.Realm, Application: app, KeyID: k.ID}
	for _, s := range k.Scopes {
		c.Scopes = append(c.Scopes, Scope(s))
	}
	return c, nil
}

// ErrKey is the answer to every API key that is good for nothing: missing, malformed, unknown,
// expired, revoked, of a disabled realm, or used where its realm is not served.
func ErrKey() error {
	return mfa.Errorf(mfa.Unauthenticated, "", "The API key is missing, wrong, expired or revoked.")
}

// wellFormed refuses what NewKey never made: shorter, longer, other characters.
func wellFormed(key string) bool {
	random, ok := strings.CutPrefix(key, keyPrefix)
	return ok && len(random) == keyChars && !strings.ContainsFunc(random, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '2' || r > '7')
	})
}

// hashOf is what is kept of a key. A random text of 160 bits needs no slow hash.
func hashOf(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}
