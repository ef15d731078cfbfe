package account

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/policy"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// Application is a relying party.
type Application = store.Application

// ApplicationChange says what an application is to be like; a nil member stays as it is.
type ApplicationChange struct {
	Name         *string // shown on prompts; unique in the realm
	UsernameForm *string // as_is, strip_domain or strip_suffix
	IconSHA256   *string // base64url; "" for none
}

func (c ApplicationChange) changes() application.Changes {
	return application.Changes{Name: c.Name, UsernameForm: c.UsernameForm, IconSHA256: c.IconSHA256}
}

// NewApplication is an application to be made.
type NewApplication struct {
	ApplicationChange
	Scopes []application.Scope // of its first key; none for no key
}

// MadeApplication is an application with its first key, if it has one.
type MadeApplication struct {
	Application
	Key    Key
	Secret secret.Value // the key itself, shown once
}

// CreateApplication makes an application. It returns Invalid and Conflict name_taken.
func (s *Service) CreateApplication(ctx context.Context, in mfa.RealmID, n NewApplication) (MadeApplication, error) {
	var out MadeApplication
	err := s.update(ctx, in, func(j *job) error {
		a, err := application.Create(j.tx, in, n.changes())
		if err != nil {
			return err
		}
		out = MadeApplication{Application: a}
		if err := j.recordApplication(audit.ApplicationCreated, a.ID, map[string]string{"name": a.Name}); err != nil {
			return err
		}
		if len(n.Scopes) == 0 {
			return replay.Made(ctx, j.tx, out)
		}
		row, text, err := application.NewKey(j.tx, in, a.ID, n.Scopes, 0)
		if err != nil {
			return err
		}
		out.Key, out.Secret = keyView(row, j.tx.Now()), text
		if err := j.recordKey(row, nil); err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, out)
	})
	return out, err
}

func (j *job) recordKey(k store.APIKey, more map[string]string) error {
	data := map[string]string{"key": k.ID, "scopes": strings.Join(k.Scopes, " ")}
	for name, value := range more {
		data[name] = value
	}
	return j.recordApplication(audit.KeyCreated, k.Application, data)
}

func (j *job) recordApplication(kind string, id mfa.ApplicationID, data map[string]string) error {
	return j.record(store.Event{Kind: kind, Application: id, Data: data})
}

// UpdateApplication changes an application. It returns NotFound, Invalid and Conflict name_taken.
func (s *Service) UpdateApplication(ctx context.Context, in mfa.RealmID, id mfa.ApplicationID, c ApplicationChange) (Application, error) {
	var out Application
	err := s.update(ctx, in, func(j *job) error {
		was, err := application.Get(j.tx, in, id)
		if err != nil {
			return err
		}
		if out, err = application.Update(j.tx, in, id, c.changes()); err != nil {
			return err
		}
		return j.recordApplication(audit.ApplicationChanged, id, map[string]string{"name": out.Name, "was": was.Name})
	})
	return out, err
}

// Application reads an application. It returns NotFound.
func (s *Service) Application(ctx context.Context, in mfa.RealmID, id mfa.ApplicationID) (Application, error) {
	var out Application
	err := s.view(ctx, in, func(j *job) error {
		var err error
		out, err = application.Get(j.tx, in, id)
		return err
	})
	return out, err
}

// Applications lists applications, newest first.
func (s *Service) Applications(ctx context.Context, in mfa.RealmID, p Page) ([]Application, error) {
	var out []Application
	err := s.view(ctx, in, func(j *job) error {
		var err error
		if out, err = j.tx.ListApplications(in, p); err != nil {
			return fmt.Errorf("list applications: %w", err)
		}
		return nil
	})
	return out, err
}

// liveBatch is how many live challenges are cancelled in one transaction.
const liveBatch = 200

