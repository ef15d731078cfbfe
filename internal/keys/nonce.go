package keys

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"
)

const (
	// NonceLife is how long a nonce is good for.
	NonceLife = 300 * time.Second
	// nonceSkew is how far in the future a nonce of another node may lie.
	nonceSkew = 5 * time.Second

	nonceTagBytes = 16
	nonceBytes    = 8 + nonceTagBytes
)

// Nonce gives a nonce for the key kid of a realm to sign, for one purpose: base64url of the
// second (8 bytes, big-endian) and a tag (16 bytes). It is kept nowhere, and every node
// with the same root knows it again.
func (r *Ring) Nonce(purpose, realm, kid string, now time.Time) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nonceBytes), uint64(now.Unix())) //nolint:gosec // the same bits, read back the same way
	b = append(b, r.nonceTag(purpose, realm, kid, b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// AtEpoch voids every nonce of other epochs than this one, the number of which is 0 in an
// installation that was never restored. Call it before anybody else uses the ring.
func (r *Ring) AtEpoch(n int64) {
	var input []byte
	if n != 0 {
		input = strconv.AppendInt(nil, n, 10)
	}
	r.nonceKey = r.Derive("nonce", input, 32)
}

// CheckNonce tells whether nonce was given by [Ring.Nonce] for this purpose, realm and kid,
// less than [NonceLife] ago, or by a node whose clock is at most five seconds ahead.
func (r *Ring) CheckNonce(nonce, purpose, realm, kid string, now time.Time) bool {
	if len(nonce) != base64.RawURLEncoding.EncodedLen(nonceBytes) {
		return false
	}
	// 24 bytes fill 32 characters to the last bit, so a nonce has one spelling; with line
	// breaks, which the decoder skips, there are fewer bytes.
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) != nonceBytes {
		return false
	}
	second, tag := b[:8], b[8:]
	if !hmac.Equal(tag, r.nonceTag(purpose, realm, kid, second)) {
		return false
	}
	given := time.Unix(int64(binary.BigEndian.Uint64(second)), 0) //nolint:gosec // the same bits, written the same way
	return now.Before(given.Add(NonceLife)) && !given.After(now.Add(nonceSkew))
}

func (r *Ring) nonceTag(purpose, realm, kid string, second []byte) []byte {
	m := hmac.New(sha256.New, r.nonceKey)
	m.Write(Encode(purpose, realm, kid, string(second)))
	return m.Sum(nil)[:nonceTagBytes]
}
