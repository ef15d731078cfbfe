package authenticator

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nodauth/nod/protocol"
)

const (
	maxWait   = 25  // seconds of a long poll
	keepSeen  = 128 // notices remembered as seen
	maxHave   = 256 // ids that a poll may name
	waitSlack = 15 * time.Second
	maxLife   = 3600_000 // milliseconds that a prompt may be said to last
)

// Device is one account in use.
type Device struct {
	a    *Authenticator
	id   AccountID
	base string
	user string // id

	mu     sync.Mutex
	nonce  string
	key    *ecdsa.PrivateKey
	newKey *ecdsa.PrivateKey // of a rotation whose end is not known
	held   map[string]bool   // prompts of the last poll
	told   map[string]bool   // notices given out by this process
}

// ID names the account.
func (d *Device) ID() AccountID { return d.id }

// Account reads what is stored of the account.
func (d *Device) Account() (Account, error) {
	r, err := d.a.store.get(d.id)
	if err != nil {
		return Account{}, err
	}
	return r.account()
}

// PublicKey is the key that the server knows this device by; a receipt is verified with it.
func (d *Device) PublicKey() *ecdsa.PublicKey {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &d.key.PublicKey
}

// KeySet is the pinned key set of the realm.
func (d *Device) KeySet() (*protocol.KeySet, error) {
	r, err := d.a.store.get(d.id)
	if err != nil {
		return nil, err
	}
	return protocol.ParseKeySet(r.Keys)
}

// Prompt is a verified prompt, and beside it what may change.
type Prompt struct {
	protocol.Prompt
	// SHA256 is the digest that a decision names.
	SHA256 string
	// Others is the number of live challenges from other places; show it.
	Others int
	// MatchNow is which kinds of match count at this moment.
	MatchNow []protocol.Match
	// TriesLeft is the wrong answers that remain.
	TriesLeft int
	// UpdateRequired says that this authenticator is too old for the prompt: only Challenge may
	// be known, and it can be denied but not approved.
	UpdateRequired bool
	// Received is when it was read here.
	Received time.Time
	// Deadline is when it must be decided, by this machine's clock.
	Deadline time.Time
}

// Update is what a poll brings. Prompts are all that can be answered now; Notices only those
// not given out before.
type Update struct {
	State   protocol.DeviceState
	Prompts []Prompt
	Notices []protocol.Notice
	// Dropped says why prompts or notices were left out, such as ErrNotTrusted.
	Dropped []error
}

// Poll asks once. With wait, in seconds up to 25, the server answers as soon as something is
// different from the last answer. It returns ErrRevoked, ErrNoReply, ErrNotTrusted if the
// realm's new keys do not follow from the pinned ones, or an [Error].
func (d *Device) Poll(ctx context.Context, wait int) (Update, error) {
	u, err := d.poll(ctx, min(max(wait, 0), maxWait), "")
	if err != nil {
		return Update{}, fmt.Errorf("poll for %s: %w", d.id, err)
	}
	return u, nil
}

// Find asks for one challenge by id, such as one that a doorbell or a scanned code named. It
// returns ErrNoPrompt if this device may not answer it now, and otherwise what Poll returns.
func (d *Device) Find(ctx context.Context, challenge string) (Prompt, error) {
	u, err := d.poll(ctx, 0, challenge)
	if err != nil {
		return Prompt{}, fmt.Errorf("ask for %s: %w", challenge, err)
	}
	for _, p := range u.Prompts {
		if p.Challenge == challenge {
			return p, nil
		}
	}
	return Prompt{}, errors.Join(append([]error{ErrNoPrompt}, u.Dropped...)...)
}

func (d *Device) poll(ctx context.Context, wait int, challenge string) (Update, error) {
	if err := d.settle(ctx); err != nil {
		return Update{}, err
	}
	r, err := d.a.store.get(d.id)
	if err != nil {
		return Update{}, err
	}
	set, err := protocol.ParseKeySet(r.Keys)
	if err != nil {
		return Update{}, fmt.Errorf("read the pinned keys: %w", err)
	}
	p := &protocol.Poll{V: protocol.Version, Wait: wait, Challenge: challenge, KeysSerial: set.Serial}
	if challenge == "" {
		p.Have = d.have(r.Seen)
	}
	body, err := d.send(ctx, p, time.Duration(wait)*time.Second+waitSlack)
	if err != nil {
		return Update{}, err
	}
	got, err := readAnswer[protocol.PollAnswer](body)
	if err != nil {
		return Update{}, err
	}
	got.DeviceState = protocol.DeviceState(printable(string(got.DeviceState)))
	if set, err = d.follow(ctx, set, got); err != nil {
		return Update{}, err
	}
	return d.read(set, got, r.Seen, challenge == ""), nil
}

