package sqlstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

// Rows that every sign-in reads and that seldom change are kept in memory: the house (realms, keys,
// policies, applications, API keys) and what belongs to a person. Each such scope has a stamp that
// changes with every write to it. A kept row is good for a transaction only if the row's edition is
// the one that holds in that transaction, so it is never older than what the database would say:
//
//	SQLite      this process alone writes; stamps are counters in memory, odd from the first
//	            write of a scope until its commit is over, and good for nobody while they are odd
//	PostgreSQL  other nodes write too; stamps are rows that the writer changes in the same
//	            transaction, and the reader reads in its own
//
// That nothing is there is kept as well, so that a name which does not exist costs what another
// one costs.

// scope is a place of stamps: the house, a person, or the challenges of a person, the latter two by
// the hash of their identity.
type scope int

const (
	house  scope = 0
	people       = 1 << 10
	flows        = 1 << 14
	scopes       = 1 + people + flows
)

// person is the scope of what belongs to a person but its challenges. PostgreSQL hashes likewise.
func person(realm mfa.RealmID, user mfa.UserID) scope {
	h := sha256.Sum256([]byte(string(realm) + "/" + string(user)))
	return 1 + scope(binary.BigEndian.Uint16(h[:])%people)
}

// flow is the scope of a person's challenges as a set. They change with every step of a sign-in, so
// only SQLite keeps them.
func flow(realm mfa.RealmID, user mfa.UserID) scope {
	return 1 + people + scope(place(string(realm), string(user))%flows)
}

// one challenge has a scope of its own, for whose it is is not known before it is read.
func oneFlow(realm mfa.RealmID, id mfa.ChallengeID) scope {
	return 1 + people + scope(place(string(realm), string(id))%flows)
}

func (s scope) flow() bool { return s > people }

// kinds is a set of kinds of scopes.
type kinds uint8

const (
	houseKind kinds = 1 << iota
	personKind
	flowKind
)

func (s scope) kind() kinds {
	switch {
	case s == house:
		return houseKind
	case s.flow():
		return flowKind
	}
	return personKind
}

// place is a hash. Who makes many people share a place gains nothing.
func place(realm, id string) uint32 {
	h := uint32(2166136261)
	for _, s := range []string{realm, "/", id} {
		for i := range len(s) {
			h = (h ^ uint32(s[i])) * 16777619
		}
	}
	return h
}

// edition is what a scope had when a row was read. Everybody changes with writes that concern all
// people at once.
type edition struct{ own, everybody int64 }

// keeper knows the stamps that hold in one transaction.
type keeper interface {
	// stamp returns false if nothing of the scope may be taken from the cache.
	stamp(t *tx, s scope) (edition, bool, error)
	// current returns false if what the transaction reads of the scope may be older than its stamp.
	current(t *tx, s scope) bool
	// touch changes the stamp of a scope, before the scope is written.
	touch(t *tx, s scope) error
	// touchEverybody does so for all people.
	touchEverybody(t *tx) error
}

// cached is a row, or several, or the fact that there is none.
type cached struct {
	edition edition
	value   any
	err     error
}

// cacheKey names a query with its arguments.
type cacheKey struct{ query, a, b, c string }

// cacheShare is how many entries each half of a shard holds; the older half is forgotten when the
// younger is full. flowShare is that of challenges: they are large, and new with every sign-in, and
// would drive out everything else.
const (
	cacheShards = 16
	cacheShare  = 4096
	flowShare   = 512
	// longestName is how many bytes the arguments of a query may have for its rows to be kept: who asks
	// for what does not exist chooses them.
	longestName = 1024
)

// cache holds rows with the stamps under which they were read. It is safe for concurrent use.
type cache struct {
	seed        maphash.Seed
	rows, flows [cacheShards]cacheShard
}

type cacheShard struct {
	mu         sync.Mutex
	young, old map[cacheKey]cached
}

func newCache() *cache { return &cache{seed: maphash.MakeSeed()} }

// shard gives where a row of the scope is kept, and how many are there.
func (c *cache) shard(s scope, k cacheKey) (h *cacheShard, share int) {
	i := maphash.Comparable(c.seed, k) % cacheShards
	if s.flow() {
		return &c.flows[i], flowShare
	}
	return &c.rows[i], cacheShare
}

func (c *cache) get(s scope, k cacheKey, at edition) (cached, bool) {
	h, share := c.shard(s, k)
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.young[k]
	if !ok {
		if v, ok = h.old[k]; ok && v.edition == at {
			h.keep(k, v, share)
		}
	}
	return v, ok && v.edition == at
}

