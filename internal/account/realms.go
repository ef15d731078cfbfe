package account

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nodauth/nod/internal/application"
	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/replay"
	"github.com/nodauth/nod/internal/store"
)

// MadeRealm is a new realm with the application whose key administers it.
type MadeRealm struct {
	Realm          realm.Info
	Administration MadeApplication
}

// CreateRealm makes a realm with keys of its own and, in it, an application whose key administers
// it. It returns Invalid and Conflict name_taken.
func (s *Service) CreateRealm(ctx context.Context, name mfa.RealmID, hosts []string) (MadeRealm, error) {
	var out MadeRealm
	err := s.update(ctx, mfa.DefaultRealm, func(j *job) error {
		out = MadeRealm{}
		if err := j.c.Realms.Create(j.tx, name); err != nil {
			return err
		}
		if len(hosts) > 0 {
			if err := j.c.Realms.SetHosts(j.tx, name, hosts); err != nil {
				return err
			}
		}
		if err := j.recordRealm(name, audit.RealmCreated, hostData(hosts)); err != nil {
			return err
		}
		inside := *j
		inside.realm = name
		var err error
		out.Administration, err = inside.administration(name)
		if err != nil {
			return err
		}
		if out.Realm, err = j.c.Realms.Info(j.tx, name); err != nil {
			return err
		}
		return replay.Made(ctx, j.tx, out)
	})
	if err != nil {
		return MadeRealm{}, err
	}
	s.readHosts(ctx)
	return out, nil
}

// readHosts has this node know of a change at once. If that fails it learns of it as the others do,
// a few seconds later.
func (s *Service) readHosts(ctx context.Context) { _ = s.c.Realms.ReadHosts(ctx) }

func hostData(hosts []string) map[string]string {
	if len(hosts) == 0 {
		return nil
	}
	return map[string]string{"hosts": strings.Join(hosts, " ")}
}

// administration makes the application with which a realm begins.
func (j *job) administration(in mfa.RealmID) (MadeApplication, error) {
	called := FirstApplication
	app, err := application.Create(j.tx, in, application.Changes{Name: &called})
	if err != nil {
		return MadeApplication{}, err
	}
	if err := j.recordApplication(audit.ApplicationCreated, app.ID, map[string]string{"name": app.Name}); err != nil {
		return MadeApplication{}, err
	}
	row, text, err := application.NewKey(j.tx, in, app.ID, []application.Scope{application.Authenticate, application.Administer}, 0)
	if err != nil {
		return MadeApplication{}, err
	}
	return MadeApplication{Application: app, Key: keyView(row, j.tx.Now()), Secret: text}, j.recordKey(row, nil)
}

// recordRealm writes what was done to a realm into its own record and into the default realm's,
// whose administrators did it.
func (j *job) recordRealm(name mfa.RealmID, kind string, data map[string]string) error {
	more := map[string]string{"realm": string(name)}
	for k, v := range data {
		more[k] = v
	}
	for _, in := range []mfa.RealmID{mfa.DefaultRealm, name} {
		if in == name && name == mfa.DefaultRealm {
			continue // written already
		}
		if err := audit.Record(j.ctx, j.tx, store.Event{Realm: in, Kind: kind, Data: more}); err != nil {
			return err
		}
	}
	return nil
}

// SetRealmHosts says which hosts belong to a realm. It returns NotFound, Invalid and Conflict
// name_taken. Other nodes know within a few seconds.
func (s *Service) SetRealmHosts(ctx context.Context, name mfa.RealmID, hosts []string) error {
	err := s.update(ctx, mfa.DefaultRealm, func(j *job) error {
		if err := j.c.Realms.SetHosts(j.tx, name, hosts); err != nil {
			return err
		}
		return j.recordRealm(name, audit.RealmChanged, map[string]string{"hosts": strings.Join(hosts, " ")})
	})
	s.readHosts(ctx)
	return err
}

// DisableRealm stops a realm: its credentials and devices are refused as unknown ones are, and its
// live challenges are cancelled. Its grant keys stay published, so that what it granted before can
// be verified. Disabling again goes on where an interrupted one stopped. It returns NotFound, and
// Conflict for the default realm.
func (s *Service) DisableRealm(ctx context.Context, name mfa.RealmID) error {
	err := s.update(ctx, mfa.DefaultRealm, func(j *job) error {
		changed, err := j.c.Realms.Disable(j.tx, name, true)
		if err != nil || !changed {
			return err
		}
		return j.recordRealm(name, audit.RealmDisabled, nil)
	})
	if err != nil {
		return err
	}
	return s.cancelIn(ctx, name, mfa.CancelApplicationOff, func(j *job, _ store.Challenge) (bool, error) {
		r, err := j.tx.Realm(name)
		return r.DisabledAt != 0, err // enabled again meanwhile: what is live now was made since
	})
}

