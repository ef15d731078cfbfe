// Package application keeps relying parties and their credentials, and tells who sends a request.
//
// An application authenticates with an API key: a random text of 160 bits of which only the
// SHA-256 is kept. At most two keys of an application are live, so that one can be replaced while
// the other works.
//
// What changes an application takes the caller's transaction; whoever calls has decided that it
// may, and records it.
package application

import (
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/internal/wire/plain"
	"github.com/nodauth/nod/internal/wire/username"
)

// maxName is how many characters a name has at most.
const maxName = 64

// Tx is what applications need of a transaction.
type Tx interface {
	Now() mfa.Instant
	store.Applications
}

// Changes say what an application is to be like; a nil member stays as it is.
type Changes struct {
	Name         *string // shown on prompts; unique in the realm
	IconSHA256   *string // of the icon's file, base64url; "" for none
	UsernameForm *string // as_is, strip_domain or strip_suffix
	Disabled     *bool
}

// Create makes an application. Its name is required. It returns Invalid, and Conflict with
// ReasonNameTaken.
func Create(tx Tx, realm mfa.RealmID, c Changes) (store.Application, error) {
	if c.Name == nil {
		return store.Application{}, mfa.InvalidField("name", "An application has a name.")
	}
	a := store.Application{
		Realm: realm, ID: mfa.ApplicationID(secret.ID("app_")), CreatedAt: tx.Now(),
		UsernameForm: string(username.AsIs),
	}
	if err := c.apply(&a, tx.Now()); err != nil {
		return store.Application{}, err
	}
	if err := tx.InsertApplication(a); errors.Is(err, store.ErrExists) {
		return store.Application{}, errTaken(a.Name)
	} else if err != nil {
		return store.Application{}, fmt.Errorf("insert application: %w", err)
	}
	return Get(tx, realm, a.ID)
}

// Update changes an application and returns it as it is then. It returns NotFound, Invalid, and
// Conflict with ReasonNameTaken. Live challenges of one that was disabled are the caller's to
// cancel.
func Update(tx Tx, realm mfa.RealmID, id mfa.ApplicationID, c Changes) (store.Application, error) {
	a, err := Get(tx, realm, id)
	if err != nil {
		return store.Application{}, err
	}
	if err := c.apply(&a, tx.Now()); err != nil {
		return store.Application{}, err
	}
	switch other, err := tx.ApplicationByName(realm, a.Name); {
	case err == nil && other.ID != id:
		return store.Application{}, errTaken(a.Name)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return store.Application{}, fmt.Errorf("look for application named %q: %w", a.Name, err)
	}
	if err := tx.PutApplication(a); err != nil {
		return store.Application{}, fmt.Errorf("change application %s: %w", id, err)
	}
	return Get(tx, realm, id)
}

// Get returns an application, or NotFound.
func Get(tx store.Applications, realm mfa.RealmID, id mfa.ApplicationID) (store.Application, error) {
	a, err := tx.Application(realm, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Application{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.Application{}, fmt.Errorf("read application %s: %w", id, err)
	}
	return a, nil
}

func errTaken(name string) error {
	return &mfa.Error{
		Code: mfa.Conflict, Reason: mfa.ReasonNameTaken, Field: "name",
		Message: fmt.Sprintf("There is an application named %q already.", name),
	}
}

func (c Changes) apply(a *store.Application, now mfa.Instant) error {
	if c.Name != nil {
		if !plain.Name(*c.Name, maxName) {
			return mfa.InvalidField("name", "A name is 1 to %d characters on one line, without space around it.", maxName)
		}
		a.Name = *c.Name
	}
	if c.IconSHA256 != nil {
		if *c.IconSHA256 != "" && !digest(*c.IconSHA256) {
			return mfa.InvalidField("icon_sha256", "This is not a SHA-256 digest in base64url.")
		}
		a.IconSHA256 = *c.IconSHA256
	}
	if c.UsernameForm != nil {
		if !username.Form(*c.UsernameForm).Valid() {
			return mfa.InvalidField("username_form", "The form is as_is, strip_domain or strip_suffix.")
		}
		a.UsernameForm = *c.UsernameForm
	}
	if c.Disabled != nil {
		switch {
		case !*c.Disabled:
			a.DisabledAt = 0
		case a.DisabledAt == 0:
			a.DisabledAt = now
		}
	}
	return nil
}

func digest(s string) bool {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && len(b) == 32 && base64.RawURLEncoding.EncodeToString(b) == s
}