func (c *cache) put(s scope, k cacheKey, v cached) {
	h, share := c.shard(s, k)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.keep(k, v, share)
}

func (h *cacheShard) keep(k cacheKey, v cached, share int) {
	if len(h.young) >= share || h.young == nil {
		h.young, h.old = make(map[cacheKey]cached), h.young
	}
	h.young[k] = v
}

// keptOne is one with the cache in front: the row belongs to the scope, and changes only with it.
// Callers must not change what slices of the row hold.
func keptOne[T any](t *tx, s scope, k cacheKey, read func() (T, error)) (T, error) {
	if t.keeper == nil || len(k.a)+len(k.b)+len(k.c) > longestName {
		return read()
	}
	if err := t.ready(); err != nil {
		var none T
		return none, err
	}
	at, ok, err := t.keeper.stamp(t, s)
	if err != nil {
		var none T
		return none, err
	}
	if !ok {
		return read()
	}
	if hit, ok := t.cache.get(s, k, at); ok {
		v, _ := hit.value.(T)
		return v, hit.err
	}
	v, err := read()
	if (err == nil || errors.Is(err, store.ErrNotFound)) && t.keeper.current(t, s) {
		t.cache.put(s, k, cached{edition: at, value: v, err: err})
	}
	return v, err
}

// keptList is list with the cache in front, likewise. The slice itself is the caller's.
func keptList[T any](t *tx, s scope, k cacheKey, read func() ([]T, error)) ([]T, error) {
	rows, err := keptOne(t, s, k, read)
	return slices.Clone(rows), err
}

// touch has the cache forget the scope.
func (t *tx) touch(s scope) error {
	if t.keeper == nil || t.viewing {
		return nil
	}
	if err := t.ready(); err != nil {
		return err
	}
	t.touched |= s.kind()
	return t.fail(t.keeper.touch(t, s))
}

func (t *tx) touchPerson(realm mfa.RealmID, user mfa.UserID) error {
	return t.touch(person(realm, user))
}

// touchOwner runs a statement that writes a row and returns whose it is.
func (t *tx) touchOwner(realm mfa.RealmID, text string, args ...any) error {
	user, err := one(t, itself[mfa.UserID], text, args...)
	if err != nil {
		return err
	}
	return t.touchPerson(realm, user)
}

// touchOwners runs a statement that writes rows and returns whose they are.
func (t *tx) touchOwners(text string, args ...any) error {
	type owner struct {
		realm mfa.RealmID
		user  mfa.UserID
	}
	owners, err := list(t, func(o *owner) []any { return []any{&o.realm, &o.user} }, text, args...)
	if err != nil {
		return err
	}
	for _, o := range owners {
		if err := t.touchPerson(o.realm, o.user); err != nil {
			return err
		}
	}
	return nil
}

// touchEverybody has the cache forget all people.
func (t *tx) touchEverybody() error {
	if t.keeper == nil || t.viewing {
		return nil
	}
	if err := t.ready(); err != nil {
		return err
	}
	t.touched |= personKind | flowKind
	return t.fail(t.keeper.touchEverybody(t))
}

// keptTables are those whose rows may be in the cache, with the kind of the scope that they are kept
// under.
var keptTables = map[string]kinds{
	"realms": houseKind, "realm_keys": houseKind, "key_sets": houseKind, "policies": houseKind,
	"applications": houseKind, "api_keys": houseKind,
	"users": personKind, "user_names": personKind, "devices": personKind, "totps": personKind,
	"backup_sets": personKind, "backup_codes": personKind, "bypass_codes": personKind,
	"notices": personKind, "waits": personKind, "sources": personKind, "browsers": personKind,
	"challenges": flowKind,
}

// untold is an error if the cache was not told of a write to rows that it may hold.
func (t *tx) untold(text string) error {
	if need := keptTables[tableOf(text)]; need == 0 || t.keeper == nil || t.touched&need != 0 {
		return nil
	}
	return fmt.Errorf("the cache was not told of a write to %s: call touchPerson, touchChallenge or touch(house)", tableOf(text))
}

// tableOf is the table that a statement writes, in the form in which they are written here.
func tableOf(text string) string {
	for _, verb := range []string{"INSERT INTO ", "UPDATE ", "DELETE FROM "} {
		if rest, ok := strings.CutPrefix(text, verb); ok {
			if end := strings.IndexAny(rest, " \n\t("); end > 0 {
				return rest[:end]
			}
		}
	}
	return ""
}
