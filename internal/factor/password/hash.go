// Package password hashes what is too short to be stored otherwise, and judges new passwords.
//
// Hashes are argon2id in PHC form, with a random salt. Making one is expensive on purpose, so
// a [Hasher] makes only so many at once and turns work away when too much of it waits.
package password

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

// The cost of a hash: 19 MiB of memory, two passes, one thread.
const (
	memory = 19 * 1024 // KiB
	passes = 2
	lanes  = 1

	saltBytes = 16
	keyBytes  = 32
)

// What a stored hash may cost at most, so that no row can exhaust the server.
const (
	maxMemory = 256 * 1024 // KiB
	maxPasses = 16
	maxLanes  = 16
	maxSalt   = 64 // bytes
)

// waitingPerSlot is how much work may wait for each hash that is made at once.
const waitingPerSlot = 32

// busyFor is when one who was turned away may come again.
const busyFor = time.Second

// Hasher makes and compares hashes. It may be used by several goroutines.
type Hasher struct {
	slots chan struct{}
	queue int64 // working and waiting, at most
	used  atomic.Int64
}

// NewHasher makes a Hasher that makes at most slots hashes at once, or as many as there are
// processors if slots is not positive.
func NewHasher(slots int) *Hasher {
	if slots <= 0 {
		slots = runtime.GOMAXPROCS(0)
	}
	return &Hasher{slots: make(chan struct{}, slots), queue: int64(slots) * (1 + waitingPerSlot)}
}

// Hash gives the hash of text in PHC form, with a new salt. It returns Unavailable when too
// much work waits, or when ctx ends while this waits.
func (h *Hasher) Hash(ctx context.Context, text string) (string, error) {
	p := phc{memory: memory, passes: passes, lanes: lanes, salt: secret.Random(saltBytes)}
	var err error
	if p.key, err = h.derive(ctx, p, text); err != nil {
		return "", err
	}
	return p.String(), nil
}

// Compare tells whether hash is that of text. It returns Unavailable as Hash does, and an
// error for a hash that is not in PHC form.
func (h *Hasher) Compare(ctx context.Context, hash, text string) (bool, error) {
	p, err := parsePHC(hash)
	if err != nil {
		return false, err
	}
	key, err := h.derive(ctx, p, text)
	if err != nil {
		return false, err
	}
	return secret.Equal(key, p.key), nil
}

// Dummy gives a hash that costs as much as any other and is that of nothing anybody knows:
// comparing with it takes the time of a comparison with a real one.
func Dummy() string {
	return phc{
		memory: memory, passes: passes, lanes: lanes,
		salt: secret.Random(saltBytes), key: secret.Random(keyBytes),
	}.String()
}

// Busy tells how many hashes are made at this moment, and how many wait for their turn.
func (h *Hasher) Busy() (running, waiting int) {
	running = len(h.slots)
	return running, max(int(h.used.Load())-running, 0)
}

func (h *Hasher) derive(ctx context.Context, p phc, text string) ([]byte, error) {
	defer h.used.Add(-1)
	if h.used.Add(1) > h.queue {
		return nil, busy(nil)
	}
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, busy(ctx.Err())
	}
	defer func() { <-h.slots }()
	return argon2.IDKey([]byte(text), p.salt, p.passes, p.memory, p.lanes, keyBytes), nil
}

func busy(err error) error {
	return &mfa.Error{
		Code: mfa.Unavailable, Reason: mfa.ReasonBusy, RetryAfter: busyFor, Err: err,
		Message: "The server is busy checking passwords and codes. Try again in a moment.",
	}
}

// phc is a hash in the PHC string format: $argon2id$v=19$m=19456,t=2,p=1$SALT$KEY.
type phc struct {
	memory, passes uint32
	lanes          uint8
	salt, key      []byte
}

const prefix = "$argon2id$v=19$"

// String gives the one form that parsePHC reads.
func (p phc) String() string {
	return fmt.Sprintf("%sm=%d,t=%d,p=%d$%s$%s", prefix, p.memory, p.passes, p.lanes, b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

var b64 = base64.RawStdEncoding.Strict()

// errPHC is all that is said of a hash that cannot be read: it is not quoted.
var errPHC = errors.New("stored hash is not argon2id in PHC form")

func parsePHC(s string) (phc, error) {
	rest, ok := strings.CutPrefix(s, prefix)
	parts := strings.Split(rest, "$")
	if !ok || len(parts) != 3 {
		return phc{}, errPHC
	}
	var p phc
	_, errCosts := fmt.Sscanf(parts[0], "m=%d,t=%d,p=%d", &p.memory, &p.passes, &p.lanes)
	var errSalt, errKey error
	p.salt, errSalt = b64.DecodeString(parts[1])
	p.key, errKey = b64.DecodeString(parts[2])
	switch {
	case errCosts != nil || errSalt != nil || errKey != nil:
		return phc{}, errPHC
	case p.memory < 1 || p.memory > maxMemory || p.passes < 1 || p.passes > maxPasses || p.lanes < 1 || p.lanes > maxLanes:
		return phc{}, errPHC
	case len(p.salt) < 8 || len(p.salt) > maxSalt || len(p.key) != keyBytes:
		return phc{}, errPHC
	case p.String() != s: // white space, leading zeros, line breaks in base64
		return phc{}, errPHC
	}
	return p, nil
}
