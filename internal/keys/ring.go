// Package keys is the keyring: it seals what is stored, signs what the realm says, and
// derives what must be the same on every node without being stored.
//
// All of it hangs on one root, a JSON document with two Tink keysets: one seals (AEAD), the
// other derives (PRF). The sealing keys can be replaced ([AddSealKey], [Ring.UseSealKey],
// [KeepSealKey]); the deriving key stays for the life of an installation, since the ids and digests
// that it gave are in the database. The root is in a file or comes from the environment or a key
// service as bytes. Whoever has the database without the root has no private key, seed or
// token; whoever has the root without the database has nothing to open with it. The
// realms' signing keys are rows: this package makes, seals, opens and uses them, and the
// caller keeps the rows and decides which is current.
package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
)

// rootVersion is the form of the root document. Another one is refused.
const rootVersion = 1

// maxDerived is what HKDF-SHA-256 can give for one input, in bytes.
const maxDerived = 255 * 32

// Config says where the root is.
type Config struct {
	// Root is the root document itself. If it is set, File and Create are not looked at.
	Root []byte
	// File is the path of the root document. Only its owner may have access to it.
	File string
	// Create makes a new root if there is no file. Its folder must exist.
	Create bool
	// Places tells whether values may be sealed for a column. The server lists those which it seals
	// again when the sealing key is replaced, and takes no other. nil takes all.
	Places func(table, column string) bool
}

// Ring seals, signs and derives. It may be used by several goroutines.
type Ring struct {
	file     string // of the root, "" when it was given
	places   func(table, column string) bool
	swap     sync.Mutex
	sealing  atomic.Pointer[sealing]
	deriver  *prf.Set
	nonceKey []byte

	mu      sync.Mutex
	signers map[signerID]*Signer
}

// Open reads the root, or makes it if that is allowed. The error wraps [fs.ErrNotExist] if
// there is no file.
func Open(c Config) (*Ring, error) {
	root, file := c.Root, ""
	if len(root) == 0 {
		if file = c.File; file == "" {
			return nil, errors.New("open keyring: neither a root nor a file is given")
		}
		var err error
		if root, err = readRoot(c.File, c.Create); err != nil {
			return nil, fmt.Errorf("open keyring: %w", err)
		}
	}
	sealers, deriver, err := parseRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open keyring: %w", err)
	}
	r := &Ring{file: file, places: c.Places, deriver: deriver, signers: make(map[signerID]*Signer)}
	r.sealing.Store(sealers)
	r.AtEpoch(0)
	return r, nil
}

// rootDocument is the root as stored: keysets in Tink's own JSON form.
type rootDocument struct {
	V    int            `json:"v"`
	AEAD jsontext.Value `json:"aead"`
	PRF  jsontext.Value `json:"prf"`
}

// NewRoot makes the root document of a new installation, for a file or the environment. It
// is a secret.
func NewRoot() ([]byte, error) {
	// The 192-bit nonces let one key seal any number of values.
	sealing, err := newKeyset(keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate()))
	if err != nil {
		return nil, fmt.Errorf("make sealing key: %w", err)
	}
	deriving, err := newKeyset(keyset.NewHandle(prf.HKDFSHA256PRFKeyTemplate()))
	if err != nil {
		return nil, fmt.Errorf("make deriving key: %w", err)
	}
	root, err := json.Marshal(rootDocument{V: rootVersion, AEAD: sealing, PRF: deriving})
	if err != nil {
		return nil, fmt.Errorf("write root: %w", err)
	}
	return append(root, '\n'), nil
}

func newKeyset(h *keyset.Handle, err error) (jsontext.Value, error) {
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&b)); err != nil {
		return nil, err
	}
	return jsontext.Value(b.Bytes()), nil
}

// errRoot is all that is said about the content of a root, since a parser's message may
// quote it.
var errRoot = errors.New("root is not a valid key document")