// DisableApplication stops an application: its credentials work no more and its live challenges
// are cancelled. Disabling again changes nothing. It returns NotFound.
func (s *Service) DisableApplication(ctx context.Context, in mfa.RealmID, id mfa.ApplicationID) error {
	off := true
	more := true
	for first := true; more; first = false {
		err := s.update(ctx, in, func(j *job) error {
			a, err := application.Get(j.tx, in, id)
			if err != nil {
				return err
			}
			if first && a.DisabledAt == 0 {
				if _, err := application.Update(j.tx, in, id, application.Changes{Disabled: &off}); err != nil {
					return err
				}
				if err := j.recordApplication(audit.ApplicationDisabled, id, map[string]string{"name": a.Name}); err != nil {
					return err
				}
				j.tx.Wake(store.WakeApplication(in, id))
			} else if a.DisabledAt == 0 { // enabled again meanwhile
				more = false
				return nil
			}
			rows, err := j.tx.ApplicationLive(in, id, liveBatch)
			if err != nil {
				return fmt.Errorf("list live challenges of %s: %w", id, err)
			}
			n, err := j.cancel(rows, mfa.Cancel{Reason: mfa.CancelApplicationOff})
			more = n > 0 && len(rows) == liveBatch
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// EnableApplication lets a disabled application work again. It returns NotFound.
func (s *Service) EnableApplication(ctx context.Context, in mfa.RealmID, id mfa.ApplicationID) error {
	return s.update(ctx, in, func(j *job) error {
		a, err := application.Get(j.tx, in, id)
		if err != nil || a.DisabledAt == 0 {
			return err
		}
		off := false
		if _, err := application.Update(j.tx, in, id, application.Changes{Disabled: &off}); err != nil {
			return err
		}
		return j.recordApplication(audit.ApplicationEnabled, id, map[string]string{"name": a.Name})
	})
}

// Key is what may be known of an API key.
type Key struct {
	ID          string
	Application mfa.ApplicationID
	Scopes      []application.Scope
	Live        bool
	CreatedAt   mfa.Instant
	ExpiresAt   mfa.Instant // 0 for never
	RevokedAt   mfa.Instant // 0 when not
}

// MadeKey is an API key that was just made.
type MadeKey struct {
	Key
	Secret secret.Value // the key itself, shown once
}

func keyView(k store.APIKey, now mfa.Instant) Key {
	v := Key{
		ID: k.ID, Application: k.Application, Live: application.Live(k, now), CreatedAt: k.CreatedAt,
		ExpiresAt: k.ExpiresAt, RevokedAt: k.RevokedAt,
	}
	for _, s := range k.Scopes {
		v.Scopes = append(v.Scopes, application.Scope(s))
	}
	return v
}

// Keys lists an application's keys. It returns NotFound.
func (s *Service) Keys(ctx context.Context, in mfa.RealmID, app mfa.ApplicationID) ([]Key, error) {
	out := []Key{}
	err := s.view(ctx, in, func(j *job) error {
		if _, err := application.Get(j.tx, in, app); err != nil {
			return err
		}
		list, err := j.tx.APIKeys(in, app)
		for _, k := range list {
			out = append(out, keyView(k, j.tx.Now()))
		}
		return err
	})
	return out, err
}

// CreateKey makes an API key, shown once, for life or for ever if that is 0. It returns NotFound,
// Invalid, and Conflict limit_reached when two are live.
func (s *Service) CreateKey(ctx context.Context, in mfa.RealmID, app mfa.ApplicationID, scopes []application.Scope, life time.Duration) (MadeKey, error) {
	return s.makeKey(ctx, in, func(j *job) (store.APIKey, secret.Value, map[string]string, error) {
		k, text, err := application.NewKey(j.tx, in, app, scopes, life)
		return k, text, nil, err
	})
}

// RotateKey makes an API key like another one of the application, the newest live one for the id
// "", which goes on working for grace, 0 to 7 days. It returns NotFound, Invalid, and Conflict for a
// key that is not live.
func (s *Service) RotateKey(ctx context.Context, in mfa.RealmID, app mfa.ApplicationID, id string, grace time.Duration) (MadeKey, error) {
	return s.makeKey(ctx, in, func(j *job) (store.APIKey, secret.Value, map[string]string, error) {
		old := id
		if old == "" {
			var err error
			if old, err = j.newestKey(app); err != nil {
				return store.APIKey{}, secret.Value{}, nil, err
			}
		}
		k, text, err := application.RotateKey(j.tx, in, app, old, grace)
		return k, text, map[string]string{"replaces": old, "grace": grace.String()}, err
	})
}

// newestKey finds the application's live key that was made last.
func (j *job) newestKey(app mfa.ApplicationID) (string, error) {
	all, err := j.tx.APIKeys(j.realm, app)
	if err != nil {
		return "", fmt.Errorf("list keys of %s: %w", app, err)
	}
	var newest store.APIKey
	for _, k := range all {
		if application.Live(k, j.tx.Now()) && k.CreatedAt >= newest.CreatedAt {
			newest = k
		}
	}
	if newest.ID == "" {
		return "", mfa.ErrNotFound()
	}
	return newest.ID, nil
}

func (s *Service) makeKey(ctx context.Context, in mfa.RealmID, fn func(*job) (store.APIKey, secret.Value, map[string]string, error)) (MadeKey, error) {
	var out MadeKey
	err := s.update(ctx, in, func(j *job) error {
		row, text, data, err := fn(j)
		if err != nil {
			return err
		}
		out = MadeKey{Key: keyView(row, j.tx.Now()), Secret: text}
		if err := j.recordKey(row, data); err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, out)
	})
	if err != nil {
		return MadeKey{}, err
	}
	return out, nil
}

// RevokeKey ends an API key at once. It returns NotFound.
func (s *Service) RevokeKey(ctx context.Context, in mfa.RealmID, app mfa.ApplicationID, id string) error {
	return s.update(ctx, in, func(j *job) error {
		k, err := application.RevokeKey(j.tx, in, app, id)
		if err != nil {
			return err
		}
		return j.recordApplication(audit.KeyRevoked, app, map[string]string{"key": k.ID})
	})
}

// ApplyPolicy puts a document in force, as a new version unless it is in force already. expect is
// the version that its author saw, or -1; changed says whether there is a new version. It returns
// Invalid for overrides of an application that does not exist, and Conflict version_mismatch.
func (s *Service) ApplyPolicy(ctx context.Context, in mfa.RealmID, d policy.Document, expect int) (out policy.Policy, changed bool, err error) {
	err = s.update(ctx, in, func(j *job) error {
		if err := j.overridesKnown(d); err != nil {
			return err
		}
		before, err := j.c.Policies.Current(j.tx, in)
		if err != nil {
			return err
		}
		out, changed, err = j.c.Policies.Apply(j.tx, in, d, expect, audit.From(ctx).By)
		if err != nil || !changed {
			return err
		}
		j.tx.Wake(store.WakeRealm(in))
		return j.record(store.Event{Kind: audit.PolicyApplied, Data: map[string]string{
			"version": strconv.Itoa(out.Version), "before": strconv.Itoa(before.Version),
		}})
	})
	return out, changed && err == nil, err
}

// TryPolicy checks a document as ApplyPolicy does and changes nothing. It gives the policy in
// force and says whether the document would change it.
func (s *Service) TryPolicy(ctx context.Context, in mfa.RealmID, d policy.Document, expect int) (now policy.Policy, changes bool, err error) {
	err = s.view(ctx, in, func(j *job) error {
		if err := j.overridesKnown(d); err != nil {
			return err
		}
		now, changes, err = j.c.Policies.Compare(j.tx, in, d, expect)
		return err
	})
	return now, changes, err
}

func (j *job) overridesKnown(d policy.Document) error {
	for _, name := range slices.Sorted(maps.Keys(d.Applications)) {
		if err := j.applicationKnown(name); err != nil {
			return err
		}
	}
	return nil
}

// applicationKnown says whether an application has this id or name.
func (j *job) applicationKnown(name string) error {
	_, err := j.tx.Application(j.realm, mfa.ApplicationID(name))
	if errors.Is(err, store.ErrNotFound) {
		_, err = j.tx.ApplicationByName(j.realm, name)
	}
	if errors.Is(err, store.ErrNotFound) {
		return mfa.InvalidField("applications."+name, "There is no application with this name or id.")
	}
	if err != nil {
		return fmt.Errorf("look for application %q: %w", name, err)
	}
	return nil
}
