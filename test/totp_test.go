package test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"time"
)

// totp gives the user a confirmed TOTP factor, and a function that makes the code of a step
// relative to now. It is written from RFC 6238 alone.
func (n *node) totp(user string) func(step int64) string {
	n.t.Helper()
	made := n.call(n.admin, "POST", "/v1/users/"+user+"/factors/totp", obj{}).want(n.t, 201)
	seed, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(made.get("secret"))
	if err != nil {
		n.t.Fatalf("secret %v", err)
	}
	code := func(step int64) string {
		now := time.Now()
		if n.offset != nil {
			now = now.Add(time.Duration(n.offset.Load()))
		}
		return hotp(seed, now.Unix()/30+step)
	}
	n.call(n.admin, "POST", "/v1/users/"+user+"/factors/totp/"+made.get("id")+"/confirm", obj{"code": code(0)}).want(n.t, 204)
	return code
}

func hotp(seed []byte, counter int64) string {
	var c [8]byte
	binary.BigEndian.PutUint64(c[:], uint64(counter))
	m := hmac.New(sha1.New, seed)
	m.Write(c[:])
	sum := m.Sum(nil)
	at := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:at+4])&0x7fffffff%1_000_000)
}
