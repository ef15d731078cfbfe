package authn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// GrantLife is how long a grant is good.
const GrantLife = 120 * time.Second

// GrantType is the typ of a grant.
const GrantType = "nod-grant+jwt"

// Grant is the one-time result of a challenge.
type Grant struct {
	JWT       string
	ExpiresAt mfa.Instant
}

// Redeem gives the grant of an approved challenge, once; the same key gives the same bytes again
// until the grant expires. It returns Invalid (no key), NotFound, Conflict or Gone.
func (s *Service) Redeem(ctx context.Context, by Caller, id mfa.ChallengeID, key string) (Grant, error) {
	ctx, done := s.c.Span(ctx, "authn.redeem")
	defer done()
	var g Grant
	var refused error
	err := s.c.Store.Update(ctx, func(tx store.Tx) error {
		g, refused = Grant{}, nil
		h, err := s.mine(tx, by, id)
		if err != nil {
			return err
		}
		if refused, err = outlived(tx, h); err != nil || refused != nil {
			return err
		}
		sc, err := s.sceneOf(tx, h)
		if err != nil {
			return err
		}
		event, err := redemption(tx, by, h, key)
		if err != nil {
			return err
		}
		_, no, err := s.step(ctx, tx, &h, event, sc, h.Evidence.Device, func(_ mfa.State, fx mfa.Effects) error {
			if !fx.Grant {
				return nil
			}
			return s.mint(tx, &h, sc)
		})
		if err != nil || no != nil {
			refused = no
			return err
		}
		g.ExpiresAt = h.GrantEnds
		g.JWT, err = s.c.Challenges.OpenGrant(h)
		return err
	})
	if err != nil {
		return Grant{}, err
	}
	return g, refused
}

// outlived refuses to repeat the answer to a redemption from before a restore: who had it then is
// not known. What was not redeemed then was cancelled by the restore.
func outlived(tx store.Tx, h challenge.Held) (refused, err error) {
	if h.State != mfa.Redeemed {
		return nil, nil
	}
	epoch, err := store.ReadEpoch(tx)
	if err != nil || h.CreatedAt >= epoch.At {
		return nil, err
	}
	return &mfa.Error{
		Code: mfa.Gone, Reason: mfa.ReasonGrantExpired, State: mfa.Redeemed,
		Message: "The server was restored from a backup meanwhile. Start again.",
	}, nil
}

func redemption(tx store.Tx, by Caller, h challenge.Held, key string) (mfa.Redeem, error) {
	now := tx.Now()
	ends := mfa.Instant(now.Seconds() * 1_000_000).Add(GrantLife) // exp has whole seconds
	e := mfa.Redeem{Application: by.Application.ID, Key: key, GrantFor: ends.Sub(now)}
	if h.Evidence.Device == "" {
		return e, nil
	}
	d, err := tx.Device(h.Evidence.Device)
	if errors.Is(err, store.ErrNotFound) {
		return e, nil // deleted with its user
	}
	if err != nil {
		return mfa.Redeem{}, fmt.Errorf("read device %s: %w", h.Evidence.Device, err)
	}
	e.Device = d.Facts(now)
	return e, nil
}

// claims are the grant's, in the order in which the documentation lists them.
type claims struct {
	Issuer       string   `json:"iss"`
	Audience     string   `json:"aud"`
	Subject      string   `json:"sub"`
	Username     string   `json:"preferred_username"`
	ID           string   `json:"jti"`
	IssuedAt     int64    `json:"iat"`
	Expires      int64    `json:"exp"`
	AuthTime     int64    `json:"auth_time"`
	Nonce        string   `json:"nonce,omitempty"`
	AMR          []string `json:"amr"`
	ACR          string   `json:"acr"`
	Method       string   `json:"nod_method"`
	Match        string   `json:"nod_match,omitempty"`
	MatchBits    *int     `json:"nod_match_bits,omitempty"`
	FirstFactor  string   `json:"nod_first_factor"`
	KnownBrowser bool     `json:"nod_known_browser"`
	Device       string   `json:"nod_device,omitempty"`
	Policy       int      `json:"nod_policy"`
}

