// Package user keeps people: what they are called, which groups they are in, whether they are
// locked.
//
// Names and aliases of a realm are one key space of canonical names, so that a name belongs to one
// person however it is spelled; what is counted is counted for that person's id. A name that
// belongs to nobody has an id too ([Service.Shadow]), derived and not stored, for which everything
// is counted in the same way.
//
// What changes a person takes the caller's transaction; whoever calls has decided that it may,
// records it, and cancels what has to end.
package user

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/plain"
	"github.com/nodauth/nod/internal/wire/username"
)

const idPrefix = "usr_"

// The bounds of what is kept of a person.
const (
	MaxAliases = 20
	MaxGroups  = 200

	maxDisplay  = 128 // characters
	maxGroup    = 128 // characters
	maxExternal = 255 // characters
)

// Config of the Service.
type Config struct {
	Ring *keys.Ring
}

// Service finds people by what they are called. It may be used by several goroutines.
type Service struct{ ring *keys.Ring }

// New makes a Service.
func New(c Config) (*Service, error) {
	if c.Ring == nil {
		return nil, errors.New("user: Config.Ring is required")
	}
	return &Service{ring: c.Ring}, nil
}

// Canonical gives the canonical form of a user name or alias, or Invalid naming the member field.
func Canonical(field, name string) (string, error) { return apply(username.AsIs, field, name) }

func apply(form username.Form, field, name string) (string, error) {
	canonical, err := username.Apply(form, name)
	if err != nil {
		return "", &mfa.Error{
			Code: mfa.Invalid, Reason: mfa.ReasonMalformed, Field: field, Err: err,
			Message: "The " + err.Error() + ".",
		}
	}
	return canonical, nil
}

// Names is what finding a person needs of a transaction.
type Names interface {
	UserByName(realm mfa.RealmID, canonical string) (store.User, error)
}

// Find finds the person whom an application of this username form calls name. Nobody is not an
// error: then found is false and the user has realm, shadow id and canonical name alone. It
// returns Invalid for a name that cannot be anybody's.
func (s *Service) Find(tx Names, realm mfa.RealmID, form, name string) (u store.User, canonical string, found bool, err error) {
	canonical, err = apply(username.Form(form), "user.name", name)
	if err != nil {
		return store.User{}, "", false, err
	}
	shadow := s.Shadow(realm, canonical) // derived for everybody, so that nobody takes no longer
	u, err = tx.UserByName(realm, canonical)
	if errors.Is(err, store.ErrNotFound) {
		return store.User{Realm: realm, ID: shadow, Name: canonical}, canonical, false, nil
	}
	if err != nil {
		return store.User{}, "", false, fmt.Errorf("find user by name: %w", err)
	}
	return u, canonical, true, nil
}

// Shadow gives the id under which things are counted for a canonical name that belongs to nobody.
// It looks like any other and is the same on every node and after every start.
func (s *Service) Shadow(realm mfa.RealmID, canonical string) mfa.UserID {
	return mfa.UserID(s.ring.DeriveID(idPrefix, "unknown user", keys.Encode(string(realm), canonical)))
}

// ValidID tells whether id has the form of a user's id. One that has may be nobody's.
func ValidID(id mfa.UserID) bool { return secret.IsID(idPrefix, string(id)) }

// Tx is what changing people needs of a transaction.
type Tx interface {
	Now() mfa.Instant
	store.Users
}

