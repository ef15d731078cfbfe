package device

import (
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// NoticeLife is how long a notice waits for devices that were not heard of.
const NoticeLife = 30 * 24 * time.Hour

// News is what a user's devices are told.
type News struct {
	Realm  mfa.RealmID
	User   mfa.UserID
	Kind   protocol.NoticeKind
	By     mfa.Actor
	Device *store.Device // that it is about, which is not told; nil if it is about none
}

// Notify writes a signed notice for all the user's devices but the one that it is about, and wakes
// them.
func (s *Service) Notify(tx interface {
	Now() mfa.Instant
	Wake(keys ...string)
	InsertNotice(store.Notice) error
}, n News, v Voice,
) error {
	now := tx.Now()
	id := secret.ID("ntc_")
	row := store.Notice{Realm: n.Realm, ID: id, User: n.User, At: now, ExpiresAt: now.Add(NoticeLife)}
	p := protocol.Notice{
		V: protocol.Version, Issuer: v.Issuer, Realm: string(n.Realm), ID: id, Kind: n.Kind, At: now.Millis(), By: by(n.By),
	}
	if n.Device != nil {
		row.Except = n.Device.ID
		p.Device = &protocol.NoticeDevice{ID: string(n.Device.ID), Name: n.Device.Name, Enrolment: string(n.Device.Enrolment)}
	}
	payload, err := protocol.Encode(&p)
	if err != nil {
		return fmt.Errorf("write notice %s: %w", n.Kind, err)
	}
	if row.JWS, err = v.Signer.Sign(string(protocol.TypeNotice), payload); err != nil {
		return fmt.Errorf("sign notice %s: %w", n.Kind, err)
	}
	if err := tx.InsertNotice(row); err != nil {
		return fmt.Errorf("insert notice %s: %w", n.Kind, err)
	}
	tx.Wake(store.WakeUser(n.Realm, n.User))
	return nil
}

// by is the actor as people are told: whoever is neither the user nor the help desk acts with an
// administrator's rights.
func by(a mfa.Actor) protocol.Actor {
	switch a {
	case mfa.ActorUser:
		return protocol.ByUser
	case mfa.ActorHelpDesk:
		return protocol.ByHelpDesk
	case mfa.ActorAdministrator, mfa.ActorApplication, mfa.ActorServer:
	}
	return protocol.ByAdministrator
}

// Notices lists what this device is to be told, oldest first: nothing from before it was
// confirmed, and nothing about itself. A device that is not active is told nothing.
func (s *Service) Notices(tx interface {
	Now() mfa.Instant
	UserNotices(realm mfa.RealmID, user mfa.UserID, now mfa.Instant) ([]store.Notice, error)
}, d store.Device,
) ([]store.Notice, error) {
	if d.State != mfa.DeviceActive {
		return nil, nil
	}
	all, err := tx.UserNotices(d.Realm, d.User, tx.Now())
	if err != nil {
		return nil, fmt.Errorf("list notices of %s: %w", d.User, err)
	}
	mine := make([]store.Notice, 0, len(all))
	for _, n := range all {
		if n.Except != d.ID && n.At >= d.ConfirmedAt {
			mine = append(mine, n)
		}
	}
	return mine, nil
}

// Renew gives a notice as the realm signs it now. A device that followed a rotation of the realm's
// keys refuses what the former key signed, so a notice that waited is signed again.
func Renew(signer interface {
	Signer
	KID() string
}, n store.Notice,
) (string, error) {
	m, err := protocol.Parse(protocol.TypeNotice, []byte(n.JWS))
	if err != nil {
		return "", fmt.Errorf("read notice %s: %w", n.ID, err)
	}
	if m.Header.KeyID == signer.KID() {
		return n.JWS, nil
	}
	jws, err := signer.Sign(string(protocol.TypeNotice), m.Payload)
	if err != nil {
		return "", fmt.Errorf("sign notice %s again: %w", n.ID, err)
	}
	return jws, nil
}
