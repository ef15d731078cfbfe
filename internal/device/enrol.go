package device

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/keys"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

const (
	ticketBytes = 16
	codeDigits  = 6
)

// Writer is what enrolling needs of a transaction.
type Writer interface {
	Changer
	store.Enrolments
}

// Outcome is what a step on an enrolment did.
type Outcome struct {
	Enrolment store.Enrolment
	Effects   mfa.EnrolmentEffects
	Device    store.Device   // that was claimed, confirmed or refused by the step; zero if none
	Answer    string         // to a claim: nod-enrolled+jws
	Revoked   []store.Device // by the confirmation of a "lost or stolen" enrolment
}

// Invite is what a ticket is made for.
type Invite struct {
	Realm  mfa.RealmID
	User   mfa.UserID
	By     mfa.Actor
	Lost   bool              // the others are revoked when the new device is confirmed
	Asker  mfa.ApplicationID // that may confirm it; "" for administrators only
	Origin string            // scheme and host of the link
	Keys   string            // the realm's current nod-keys+jws, which the link pins
}

// Issued is a new ticket.
type Issued struct {
	Enrolment store.Enrolment
	Link      secret.Value // with the ticket, which is kept nowhere
	Ended     []Outcome    // the user's enrolments that it puts an end to
}

// Issue makes a ticket. It cancels the user's other live enrolments.
func (s *Service) Issue(tx Writer, i Invite) (Issued, error) {
	pin, err := protocol.KeyPIN(i.Keys)
	if err != nil {
		return Issued{}, fmt.Errorf("pin keys of realm %s: %w", i.Realm, err)
	}
	ended, err := s.CancelLive(tx, i.Realm, i.User)
	if err != nil {
		return Issued{}, err
	}
	ticket := secret.Base64(ticketBytes)
	now := tx.Now()
	e := store.Enrolment{
		Enrolment: mfa.Enrolment{
			ID: mfa.EnrolmentID(secret.ID("enr_")), User: i.User, State: mfa.EnrolmentInvited,
			By: i.By, Lost: i.Lost, CreatedAt: now, ClaimBy: now.Add(mfa.TicketLife),
		},
		Realm: i.Realm, TicketHash: hash(ticket), Asker: i.Asker,
	}
	if err := tx.InsertEnrolment(e); err != nil {
		return Issued{}, fmt.Errorf("insert enrolment: %w", err)
	}
	e.Version = 1
	link := protocol.TicketLink{Origin: i.Origin, Ticket: ticket, PIN: pin}
	return Issued{Enrolment: e, Link: secret.New(link.String()), Ended: ended}, nil
}

func hash(ticket string) []byte {
	sum := sha256.Sum256([]byte(ticket))
	return sum[:]
}

