package protocol

// Rotate replaces the device's key; the old key signs it.
type Rotate struct {
	V     int    `json:"v"`
	Seq   int64  `json:"seq"`
	Inner string `json:"inner"` // a nod-newkey+jws
}

// Type is TypeRotate.
func (*Rotate) Type() Type { return TypeRotate }

func (r *Rotate) check() error {
	var c checker
	c.version(r.V)
	c.want(r.Seq >= 1, "seq", "not positive")
	if c.err == nil {
		_, c.err = Parse(TypeNewKey, []byte(r.Inner))
	}
	return c.err
}

// NewKey is signed by the key that takes over, which its header brings.
type NewKey struct {
	V             int    `json:"v"`
	Device        string `json:"device"`
	OldThumbprint string `json:"old_thumbprint"`
}

// Type is TypeNewKey.
func (*NewKey) Type() Type { return TypeNewKey }

func (n *NewKey) check() error {
	var c checker
	c.version(n.V)
	c.id(n.Device, "device")
	c.digest(n.OldThumbprint, "old_thumbprint")
	return c.err
}

// Open verifies the inner message with the key that it brings and gives both. The caller
// compares Device and OldThumbprint with the device that signed the outer message. It returns
// ErrSignature if the new key did not sign.
func (r *Rotate) Open() (NewKey, JWK, error) {
	m, err := Parse(TypeNewKey, []byte(r.Inner))
	if err != nil {
		return NewKey{}, JWK{}, err
	}
	if _, err := m.VerifySelf(); err != nil {
		return NewKey{}, JWK{}, err
	}
	n, err := Decode[NewKey](m)
	return n, *m.Header.JWK, err
}
