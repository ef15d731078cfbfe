package rest

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// totpAt computes the six digits of a seed (RFC 6238) as an authenticator program does.
func totpAt(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(seed)
	must(t, err)
	m := hmac.New(sha1.New, raw)
	_ = binary.Write(m, binary.BigEndian, at.Unix()/30)
	sum := m.Sum(nil)
	i := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[i:])&0x7fffffff%1_000_000)
}
