package authenticator

import (
	"context"
	"errors"
	"fmt"

	"github.com/nodauth/nod/protocol"
)

// nextSeq gives the next number of a change, stored before it is used so that none is used
// twice.
func (d *Device) nextSeq(ctx context.Context) (int64, error) {
	var seq int64
	err := d.a.store.change(ctx, d.id, func(r *record) error {
		r.Seq++
		seq = r.Seq
		return nil
	})
	return seq, err
}

// alter sends a change of this device. A change whose reply is lost is sent anew with a higher
// number, which has the same effect.
func (d *Device) alter(ctx context.Context, verb string, payload func(seq int64) protocol.Payload) error {
	err := d.settle(ctx)
	if err == nil {
		err = insist(ctx, func() error {
			seq, err := d.nextSeq(ctx)
			if err != nil {
				return err
			}
			_, err = d.send(ctx, payload(seq), replyTimeout)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, d.id, err)
	}
	return nil
}

// Rename changes the name of the device, here and at the server.
func (d *Device) Rename(ctx context.Context, name string) error {
	err := d.alter(ctx, "rename", func(seq int64) protocol.Payload {
		return &protocol.Name{V: protocol.Version, Seq: seq, Name: name}
	})
	if err != nil {
		return err
	}
	return d.a.store.change(ctx, d.id, func(r *record) error {
		r.Name = name
		return nil
	})
}

// SetTargets replaces the addresses at which this device can be rung.
func (d *Device) SetTargets(ctx context.Context, targets []protocol.Target) error {
	return d.alter(ctx, "set the targets of", func(seq int64) protocol.Payload {
		return &protocol.Targets{V: protocol.Version, Seq: seq, Targets: targets}
	})
}

// RegisterLock registers the WebAuthn credential of the app lock.
func (d *Device) RegisterLock(ctx context.Context, registration protocol.Registration) error {
	return d.alter(ctx, "register the lock of", func(seq int64) protocol.Payload {
		return &protocol.Lock{V: protocol.Version, Seq: seq, Registration: registration}
	})
}

// Unenrol removes the device at the server, then the account here. If the server does not know
// the device any more the account is removed all the same.
func (d *Device) Unenrol(ctx context.Context) error {
	err := d.alter(ctx, "unenrol", func(seq int64) protocol.Payload {
		return &protocol.Unenrol{V: protocol.Version, Seq: seq}
	})
	if err != nil && !errors.Is(err, ErrRevoked) {
		return err
	}
	return d.a.Forget(ctx, d.id)
}

// History gives what was asked of this user lately, newest first, and the cursor of the next
// page, empty on the last. Give an empty cursor for the first page.
func (d *Device) History(ctx context.Context, cursor string) ([]protocol.HistoryItem, string, error) {
	var got protocol.HistoryAnswer
	err := d.settle(ctx)
	if err == nil {
		err = insist(ctx, func() error {
			body, err := d.send(ctx, &protocol.History{V: protocol.Version, Cursor: cursor}, replyTimeout)
			if err != nil {
				return err
			}
			got, err = readAnswer[protocol.HistoryAnswer](body)
			return err
		})
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the history of %s: %w", d.id, err)
	}
	for i := range got.Items {
		got.Items[i].App, got.Items[i].State = printable(got.Items[i].App), printable(got.Items[i].State)
	}
	return got.Items, got.Next, nil
}

// Veto stops a device that was added to this user, as a notice told, during its quarantine.
func (d *Device) Veto(ctx context.Context, device protocol.NoticeDevice) error {
	err := d.settle(ctx)
	if err == nil {
		err = insist(ctx, func() error {
			_, err := d.send(ctx, &protocol.Veto{V: protocol.Version, Device: device.ID, Enrolment: device.Enrolment}, replyTimeout)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("veto %s: %w", device.ID, err)
	}
	return nil
}