func (d *Device) have(seen []string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := maps.Clone(d.held)
	maps.Copy(ids, d.told)
	for _, id := range seen {
		ids[id] = true
	}
	all := slices.Sorted(maps.Keys(ids))
	return all[:min(len(all), maxHave)]
}

// follow pins every key set that the answer brings, and the state, before anything else of the
// answer is looked at.
func (d *Device) follow(ctx context.Context, set *protocol.KeySet, got protocol.PollAnswer) (*protocol.KeySet, error) {
	r, err := d.a.store.get(d.id)
	if err != nil {
		return nil, err
	}
	if len(got.Keys) == 0 && r.State == string(got.DeviceState) && r.Keys == set.Raw() {
		return set, nil
	}
	err = d.a.store.change(ctx, d.id, func(r *record) error {
		// Another poll may have pinned some of them meanwhile.
		if set, err = protocol.ParseKeySet(r.Keys); err != nil {
			return fmt.Errorf("read the pinned keys: %w", err)
		}
		for _, raw := range got.Keys {
			next, err := protocol.ParseKeySet(raw)
			if err == nil && next.Serial <= set.Serial {
				continue
			}
			if set, err = set.Advance(raw); err != nil {
				return fmt.Errorf("%w: new keys of the realm: %w", ErrNotTrusted, err)
			}
		}
		r.Keys, r.State = set.Raw(), string(got.DeviceState)
		return nil
	})
	return set, err
}

func (d *Device) read(set *protocol.KeySet, got protocol.PollAnswer, seen []string, whole bool) Update {
	u := Update{State: got.DeviceState}
	received := time.Now()
	for _, item := range got.Prompts {
		p, err := d.readPrompt(set, item)
		if err != nil {
			u.Dropped = append(u.Dropped, err)
			continue
		}
		p.Received = received
		p.Deadline = received.Add(time.Duration(min(max(p.DecideBy-got.Now, 0), maxLife)) * time.Millisecond)
		u.Prompts = append(u.Prompts, p)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if whole {
		clear(d.held)
		for _, p := range u.Prompts {
			if p.Challenge != "" {
				d.held[p.Challenge] = true
			}
		}
	}
	for _, raw := range got.Notices {
		n, err := set.OpenNotice(raw)
		if err != nil {
			u.Dropped = append(u.Dropped, fmt.Errorf("%w: a notice: %w", ErrNotTrusted, err))
			continue
		}
		if d.told[n.ID] || slices.Contains(seen, n.ID) {
			continue
		}
		d.told[n.ID] = true
		u.Notices = append(u.Notices, n)
	}
	return u
}

func (d *Device) readPrompt(set *protocol.KeySet, item protocol.PromptItem) (Prompt, error) {
	inner, digest, err := set.OpenPrompt(item.JWS)
	p := Prompt{Prompt: inner, SHA256: digest, Others: item.Others, MatchNow: item.MatchNow, TriesLeft: item.TriesLeft}
	if errors.Is(err, protocol.ErrUpdateRequired) {
		p.UpdateRequired = true
		return p, nil
	}
	if err != nil {
		return Prompt{}, fmt.Errorf("%w: a prompt: %w", ErrNotTrusted, err)
	}
	if inner.User.ID != d.user {
		return Prompt{}, fmt.Errorf("%w: a prompt for another user", ErrNotTrusted)
	}
	return p, nil
}

// MarkSeen remembers notices beyond this process, so that they are not given out again.
func (d *Device) MarkSeen(ctx context.Context, notices ...protocol.Notice) error {
	if len(notices) == 0 {
		return nil
	}
	return d.a.store.change(ctx, d.id, func(r *record) error {
		for _, n := range notices {
			if !slices.Contains(r.Seen, n.ID) {
				r.Seen = append(r.Seen, n.ID)
			}
		}
		r.Seen = r.Seen[max(0, len(r.Seen)-keepSeen):]
		return nil
	})
}

// Watch polls until the context ends, and calls fn with every answer; notices count as seen when
// fn has returned. Lost connections and busy servers are waited out, at most half a minute at a
// time. It returns the context's error, ErrRevoked, ErrNotTrusted, fn's error or the server's
// refusal.
func (d *Device) Watch(ctx context.Context, fn func(Update) error) error {
	pause := firstPause
	for wait := 0; ; wait = maxWait {
		started := time.Now()
		u, err := d.Poll(ctx, wait)
		if err == nil {
			pause = firstPause
			if err := fn(u); err != nil {
				return err
			}
			if err := d.MarkSeen(ctx, u.Notices...); err != nil {
				return err
			}
			if err := sleep(ctx, pollPace-time.Since(started)); err != nil {
				return err
			}
			continue
		}
		var e *Error
		busy := errors.As(err, &e) && e.Status == http.StatusTooManyRequests
		if !unsure(err) && !busy {
			return err
		}
		if busy {
			pause = max(pause, e.RetryAfter)
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, 30*time.Second)
	}
}