// Enrolment reads an enrolment, as it is stored: call At for what it is now. It returns NotFound.
func (s *Service) Enrolment(tx interface {
	Enrolment(realm mfa.RealmID, id mfa.EnrolmentID) (store.Enrolment, error)
}, realm mfa.RealmID, id mfa.EnrolmentID,
) (store.Enrolment, error) {
	e, err := tx.Enrolment(realm, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Enrolment{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.Enrolment{}, fmt.Errorf("read enrolment %s: %w", id, err)
	}
	return e, nil
}

// ByTicket finds the enrolment of a ticket, in whichever realm it is. It returns NotFound.
func (s *Service) ByTicket(tx interface {
	EnrolmentByTicket(hash []byte) (store.Enrolment, error)
}, ticket string,
) (store.Enrolment, error) {
	e, err := tx.EnrolmentByTicket(hash(ticket))
	if errors.Is(err, store.ErrNotFound) {
		return store.Enrolment{}, mfa.ErrNotFound()
	}
	if err != nil {
		return store.Enrolment{}, fmt.Errorf("read enrolment by ticket: %w", err)
	}
	return e, nil
}

// Claim binds a key, with which the claim was signed, to the enrolment that its ticket names, and
// stores the device and the answer. The same key gets the same answer again. refused is Conflict
// for a ticket that is taken or closed or a key that was used, and Gone for one that is late.
func (s *Service) Claim(tx Writer, e store.Enrolment, c protocol.Enrol, key protocol.JWK, user store.User, v Voice) (out Outcome, refused, err error) {
	used, err := tx.ThumbprintUsed(e.Realm, key.Thumbprint())
	if err != nil {
		return Outcome{}, nil, fmt.Errorf("look up key: %w", err)
	}
	code := mfa.Code6(secret.Digits(codeDigits))
	out, refused, err = s.step(tx, e, mfa.Claim{
		Device: mfa.DeviceID(secret.ID("dev_")), Thumbprint: key.Thumbprint(), KeyUsed: used, Code: code,
		UserActive: user.State == store.UserActive,
	}, func(out *Outcome) error {
		if !out.Effects.Create {
			return nil
		}
		return s.create(tx, out, c, key, user, v, code)
	})
	if err == nil && refused == nil && out.Effects.Repeat {
		out.Answer, err = s.openAnswer(out.Enrolment)
	}
	return out, refused, err
}

// create stores the claimed device, and in the enrolment the code and the answer.
func (s *Service) create(tx Writer, out *Outcome, c protocol.Enrol, key protocol.JWK, user store.User, v Voice, code mfa.Code6) error {
	e := &out.Enrolment
	d := store.Device{
		Device: mfa.Device{ID: e.Device, User: e.User, Enrolment: e.ID, State: mfa.DeviceClaimed},
		Realm:  e.Realm, Name: c.Name, Platform: string(c.Platform), AppVersion: c.AppVersion, Features: c.Features,
		ClaimedAt: tx.Now(), SeenAt: tx.Now(),
	}
	if err := setName(&d, c.Name); err != nil {
		return err
	}
	if err := useKey(tx, &d, key); err != nil {
		return err
	}
	if err := tx.InsertDevice(d); err != nil {
		return fmt.Errorf("insert device: %w", err)
	}
	d.Version = 1
	out.Device = d
	payload, err := protocol.Encode(&protocol.Enrolled{
		V: protocol.Version, Issuer: v.Issuer, Realm: string(e.Realm), Device: string(d.ID),
		User: protocol.User{ID: string(user.ID), Name: user.Name}, Keys: v.Keys,
		ConfirmCode: string(code), ConfirmBy: e.ConfirmBy.Millis(),
	})
	if err != nil {
		return fmt.Errorf("write answer to claim of %s: %w", e.ID, err)
	}
	if out.Answer, err = v.Signer.Sign(string(protocol.TypeEnrolled), payload); err != nil {
		return fmt.Errorf("sign answer to claim of %s: %w", e.ID, err)
	}
	// The answer holds the code, so it is sealed as well.
	sealed, err := s.c.Ring.Seal([]byte(out.Answer), place(*e, "answer"))
	if err != nil {
		return fmt.Errorf("seal answer to claim of %s: %w", e.ID, err)
	}
	e.Answer = base64.RawURLEncoding.EncodeToString(sealed)
	if e.SealedCode, err = s.c.Ring.Seal([]byte(code), place(*e, "code")); err != nil {
		return fmt.Errorf("seal code of %s: %w", e.ID, err)
	}
	return nil
}

func place(e store.Enrolment, column string) keys.AAD {
	return keys.AAD{Realm: string(e.Realm), Table: "enrolments", Row: string(e.ID), Column: column}
}

func (s *Service) openAnswer(e store.Enrolment) (string, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(e.Answer)
	if err != nil {
		return "", fmt.Errorf("read answer to claim of %s: %w", e.ID, err)
	}
	answer, err := s.c.Ring.Open(sealed, place(e, "answer"))
	if err != nil {
		return "", fmt.Errorf("open answer to claim of %s: %w", e.ID, err)
	}
	return string(answer), nil
}

// Confirmation is the six digits, with what the transaction knows about the user.
type Confirmation struct {
	Code       string
	UserActive bool
	Quarantine time.Duration // of a device that joins an active one
}

// Confirm makes the claimed device active if the code is right. A device that joins an active one
// is quarantined, unless the enrolment replaces what was lost: then the user's other devices are
// revoked. refused is Forbidden wrong_code, Conflict for an enrolment that is closed or was refused
// by the third wrong code, and Gone for one that is late.
func (s *Service) Confirm(tx Writer, e store.Enrolment, c Confirmation) (out Outcome, refused, err error) {
	if e.SealedCode != nil {
		code, err := s.c.Ring.Open(e.SealedCode, place(e, "code"))
		if err != nil {
			return Outcome{}, nil, fmt.Errorf("open code of %s: %w", e.ID, err)
		}
		e.Code = mfa.Code6(code)
	}
	return s.step(tx, e, mfa.Confirm{Code: c.Code, UserActive: c.UserActive}, func(out *Outcome) error {
		if !out.Effects.Activate {
			return nil
		}
		return s.activate(tx, out, c.Quarantine)
	})
}

func (s *Service) activate(tx Writer, out *Outcome, quarantine time.Duration) error {
	e := out.Enrolment
	list, err := tx.UserDevices(e.Realm, e.User, false)
	if err != nil {
		return fmt.Errorf("list devices of %s: %w", e.User, err)
	}
	joins := false
	for _, d := range list {
		switch {
		case d.ID == e.Device:
			out.Device = d
		case e.Lost:
			if _, err := s.Revoke(tx, &d); err != nil {
				return err
			}
			out.Revoked = append(out.Revoked, d)
		case d.State == mfa.DeviceActive:
			joins = true
		}
	}
	if !joins {
		quarantine = 0
	}
	_, refused, err := s.Apply(tx, &out.Device, mfa.Activate{Enrolment: e.ID, Quarantine: quarantine, Lost: e.Lost})
	if err == nil {
		err = refused // an enrolment whose device cannot become active is not confirmed
	}
	return err
}

// Cancel ends an enrolment; one that is over already stays as it is.
func (s *Service) Cancel(tx Writer, e store.Enrolment) (Outcome, error) {
	out, _, err := s.step(tx, e, mfa.CancelEnrolment{}, nil)
	return out, err
}

// CancelLive ends all the user's enrolments that are not over.
func (s *Service) CancelLive(tx Writer, realm mfa.RealmID, user mfa.UserID) ([]Outcome, error) {
	live, err := tx.LiveEnrolments(realm, user)
	if err != nil {
		return nil, fmt.Errorf("list live enrolments of %s: %w", user, err)
	}
	var ended []Outcome
	for _, e := range live {
		out, err := s.Cancel(tx, e)
		if err != nil {
			return nil, err
		}
		ended = append(ended, out)
	}
	return ended, nil
}

// Expire records that an enrolment's time is over, if it is.
func (s *Service) Expire(tx Writer, e store.Enrolment) (Outcome, error) {
	out, _, err := s.step(tx, e, mfa.EnrolmentTick{}, nil)
	return out, err
}

// step applies one event, lets more do what else belongs to it, and stores the enrolment.
func (s *Service) step(tx Writer, e store.Enrolment, event mfa.EnrolmentEvent, more func(*Outcome) error) (out Outcome, refused, err error) {
	next, fx, refused := mfa.StepEnrolment(e.Enrolment, event, tx.Now())
	changed := next != e.Enrolment
	out = Outcome{Enrolment: e, Effects: fx}
	out.Enrolment.Enrolment = next
	out.Enrolment.Code = "" // kept sealed only
	if !changed {
		return out, refused, nil
	}
	if more != nil {
		if err := more(&out); err != nil {
			return Outcome{}, nil, err
		}
	}
	if fx.Refuse {
		if err := s.refuse(tx, &out); err != nil {
			return Outcome{}, nil, err
		}
	}
	if !next.State.Live() {
		out.Enrolment.SealedCode = nil
		if next.State != mfa.EnrolmentConfirmed {
			out.Enrolment.Answer = ""
		}
	}
	if err := tx.PutEnrolment(out.Enrolment); err != nil {
		return Outcome{}, nil, fmt.Errorf("write enrolment %s: %w", e.ID, err)
	}
	out.Enrolment.Version++
	tx.Wake(store.WakeUser(e.Realm, e.User))
	return out, refused, nil
}

// refuse ends the device that waited to be confirmed. It is gone already when its user was deleted.
func (s *Service) refuse(tx Writer, out *Outcome) error {
	d, err := s.Load(tx, out.Enrolment.Realm, out.Enrolment.Device)
	if mfa.CodeOf(err) == mfa.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	_, _, err = s.Apply(tx, &d, mfa.Refuse{})
	out.Device = d
	return err
}
