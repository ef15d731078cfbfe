// Package protocol is the device protocol of nod: the signed messages between a server and
// the authenticators enrolled with it, byte for byte.
//
// Every request of a device is one compact JWS (RFC 7515) with ES256, and so is every prompt,
// notice, enrolment answer and key set that the server signs. This package parses them
// strictly, checks every member, verifies and signs them; it knows nothing of HTTP, storage
// or policy. Messages are told apart by the header member typ, never by position.
//
// A server reads a message in three steps, since it needs the message to find the key:
//
//	m, err := protocol.Parse(protocol.TypeDecision, body) // form of header and payload
//	d, err := protocol.Decode[protocol.Decision](m)       // the typed payload
//	err = m.Verify(deviceKey)                             // the signature
//
// The bytes are held to these rules, each with a refused vector in testdata:
//
//   - three parts of canonical base64url without padding, nothing else;
//   - header at most 2 KiB, message at most 16 KiB, signature exactly 64 bytes;
//   - header and payload are UTF-8 JSON objects: names are case-sensitive, each at most once
//     at every depth, none unknown, none missing, no null, integers only and at most 2^53-1,
//     nested at most 4 deep;
//   - alg is ES256 and the header has exactly the members of its typ.
//
// (r, s) and (r, n-s) are the same signature, so nothing may be keyed by signature bytes; use
// [Message.RepetitionKey].
//
// All functions and methods are safe for concurrent use; values are not modified after they
// are returned.
package protocol

// Type is the header member typ, which names the kind of a message.
type Type string

// The message types that devices sign.
const (
	TypeEnrol    Type = "nod-enrol+jws"
	TypePoll     Type = "nod-poll+jws"
	TypeDecision Type = "nod-decision+jws"
	TypeStamp    Type = "nod-stamp+jws"
	TypeTarget   Type = "nod-target+jws"
	TypeRotate   Type = "nod-rotate+jws"
	TypeNewKey   Type = "nod-newkey+jws"
	TypeName     Type = "nod-name+jws"
	TypeLock     Type = "nod-lock+jws"
	TypeHistory  Type = "nod-history+jws"
	TypeVeto     Type = "nod-veto+jws"
	TypeUnenrol  Type = "nod-unenrol+jws"
)

// TypeBrowser is signed by the key of a browser that a person asked to remember.
const TypeBrowser Type = "nod-browser+jws"

// The message types that the realm's prompt key signs.
const (
	TypeEnrolled Type = "nod-enrolled+jws"
	TypePrompt   Type = "nod-prompt+jws"
	TypeNotice   Type = "nod-notice+jws"
	TypeKeys     Type = "nod-keys+jws"
)

// The paths below a public URL to which messages are posted.
const (
	PathEnrol         = "/device/v1/enrol"
	PathPrompts       = "/device/v1/prompts"
	PathDecisions     = "/device/v1/decisions"
	PathStamps        = "/device/v1/stamps"
	PathTargets       = "/device/v1/targets"
	PathKeys          = "/device/v1/keys"
	PathNames         = "/device/v1/names"
	PathLocks         = "/device/v1/locks"
	PathHistory       = "/device/v1/history"
	PathVetoes        = "/device/v1/vetoes"
	PathUnenrol       = "/device/v1/unenrol"
	PathBrowserProofs = "/browser/v1/proofs"
	PathWellKnown     = "/.well-known/nod"
)

const (
	// Version is the member v of every payload.
	Version = 1
	// ContentType is the media type of every device request.
	ContentType = "application/jose"
	// NonceHeader is the HTTP header that carries the next nonce in every answer to a device.
	NonceHeader = "Nod-Nonce"

	// MaxMessage is the greatest length of a message, in bytes of its compact form.
	MaxMessage = 16 << 10
	// MaxHeader is the greatest length of a decoded header, in bytes.
	MaxHeader = 2 << 10
	// MaxDepth is the greatest nesting of objects and arrays, the outermost counted as one.
	MaxDepth = 4
	// MaxInteger is the greatest magnitude of a number in a message.
	MaxInteger = 1<<53 - 1
)

// Path is where a message of this type is posted, or "" for types that travel inside others
// or in answers.
func (t Type) Path() string {
	switch t {
	case TypeEnrol:
		return PathEnrol
	case TypePoll:
		return PathPrompts
	case TypeDecision:
		return PathDecisions
	case TypeStamp:
		return PathStamps
	case TypeTarget:
		return PathTargets
	case TypeRotate:
		return PathKeys
	case TypeName:
		return PathNames
	case TypeLock:
		return PathLocks
	case TypeHistory:
		return PathHistory
	case TypeVeto:
		return PathVetoes
	case TypeUnenrol:
		return PathUnenrol
	case TypeBrowser:
		return PathBrowserProofs
	case TypeNewKey, TypeEnrolled, TypePrompt, TypeNotice, TypeKeys:
		return ""
	}
	return ""
}