// mint makes the grant, to be stored with its challenge. It is the only function that does.
func (s *Service) mint(tx store.Tx, h *challenge.Held, sc scene) error {
	signer, err := s.c.Realms.GrantSigner(tx, h.Realm)
	if err != nil {
		return err
	}
	ev := h.Evidence
	c := claims{
		Issuer: s.c.Realms.Issuer(h.Realm), Audience: string(h.Application), Subject: string(h.User),
		Username: sc.user.Name, ID: string(h.ID), IssuedAt: tx.Now().Seconds(), Expires: h.GrantEnds.Seconds(),
		AuthTime: ev.At.Seconds(), Nonce: h.Nonce, Method: string(ev.Method),
		FirstFactor: firstFactor(h.FirstFactor), KnownBrowser: h.Provenance.Class == mfa.KnownBrowser,
		Device: string(ev.Device), Policy: sc.need.Version,
	}
	c.AMR, c.ACR = mfa.Assurance(h.FirstFactor, ev)
	if ev.Method == mfa.Push {
		bits := ev.Match.Bits()
		c.Match, c.MatchBits = string(ev.Match), &bits
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write grant of %s: %w", h.ID, err)
	}
	jwt, err := signer.Sign(GrantType, payload)
	if err != nil {
		return fmt.Errorf("sign grant of %s: %w", h.ID, err)
	}
	h.Grant, err = s.c.Challenges.SealGrant(*h, jwt)
	return err
}

func firstFactor(f mfa.FirstFactor) string {
	switch f {
	case mfa.FirstFactorPassword:
		return "nod"
	case mfa.FirstFactorAsserted:
		return "application"
	case mfa.FirstFactorNone:
	}
	return "none"
}

// Receipt gives the proof of a decided challenge: the prompt and the device's signed decision, as
// stored. It returns NotFound, also when the device was deleted with its user, or Conflict while
// nothing was decided.
func (s *Service) Receipt(ctx context.Context, by Caller, id mfa.ChallengeID) (protocol.Receipt, error) {
	var r protocol.Receipt
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		h, err := s.mine(tx, by, id)
		if err != nil {
			return err
		}
		r, err = receipt(tx, h)
		return err
	})
	return r, err
}

func receipt(tx store.Tx, h challenge.Held) (protocol.Receipt, error) {
	// An approval by digits_back decides nothing before its digits came back.
	if h.Decision == "" || (h.State != mfa.Denied && h.RedeemBy == 0) {
		if h.Evidence.Method == "" || h.Evidence.Method == mfa.Push {
			at := h.At(tx.Now())
			return protocol.Receipt{}, &mfa.Error{
				Code: mfa.Conflict, Reason: mfa.ReasonChallengeClosed, State: at.State,
				Message: "There is no receipt: nobody decided this challenge.",
			}
		}
		return protocol.Receipt{
			V: protocol.Version, Method: string(h.Evidence.Method), Challenge: string(h.ID),
			At: protocol.ReceiptTime(h.Evidence.At.Time()),
		}, nil
	}
	m, err := protocol.Parse(protocol.TypeDecision, []byte(h.Decision))
	if err != nil {
		return protocol.Receipt{}, fmt.Errorf("read stored decision of %s: %w", h.ID, err)
	}
	d, err := tx.Device(mfa.DeviceID(m.Header.KeyID))
	if errors.Is(err, store.ErrNotFound) {
		return protocol.Receipt{}, mfa.ErrNotFound() // deleted with its user
	}
	if err != nil {
		return protocol.Receipt{}, fmt.Errorf("read device %s: %w", m.Header.KeyID, err)
	}
	var jwk protocol.JWK
	if err := json.Unmarshal(h.DecisionKey, &jwk); err != nil {
		return protocol.Receipt{}, fmt.Errorf("read stored key of %s: %w", h.ID, err)
	}
	sets, err := tx.KeySetsAfter(h.Realm, 0)
	if err != nil {
		return protocol.Receipt{}, fmt.Errorf("read key sets: %w", err)
	}
	r := protocol.Receipt{
		V: protocol.Version, Prompt: h.PromptJWS, Decision: h.Decision,
		Device: &protocol.ReceiptDevice{ID: string(d.ID), JWK: jwk, EnrolledAt: protocol.ReceiptTime(d.ConfirmedAt.Time())},
	}
	for _, k := range sets {
		r.Keys = append(r.Keys, k.JWS)
	}
	return r, nil
}
