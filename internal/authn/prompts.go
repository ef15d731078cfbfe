package authn

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// Device is a device as the fronts pass it on.
type Device = store.Device

// Poll is a device's poll whose signature was checked.
type Poll struct {
	Device     store.Device
	Wait       time.Duration
	Named      mfa.ChallengeID // that a doorbell or a scan named
	KeysSerial int64
	Have       []string
}

// Prompts answers a poll at once if there is something that the device does not have, else when
// there is, else after the wait. It returns Forbidden once the device is gone.
func (s *Service) Prompts(ctx context.Context, p Poll) (protocol.PollAnswer, error) {
	ctx, done := s.c.Span(ctx, "authn.prompts")
	defer done()
	d := p.Device
	if err := s.noteSeen(ctx, d); err != nil {
		return protocol.PollAnswer{}, err
	}
	w := s.c.Hub.Register(store.WakeUser(d.Realm, d.User), store.WakeRealm(d.Realm))
	defer w.Close()
	end := time.Now().Add(p.Wait)
	before := s.told.last(d.ID)
	for again := true; ; {
		a, err := s.prompts(ctx, p)
		if err != nil {
			return protocol.PollAnswer{}, err
		}
		now := s.told.of(a)
		left := time.Until(end)
		if left <= 0 || !again || now.differs(before) || news(a, p) {
			s.told.set(d.ID, now)
			s.noteDelivered(d, a, p)
			return a.PollAnswer, nil
		}
		again = w.Park(ctx, min(left, a.nextLimit()))
	}
}

// noteSeen keeps when the device was last heard of, to the hour.
func (s *Service) noteSeen(ctx context.Context, d store.Device) error {
	now, err := s.Now(ctx)
	if err != nil || now < d.SeenAt.Add(device.SeenEvery) {
		return err
	}
	return s.c.Store.Update(ctx, func(tx store.Tx) error {
		d, err := s.c.Devices.Current(tx, d)
		if err != nil {
			return err
		}
		return s.c.Devices.Seen(tx, &d)
	})
}

type answer struct {
	protocol.PollAnswer
	ids     []string // of prompts and notices, in order
	shown   []string // of prompts, in order
	decides []int64  // when each prompt ends, milliseconds
}

// news says whether the answer has something that the device does not hold, or lacks a prompt that
// it holds.
func news(a answer, p Poll) bool {
	if len(a.Keys) > 0 {
		return true
	}
	for _, id := range a.ids {
		if !slices.Contains(p.Have, id) {
			return true
		}
	}
	for _, id := range p.Have {
		if len(id) > 3 && id[:3] == "ch_" && !slices.Contains(a.ids, id) {
			return true
		}
	}
	return false
}

func (a answer) nextLimit() time.Duration {
	limit := time.Hour
	for _, ms := range a.decides {
		limit = min(limit, time.Duration(ms-a.Now)*time.Millisecond+time.Millisecond)
	}
	return max(limit, time.Millisecond)
}

func (s *Service) prompts(ctx context.Context, p Poll) (answer, error) {
	var a answer
	err := s.c.Store.View(ctx, func(tx store.Tx) error {
		a = answer{}
		d, err := s.c.Devices.Current(tx, p.Device)
		if err != nil {
			return err
		}
		now := tx.Now()
		a.Now = now.Millis()
		a.Prompts, a.Notices = []protocol.PromptItem{}, []string{}
		if a.DeviceState, err = s.c.Devices.State(tx, d); err != nil {
			return err
		}
		if a.Keys, err = realm.KeySetsAfter(tx, d.Realm, p.KeysSerial); err != nil {
			return err
		}
		if d.State != mfa.DeviceActive {
			return nil
		}
		if err := s.addNotices(tx, d, p.Have, &a); err != nil {
			return err
		}
		return s.addPrompts(tx, d, p.Named, &a)
	})
	return a, err
}

// addNotices adds what the device was not told yet. Prompts come every time, notices once.
func (s *Service) addNotices(tx store.Tx, d store.Device, have []string, a *answer) error {
	rows, err := s.c.Devices.Notices(tx, d)
	if err != nil {
		return err
	}
	signer, err := s.c.Realms.PromptSigner(tx, d.Realm)
	if err != nil {
		return err
	}
	for _, n := range rows {
		if slices.Contains(have, n.ID) {
			continue
		}
		jws, err := device.Renew(signer, n)
		if err != nil {
			return err
		}
		a.Notices = append(a.Notices, jws)
		a.ids = append(a.ids, n.ID)
	}
	return nil
}

// addPrompts adds what is listed for the user, known provenance first, and the challenge that was
// named if it is the user's.
func (s *Service) addPrompts(tx store.Tx, d store.Device, named mfa.ChallengeID, a *answer) error {
	rows, err := tx.ListedChallenges(d.Realm, d.User)
	if err != nil {
		return fmt.Errorf("read listed challenges: %w", err)
	}
	if named != "" && !slices.ContainsFunc(rows, func(c store.Challenge) bool { return c.ID == named }) {
		c, err := tx.Challenge(d.Realm, named)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("read challenge %s: %w", named, err)
		}
		if err == nil && c.User == d.User {
			rows = append(rows, c)
		}
	}
	var show []store.Challenge
	for _, c := range rows {
		at := c.At(tx.Now())
		if at.State == mfa.Pending && c.Answerable && c.PromptJWS != "" && at.Timely(tx.Now()) {
			show = append(show, c)
		}
	}
	slices.SortStableFunc(show, func(x, y store.Challenge) int { return rank(x.Provenance) - rank(y.Provenance) })
	for _, c := range show {
		h := challenge.Held{Challenge: c}
		sc, err := s.sceneOf(tx, h)
		if err != nil {
			return err
		}
		if sc.facts.LockedDown && c.Provenance.Class == mfa.Stranger && c.ID != named {
			continue // rung before the user said "not me"
		}
		item := protocol.PromptItem{
			JWS: c.PromptJWS, Others: sc.others(h), MatchNow: []protocol.Match{}, TriesLeft: c.TriesLeft(),
		}
		now := c.MatchNow(sc.facts)
		for _, m := range c.MatchOrder {
			if now.Has(m) {
				item.MatchNow = append(item.MatchNow, protocol.Match(m))
			}
		}
		a.Prompts = append(a.Prompts, item)
		a.ids = append(a.ids, string(c.ID))
		a.shown = append(a.shown, string(c.ID))
		a.decides = append(a.decides, c.DecideBy.Millis())
	}
	return nil
}

