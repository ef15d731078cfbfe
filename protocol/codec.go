package protocol

// Payload is the content of one type of message. Only the types of this package are.
type Payload interface {
	// Type is the typ of the message that carries the payload.
	Type() Type
	// check returns ErrMalformed for the first member against the rules.
	check() error
}

// codec is how the messages of one type are read.
type codec struct {
	decode         func([]byte) (any, error)
	header         headerForm
	signedByServer bool
}

var (
	byDevice  = headerForm{kid: true, url: true, nonce: true}
	noNonce   = headerForm{kid: true, url: true}
	byRealm   = headerForm{kid: true}
	ownKey    = headerForm{jwk: true, url: true}
	byBrowser = headerForm{jwk: true, url: true, nonce: true}
	innerKey  = headerForm{jwk: true}
)

var codecs = map[Type]codec{
	TypeEnrol:    device[Enrol](ownKey),
	TypePoll:     device[Poll](byDevice),
	TypeDecision: {decode: decodeDecision, header: noNonce},
	TypeStamp:    device[Stamp](noNonce),
	TypeTarget:   device[Targets](byDevice),
	TypeRotate:   device[Rotate](byDevice),
	TypeNewKey:   device[NewKey](innerKey),
	TypeName:     device[Name](byDevice),
	TypeLock:     device[Lock](byDevice),
	TypeHistory:  device[History](byDevice),
	TypeVeto:     device[Veto](byDevice),
	TypeUnenrol:  device[Unenrol](byDevice),
	TypeBrowser:  device[Browser](byBrowser),
	TypeEnrolled: realm[Enrolled](),
	TypePrompt:   realm[Prompt](),
	TypeNotice:   realm[Notice](),
	TypeKeys:     realm[Keys](),
}

// payloadOf is satisfied by *T for the payload types T.
type payloadOf[T any] interface {
	*T
	Payload
}

func device[T any, P payloadOf[T]](form headerForm) codec {
	s := shapeOf[T]()
	return codec{header: form, decode: func(data []byte) (any, error) {
		v, err := decodeStrict[T](data, s)
		if err != nil {
			return nil, err
		}
		return v, P(v).check()
	}}
}

func realm[T any, P payloadOf[T]]() codec {
	s := shapeOf[T]()
	return codec{header: byRealm, signedByServer: true, decode: func(data []byte) (any, error) {
		v, err := decodeSigned[T](data, s)
		if err != nil {
			return nil, err
		}
		return v, P(v).check()
	}}
}