// EnableRealm lets a disabled realm work again. It returns NotFound.
func (s *Service) EnableRealm(ctx context.Context, name mfa.RealmID) error {
	return s.update(ctx, mfa.DefaultRealm, func(j *job) error {
		changed, err := j.c.Realms.Disable(j.tx, name, false)
		if err != nil || !changed {
			return err
		}
		return j.recordRealm(name, audit.RealmEnabled, nil)
	})
}

// RotatePromptKey makes the realm's next prompt key the current one: devices follow with their next
// poll. Pending challenges whose prompt the former key signed are cancelled, since a device that has
// followed refuses it. It returns NotFound.
func (s *Service) RotatePromptKey(ctx context.Context, in mfa.RealmID) error {
	var at mfa.Instant
	err := s.update(ctx, in, func(j *job) error {
		at = j.tx.Now()
		set, err := j.c.Realms.RotatePrompt(j.tx, in)
		if err != nil {
			return err
		}
		data := map[string]string{"purpose": "prompt", "serial": strconv.FormatInt(set.Serial, 10)}
		return j.record(store.Event{Kind: audit.RealmKeysRotated, Data: data})
	})
	if err != nil {
		return err
	}
	return s.cancelIn(ctx, in, mfa.CancelPolicy, func(_ *job, c store.Challenge) (bool, error) {
		return c.State == mfa.Pending && c.PromptJWS != "" && c.CreatedAt <= at, nil
	})
}

// cancelIn cancels the live challenges of a realm that which names, in small transactions.
func (s *Service) cancelIn(ctx context.Context, in mfa.RealmID, why mfa.CancelReason, which func(*job, store.Challenge) (bool, error)) error {
	p := Page{Limit: liveBatch}
	for {
		apps, err := s.Applications(ctx, in, p)
		if err != nil {
			return err
		}
		for _, a := range apps {
			p.At, p.ID = a.CreatedAt, string(a.ID)
			if err := s.cancelOfApplication(ctx, a, why, which); err != nil {
				return err
			}
		}
		if len(apps) < p.Limit {
			return nil
		}
	}
}

// cancelOfApplication looks at more at a time when it has found some that are to go on, since those
// are what it finds again.
func (s *Service) cancelOfApplication(ctx context.Context, a Application, why mfa.CancelReason, which func(*job, store.Challenge) (bool, error)) error {
	for limit := liveBatch; ; {
		seen, ended := 0, 0
		err := s.c.Store.Update(ctx, func(tx store.Tx) error { // also in a realm that is disabled
			j := &job{Service: s, ctx: ctx, tx: tx, realm: a.Realm}
			rows, err := tx.ApplicationLive(a.Realm, a.ID, limit)
			if err != nil {
				return fmt.Errorf("list live challenges of %s: %w", a.ID, err)
			}
			seen = len(rows)
			var end []store.Challenge
			for _, c := range rows {
				yes, err := which(j, c)
				if err != nil {
					return err
				}
				if yes && len(end) < liveBatch {
					end = append(end, c)
				}
			}
			ended, err = j.cancel(end, mfa.Cancel{Reason: why})
			return err
		})
		switch {
		case err != nil:
			return err
		case ended > 0:
		case seen < limit:
			return nil
		default:
			limit *= 2
		}
	}
}

// RotateGrantKey makes a grant key that signs a day from now; applications find it in the JWKS
// until then. In an emergency it signs at once, and the others leave the JWKS. It returns NotFound.
func (s *Service) RotateGrantKey(ctx context.Context, in mfa.RealmID, emergency bool) error {
	return s.update(ctx, in, func(j *job) error {
		if err := j.c.Realms.RotateGrant(j.tx, in, emergency); err != nil {
			return err
		}
		data := map[string]string{"purpose": "grant"}
		if emergency {
			data["emergency"] = "yes"
		}
		return j.record(store.Event{Kind: audit.RealmKeysRotated, Data: data})
	})
}