// Get returns a person, or NotFound.
func Get(tx interface {
	User(realm mfa.RealmID, id mfa.UserID) (store.User, error)
}, realm mfa.RealmID, id mfa.UserID,
) (store.User, error) {
	u, err := tx.User(realm, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.User{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.User{}, fmt.Errorf("read user %s: %w", id, err)
	}
	return u, nil
}

// Changes say what a person is to be like; a nil member stays as it is.
type Changes struct {
	Display    *string   // what people read instead of the name
	ExternalID *string   // the directory's id; unique in the realm; "" for none
	Groups     *[]string // exact names
	Aliases    *[]string // other names, in any spelling
	Password   *string   // hash in PHC form, as package factor makes it; "" for none
	State      *store.UserState
	Owner      *bool
}

// Create makes a person of this name. It returns Invalid, and Conflict with ReasonNameTaken where
// name, an alias or the external id belongs to somebody.
func Create(tx Tx, realm mfa.RealmID, name string, c Changes) (store.User, error) {
	canonical, err := Canonical("name", name)
	if err != nil {
		return store.User{}, err
	}
	u := store.User{
		Realm: realm, ID: mfa.UserID(secret.ID(idPrefix)), Name: canonical, Display: name,
		State: store.UserActive, CreatedAt: tx.Now(),
	}
	if err := c.apply(&u, tx.Now()); err != nil {
		return store.User{}, err
	}
	names := []store.UserName{{Realm: realm, Name: canonical, User: u.ID, Display: name}}
	if c.Aliases != nil {
		aliases, err := c.aliases(u)
		if err != nil {
			return store.User{}, err
		}
		names = append(names, aliases...)
	}
	if err := tx.InsertUser(u, names); errors.Is(err, store.ErrExists) {
		return store.User{}, errTaken("", "The name, an alias or the external id belongs to somebody already.")
	} else if err != nil {
		return store.User{}, fmt.Errorf("insert user: %w", err)
	}
	return Get(tx, realm, u.ID)
}

// Update changes a person and returns them as they are then. It returns NotFound, and what Create
// returns.
func Update(tx Tx, realm mfa.RealmID, id mfa.UserID, c Changes) (store.User, error) {
	u, err := Get(tx, realm, id)
	if err != nil {
		return store.User{}, err
	}
	if err := c.apply(&u, tx.Now()); err != nil {
		return store.User{}, err
	}
	if c.Aliases != nil {
		aliases, err := c.aliases(u)
		if err != nil {
			return store.User{}, err
		}
		if err := tx.SetAliases(realm, id, aliases); errors.Is(err, store.ErrExists) {
			return store.User{}, errTaken("aliases", "One of these aliases belongs to somebody already.")
		} else if err != nil {
			return store.User{}, fmt.Errorf("set aliases of %s: %w", id, err)
		}
	}
	if err := tx.PutUser(u); errors.Is(err, store.ErrExists) {
		return store.User{}, errTaken("external_id", "This external id belongs to somebody already.")
	} else if err != nil {
		return store.User{}, fmt.Errorf("change user %s: %w", id, err)
	}
	return Get(tx, realm, id)
}

// Called gives all that a person is called, which no password of theirs may be made of.
func Called(tx store.Users, u store.User) ([]string, error) {
	rows, err := tx.UserNames(u.Realm, u.ID)
	if err != nil {
		return nil, fmt.Errorf("read names of %s: %w", u.ID, err)
	}
	called := []string{u.Name, u.Display}
	for _, n := range rows {
		called = append(called, n.Name, n.Display)
	}
	slices.Sort(called)
	return slices.Compact(called), nil
}

func (c Changes) apply(u *store.User, now mfa.Instant) error {
	if c.Display != nil {
		if !plain.Name(*c.Display, maxDisplay) {
			return mfa.InvalidField("display", "A display name is 1 to %d characters on one line, without space around it.", maxDisplay)
		}
		u.Display = *c.Display
	}
	if c.ExternalID != nil {
		if *c.ExternalID != "" && !plain.Name(*c.ExternalID, maxExternal) {
			return mfa.InvalidField("external_id", "An external id is at most %d characters on one line, without space around it.", maxExternal)
		}
		u.ExternalID = *c.ExternalID
	}
	if c.Groups != nil {
		groups := slices.Compact(slices.Sorted(slices.Values(*c.Groups)))
		if len(groups) > MaxGroups || slices.ContainsFunc(groups, func(g string) bool { return !plain.Name(g, maxGroup) }) {
			return mfa.InvalidField("groups", "A person is in at most %d groups; a group's name is 1 to %d characters on one line.", MaxGroups, maxGroup)
		}
		u.Groups = groups
	}
	if c.Password != nil {
		u.Password, u.PasswordAt = *c.Password, now
	}
	if c.State != nil {
		if *c.State != store.UserActive && *c.State != store.UserLocked {
			return mfa.InvalidField("state", "A user is active or locked.")
		}
		u.State = *c.State
	}
	if c.Owner != nil {
		u.Owner = *c.Owner
	}
	return nil
}

// aliases gives the rows of the aliases asked for.
func (c Changes) aliases(u store.User) ([]store.UserName, error) {
	if len(*c.Aliases) > MaxAliases {
		return nil, mfa.InvalidField("aliases", "A person has at most %d aliases.", MaxAliases)
	}
	rows := make([]store.UserName, 0, len(*c.Aliases))
	for _, alias := range *c.Aliases {
		canonical, err := Canonical("aliases", alias)
		if err != nil {
			return nil, err
		}
		same := func(n store.UserName) bool { return n.Name == canonical }
		if canonical == u.Name || slices.ContainsFunc(rows, same) {
			return nil, mfa.InvalidField("aliases", "Two of the person's names are spellings of the same.")
		}
		rows = append(rows, store.UserName{Realm: u.Realm, Name: canonical, User: u.ID, Alias: true, Display: alias})
	}
	return rows, nil
}

func errTaken(field, message string) error {
	return &mfa.Error{Code: mfa.Conflict, Reason: mfa.ReasonNameTaken, Field: field, Message: message}
}
