package authenticator

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/nodauth/nod/protocol"
)

// Rotate replaces the device's key. The new key is stored before it is sent; if the reply is
// lost, the new key is tried, then the old, now or at the next use. ErrNoReply means that it is
// still open which key counts, and that nothing is lost. A rotation starts a quarantine.
func (d *Device) Rotate(ctx context.Context) error {
	if err := d.settle(ctx); err != nil {
		return fmt.Errorf("rotate %s: %w", d.id, err)
	}
	next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	sealed, err := d.a.store.seal(d.id, next)
	if err != nil {
		return err
	}
	err = d.a.store.change(ctx, d.id, func(r *record) error {
		r.NewKey = sealed
		return nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.newKey = next
	old := d.key
	d.mu.Unlock()
	if err := d.sendRotation(ctx, old, next); err != nil {
		return fmt.Errorf("rotate %s: %w", d.id, err)
	}
	return nil
}

func (d *Device) sendRotation(ctx context.Context, old, next *ecdsa.PrivateKey) error {
	thumbprint, err := protocol.Thumbprint(&old.PublicKey)
	if err != nil {
		return err
	}
	inner, err := protocol.Sign(next, protocol.Header{}, &protocol.NewKey{V: protocol.Version, Device: d.id.Device, OldThumbprint: thumbprint})
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		seq, err := d.nextSeq(ctx)
		if err != nil {
			return err
		}
		_, err = d.sendWith(ctx, old, &protocol.Rotate{V: protocol.Version, Seq: seq, Inner: inner}, replyTimeout)
		if err == nil {
			return d.conclude(ctx, next)
		}
		refused := isRefusal(err)
		if refused && i == 1 {
			return errors.Join(err, d.conclude(ctx, old))
		}
		if !refused {
			if errSleep := sleep(ctx, firstPause); errSleep != nil {
				return errors.Join(errSleep, err)
			}
		}
		// A request whose reply was lost may have arrived, even after a later one.
		won, errTry := d.try(ctx, next)
		switch {
		case errTry != nil:
			return errTry
		case won:
			return d.conclude(ctx, next)
		case refused || i == attempts:
			return errors.Join(err, d.conclude(ctx, old))
		}
	}
}

// settle ends a rotation whose reply was lost: the key that the server knows is kept, the other
// dropped. Without such a rotation it does nothing.
func (d *Device) settle(ctx context.Context) error {
	d.mu.Lock()
	old, next := d.key, d.newKey
	d.mu.Unlock()
	if next == nil {
		return nil
	}
	for _, key := range []*ecdsa.PrivateKey{next, old} {
		won, err := d.try(ctx, key)
		if err != nil {
			return err
		}
		if won {
			return d.conclude(ctx, key)
		}
	}
	return errors.New("the server knows neither the new nor the old key of this device")
}

// try asks whether the server takes the key. A device that is known but revoked is told so in
// either case.
func (d *Device) try(ctx context.Context, key *ecdsa.PrivateKey) (bool, error) {
	set, err := d.KeySet()
	if err != nil {
		return false, err
	}
	err = insist(ctx, func() error {
		_, err := d.sendWith(ctx, key, &protocol.Poll{V: protocol.Version, KeysSerial: set.Serial}, replyTimeout)
		return err
	})
	if isStatus(err, http.StatusUnauthorized) {
		return false, nil
	}
	return err == nil, err
}

// conclude makes one key the only one.
func (d *Device) conclude(ctx context.Context, key *ecdsa.PrivateKey) error {
	sealed, err := d.a.store.seal(d.id, key)
	if err != nil {
		return err
	}
	err = d.a.store.change(ctx, d.id, func(r *record) error {
		r.Key, r.NewKey = sealed, nil
		return nil
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.key, d.newKey = key, nil
	d.mu.Unlock()
	return nil
}

// sendWith is send with a certain key.
func (d *Device) sendWith(ctx context.Context, key *ecdsa.PrivateKey, p protocol.Payload, limit time.Duration) ([]byte, error) {
	poll, isPoll := p.(*protocol.Poll)
	bare := isPoll && poll.Challenge != ""
	for second := false; ; second = true {
		h := protocol.Header{KeyID: d.id.Device, URL: d.base + p.Type().Path()}
		if !bare {
			d.mu.Lock()
			h.Nonce = d.nonce
			d.mu.Unlock()
		}
		raw, err := protocol.Sign(key, h, p)
		if err != nil {
			return nil, err
		}
		body, err := d.post(ctx, p.Type().Path(), raw, limit)
		if second || bare || !isStaleNonce(err) {
			return body, err
		}
	}
}
