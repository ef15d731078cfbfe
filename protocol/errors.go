package protocol

import "errors"

// What may be wrong with a message. Every error of this package matches exactly one of them
// with errors.Is, and is an [*Error].
var (
	// ErrMalformed: the bytes, the header or the payload break a rule of form.
	ErrMalformed = errors.New("malformed")
	// ErrType: the header names another typ than the one expected.
	ErrType = errors.New("wrong typ")
	// ErrURL: the header names another url than those configured.
	ErrURL = errors.New("wrong url")
	// ErrSignature: the signature does not verify with the key given.
	ErrSignature = errors.New("bad signature")
	// ErrUpdateRequired: the server signed something newer than this package understands. It
	// can be shown as "update the authenticator" and must not be approved.
	ErrUpdateRequired = errors.New("update the authenticator")
	// ErrKeySet: a key set does not follow from the pinned one, or does not match the PIN.
	ErrKeySet = errors.New("key set not trusted")
	// ErrReceipt: a receipt does not hold together; Member names the part that differs.
	ErrReceipt = errors.New("receipt does not verify")
	// ErrOtherFactor: the receipt is for another factor than a device and proves nothing of
	// one.
	ErrOtherFactor = errors.New("receipt for another factor")
)

// Error says which rule a message breaks.
type Error struct {
	// Kind is one of the Err variables of this package.
	Kind error
	// Member is the dotted name of the member at fault, where there is one.
	Member string
	// Detail says what is wrong in words that may be shown; it holds no value from the message.
	Detail string
}

// Error gives kind, member and detail on one line.
func (e *Error) Error() string {
	text := e.Kind.Error()
	if e.Member != "" {
		text += ": " + e.Member
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Unwrap gives the kind.
func (e *Error) Unwrap() error { return e.Kind }

func malformed(member, detail string) error {
	return &Error{Kind: ErrMalformed, Member: member, Detail: detail}
}