func parseRoot(root []byte) (*sealing, *prf.Set, error) {
	var d rootDocument
	if err := json.Unmarshal(root, &d, json.RejectUnknownMembers(true)); err != nil {
		return nil, nil, errRoot
	}
	if d.V != rootVersion {
		return nil, nil, fmt.Errorf("root has version %d, this program knows %d", d.V, rootVersion)
	}
	sealers, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(d.AEAD)))
	if err != nil {
		return nil, nil, errRoot
	}
	deriving, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(d.PRF)))
	if err != nil {
		return nil, nil, errRoot
	}
	s, err := newSealing(sealers)
	if err != nil {
		return nil, nil, errRoot
	}
	deriver, err := prf.NewPRFSet(deriving)
	if err != nil {
		return nil, nil, errRoot
	}
	// Two documents belong together if they derive the same, however their keys are written.
	if s.derived, err = deriver.ComputePrimaryPRF(Encode("nod derived value 1", "root"), sha256.Size); err != nil {
		return nil, nil, errRoot
	}
	return s, deriver, nil
}

// AAD names the one place where a sealed value may stand. All members are required, so a
// value copied to another realm, table, row or column does not open.
type AAD struct {
	Realm, Table, Row, Column string
}

func (a AAD) encode() ([]byte, error) {
	if a.Realm == "" || a.Table == "" || a.Row == "" || a.Column == "" {
		return nil, errors.New("the place of a sealed value is not complete")
	}
	return Encode("nod sealed value 1", a.Realm, a.Table, a.Row, a.Column), nil
}

// ErrSealed is what a sealed value gives that was changed, cut, sealed for another place or
// sealed under another root.
var ErrSealed = errors.New("sealed value does not open here")

// Seal encrypts plain for the place that ad names.
func (r *Ring) Seal(plain []byte, ad AAD) ([]byte, error) {
	place, err := ad.encode()
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if r.places != nil && !r.places(ad.Table, ad.Column) {
		return nil, fmt.Errorf("seal: the column %s.%s is not among those that are sealed again when the key is replaced", ad.Table, ad.Column)
	}
	s := r.sealing.Load()
	if s.use == "" {
		return nil, fmt.Errorf("seal: %w", ErrNoSealKey)
	}
	sealed, err := s.sealers[s.use].Encrypt(plain, place)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed, nil
}

// Open gives what was sealed for the place that ad names, or [ErrSealed].
func (r *Ring) Open(sealed []byte, ad AAD) ([]byte, error) {
	place, err := ad.encode()
	if err != nil {
		return nil, fmt.Errorf("open sealed value: %w", err)
	}
	plain, err := r.sealing.Load().opener.Decrypt(sealed, place)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}

// Derive gives n bytes that depend on the root, the purpose and the input only: the same on
// every node and after every start, and not to be told from random bytes without the root.
// It panics if n is not between 1 and 8160, which is a bug of the caller.
func (r *Ring) Derive(purpose string, input []byte, n int) []byte {
	if n < 1 || n > maxDerived {
		panic("keys: cannot derive that many bytes")
	}
	out, err := r.deriver.ComputePrimaryPRF(Encode("nod derived value 1", purpose, string(input)), uint32(n))
	if err != nil {
		panic("keys: deriving failed: " + err.Error()) // the keyset was checked when it was opened
	}
	return out
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// DeriveID gives prefix and 26 characters of lower-case base32, as a random id has, derived
// by [Ring.Derive]: the id of something that does not exist looks like any other and is the
// same each time.
func (r *Ring) DeriveID(prefix, purpose string, input []byte) string {
	return prefix + lowerBase32.EncodeToString(r.Derive(purpose, input, 17))[:26]
}

// Encode joins parts so that no other list of parts gives the same bytes: each has its
// length in front.
func Encode(parts ...string) []byte {
	n := 0
	for _, p := range parts {
		n += 8 + len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}