func rank(p mfa.Provenance) int {
	switch p.Class {
	case mfa.KnownBrowser:
		return 0
	case mfa.KnownSource:
		return 1
	case mfa.Stranger:
	}
	return 2
}

func (s *Service) noteDelivered(d store.Device, a answer, p Poll) {
	for _, id := range a.ids {
		if len(id) < 3 || id[:3] != "ch_" || slices.Contains(p.Have, id) {
			continue
		}
		s.notes.add(note{stamp: noteDelivered, event: store.Event{
			Realm: d.Realm, User: d.User, Device: d.ID, Challenge: mfa.ChallengeID(id),
			At: mfa.Instant(a.Now * 1000), Actor: mfa.ActorUser, By: string(d.ID),
		}})
	}
}

// Stamp notes what a device says that it did with a prompt, ago before now. Stamps decide nothing;
// one for a challenge of somebody else is dropped.
func (s *Service) Stamp(ctx context.Context, d store.Device, id mfa.ChallengeID, stamp string, ago time.Duration) error {
	if d.State != mfa.DeviceActive {
		return nil
	}
	return s.c.Store.View(ctx, func(tx store.Tx) error {
		c, err := tx.Challenge(d.Realm, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read challenge %s: %w", id, err)
		}
		if c.User != d.User {
			return nil
		}
		at := max(tx.Now().Add(-min(max(ago, 0), time.Hour)), c.CreatedAt)
		s.notes.add(note{stamp: stamp, event: store.Event{
			Realm: d.Realm, User: d.User, Application: c.Application, Device: d.ID,
			Challenge: id, At: at, Actor: mfa.ActorUser, By: string(d.ID),
		}})
		return nil
	})
}

// History lists the user's challenges for one of the user's devices, newest first.
// The next page begins after next; nil on the last.
func (s *Service) History(ctx context.Context, d Device, at mfa.Instant, id string, limit int) (list []protocol.HistoryItem, more *Place, err error) {
	items := []protocol.HistoryItem{}
	var next *Place
	err = s.c.Store.View(ctx, func(tx store.Tx) error {
		items, next = items[:0], nil
		d, err := s.c.Devices.Current(tx, d)
		if err != nil || d.State != mfa.DeviceActive {
			return err
		}
		rows, err := tx.UserChallenges(d.Realm, d.User, store.Page{At: at, ID: id, Limit: limit + 1})
		if err != nil {
			return fmt.Errorf("read history: %w", err)
		}
		if len(rows) > limit {
			rows = rows[:limit]
			next = &Place{At: rows[limit-1].CreatedAt, ID: string(rows[limit-1].ID)}
		}
		for _, c := range rows {
			app, err := tx.Application(d.Realm, c.Application)
			if err != nil {
				return fmt.Errorf("read application %s: %w", c.Application, err)
			}
			items = append(items, protocol.HistoryItem{
				Challenge: string(c.ID), App: app.Name, Kind: protocol.Kind(c.Kind), At: c.CreatedAt.Millis(),
				State: string(c.At(tx.Now()).State), Listed: c.Rung, Rung: c.Rung, Reported: c.Reported,
				Device: string(c.Evidence.Device),
			})
		}
		return nil
	})
	return items, next, err
}

// Place is where a page of a list ended.
type Place struct {
	At mfa.Instant
	ID string
}

// told is what a device was told beside the prompts themselves, which it cannot say that it holds.
type told struct {
	state   protocol.DeviceState
	prompts map[string]uint64 // by challenge: a hash of what may change
}

// differs says whether the device does not know: this node has not told it, or something else. A
// prompt that is gone is no difference; a device that still holds it says so.
func (t *told) differs(before *told) bool {
	if before == nil || t.state != before.state {
		return true
	}
	for id, sum := range t.prompts {
		if was, ok := before.prompts[id]; !ok || was != sum {
			return true
		}
	}
	return false
}

// lastTold remembers, on this node, what each device was told last.
type lastTold struct {
	mu   sync.Mutex
	seed maphash.Seed
	by   map[mfa.DeviceID]*told
}

const maxTold = 1 << 20

func newLastTold() *lastTold {
	return &lastTold{seed: maphash.MakeSeed(), by: make(map[mfa.DeviceID]*told)}
}

func (l *lastTold) last(d mfa.DeviceID) *told {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[d]
}

func (l *lastTold) set(d mfa.DeviceID, t *told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.by) >= maxTold {
		clear(l.by)
	}
	l.by[d] = t
}

func (l *lastTold) of(a answer) *told {
	t := &told{state: a.DeviceState, prompts: make(map[string]uint64, len(a.Prompts))}
	for i, p := range a.Prompts {
		var h maphash.Hash
		h.SetSeed(l.seed)
		fmt.Fprint(&h, p.Others, p.MatchNow, p.TriesLeft)
		t.prompts[a.shown[i]] = h.Sum64()
	}
	return t
}
