package authenticator

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// Keyring seals the keys of accounts for storage. The label names the account and is bound to
// the sealed bytes, so that one account's key cannot be put in place of another's; a keyring of
// an operating system may use it as the name of the entry.
type Keyring interface {
	// Kind is a short constant name, stored so that a file is not opened with another kind.
	Kind() string
	// Seal gives the bytes to store in place of the secret.
	Seal(label string, secret []byte) ([]byte, error)
	// Open reverses Seal. It returns ErrPassphrase, perhaps wrapped, if it cannot.
	Open(label string, sealed []byte) ([]byte, error)
}

// Plain keeps keys as they are; only the file's permissions protect them.
func Plain() Keyring { return plainRing{} }

type plainRing struct{}

func (plainRing) Kind() string                                 { return "plain" }
func (plainRing) Seal(_ string, secret []byte) ([]byte, error) { return secret, nil }
func (plainRing) Open(_ string, sealed []byte) ([]byte, error) { return sealed, nil }

// Passphrase seals keys with a passphrase: argon2id (64 MiB, 3 passes, 2 lanes) gives the key
// for XChaCha20-Poly1305. It copies the passphrase.
func Passphrase(passphrase []byte) Keyring {
	return &passphraseRing{passphrase: append([]byte(nil), passphrase...), memory: 64 << 10, derived: make(map[string]cipher.AEAD)}
}

const (
	saltSize = 16
	passes   = 3
	lanes    = 2
)

type passphraseRing struct {
	passphrase []byte
	memory     uint32 // KiB

	mu      sync.Mutex
	salt    []byte // for sealing, made once
	derived map[string]cipher.AEAD
}

func (*passphraseRing) Kind() string { return "passphrase" }

// aead derives once per salt, since that is slow on purpose.
func (r *passphraseRing) aead(salt []byte) (cipher.AEAD, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.derived[string(salt)]; ok {
		return a, nil
	}
	key := argon2.IDKey(r.passphrase, salt, passes, r.memory, lanes, chacha20poly1305.KeySize)
	a, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, err
	}
	r.derived[string(salt)] = a
	if r.salt == nil {
		r.salt = append([]byte(nil), salt...)
	}
	return a, nil
}

// Seal gives salt, nonce and ciphertext.
func (r *passphraseRing) Seal(label string, secret []byte) ([]byte, error) {
	r.mu.Lock()
	salt := r.salt
	r.mu.Unlock()
	if salt == nil {
		salt = random(saltSize)
	}
	a, err := r.aead(salt)
	if err != nil {
		return nil, fmt.Errorf("seal a key: %w", err)
	}
	nonce := random(a.NonceSize())
	out := append(append([]byte(nil), salt...), nonce...)
	return a.Seal(out, nonce, secret, []byte(label)), nil
}

func (r *passphraseRing) Open(label string, sealed []byte) ([]byte, error) {
	if len(sealed) < saltSize+chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead {
		return nil, ErrPassphrase
	}
	a, err := r.aead(sealed[:saltSize])
	if err != nil {
		return nil, fmt.Errorf("open a key: %w", err)
	}
	rest := sealed[saltSize:]
	secret, err := a.Open(nil, rest[:a.NonceSize()], rest[a.NonceSize():], []byte(label))
	if err != nil {
		return nil, ErrPassphrase
	}
	return secret, nil
}

var errRing = errors.New("the file was written with another kind of keyring")

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return b
}
