// Package limit measures what the parts of a sign-in cost when there is nothing around them: the
// floor under what any server does on this machine, at this moment.
package limit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/nodauth/nod/bench/machine"
)

// Part is one primitive. Values in microseconds of processor time for each operation, unless its
// name says something else.
type Part string

// The primitives.
const (
	Sign        Part = "P-256 sign"
	Verify      Part = "P-256 verify"
	Token       Part = "ES256 JWT issue"
	MAC         Part = "HMAC-SHA-256, 256 B"
	Hash        Part = "SHA-256, 256 B"
	Wake        Part = "park and wake a waiter"
	Request     Part = "HTTP request, JSON in and out"
	MemoryTold  Part = "verify and wake over HTTP, in memory: sent to told, p50"
	Sync        Part = "raw fdatasync of 512 B, p50"
	SyncCPU     Part = "raw fdatasync of 512 B, CPU"
	LogCommit   Part = "group commit of one row, log file"
	TableCommit Part = "group commit of one row, SQLite"
)

// Wall says whether a part is time that passes rather than processor time.
func (p Part) Wall() bool { return p == Sync || p == MemoryTold }

// Parts is one measurement of all.
type Parts map[Part]float64

// Computed is the processor time of a round trip that does nothing but what it cannot do without:
// four requests, two of which carry an application's key and two a device's signature, one token,
// one waiter woken, two rows committed together with those of others.
func (p Parts) Computed() float64 {
	return 4*p[Request] + 2*p[MAC] + 2*p[Verify] + p[Token] + p[Wake] + 2*p[LogCommit]
}

// Told is the least time between sending an approval and its application being told of it: the
// same over HTTP in memory, and one sync.
func (p Parts) Told() float64 { return p[MemoryTold] + p[Sync] }

// Crypto measures what needs nothing but a processor, for so many rounds.
func Crypto(rounds int, into Parts) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	text := make([]byte, 256)
	sum := sha256.Sum256(text)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		return err
	}
	claims := jwt.Claims{
		Issuer: "https://nod.example.com", Subject: rand.Text(), Audience: jwt.Audience{rand.Text()}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(time.Now()), Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute)),
	}
	into[Sign], err = each(rounds, func() error {
		_, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		return err
	}, err)
	into[Verify], err = each(rounds, func() error {
		if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) {
			return fmt.Errorf("a good signature is refused")
		}
		return nil
	}, err)
	into[Token], err = each(rounds, func() error {
		_, err := jwt.Signed(signer).Claims(claims).Serialize()
		return err
	}, err)
	into[Hash], err = each(rounds*50, func() error {
		_ = sha256.Sum256(text)
		return nil
	}, err)
	into[MAC], err = each(rounds*50, func() error {
		m := hmac.New(sha256.New, text[:32])
		m.Write(text)
		_ = m.Sum(nil)
		return nil
	}, err)
	into[Wake], err = wake(rounds*10, err)
	return err
}

// each is the processor time of one call, in microseconds.
func each(n int, do func() error, before error) (float64, error) {
	if before != nil {
		return 0, before
	}
	start := machine.Self()
	for range n {
		if err := do(); err != nil {
			return 0, err
		}
	}
	return micros(machine.Self()-start) / float64(n), nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// wake parks 64 goroutines at a time in a map under a lock, each with the timer for the end of its
// wait, and wakes them.
func wake(n int, before error) (float64, error) {
	if before != nil {
		return 0, before
	}
	var mu sync.Mutex
	parked := map[int]chan struct{}{}
	start := machine.Self()
	for at := 0; at < n; at += 64 {
		var ready, done sync.WaitGroup
		for i := range 64 {
			ready.Add(1)
			done.Go(func() {
				c := make(chan struct{})
				t := time.NewTimer(time.Minute)
				defer t.Stop()
				mu.Lock()
				parked[i] = c
				mu.Unlock()
				ready.Done()
				select {
				case <-c:
				case <-t.C:
				}
			})
		}
		ready.Wait()
		for i := range 64 {
			mu.Lock()
			close(parked[i])
			delete(parked, i)
			mu.Unlock()
		}
		done.Wait()
	}
	return micros(machine.Self()-start) / float64(n), nil
}
