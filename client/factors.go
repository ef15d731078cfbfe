package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// TOTPFactor is a shared secret for time-based codes.
type TOTPFactor struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Algorithm   string    `json:"algorithm"` // SHA1, SHA256 or SHA512
	Digits      int       `json:"digits"`
	Period      int       `json:"period"` // seconds
	State       string    `json:"state"`  // pending, active or disabled
	CreatedAt   time.Time `json:"created_at"`
	ConfirmedAt time.Time `json:"confirmed_at,omitzero"`
}

// BackupStatus says how many backup codes are left.
type BackupStatus struct {
	Left      int       `json:"left"`
	Disabled  bool      `json:"disabled,omitzero"` // too many wrong codes in a row
	CreatedAt time.Time `json:"created_at"`
}

// BypassStatus says what a user's bypass code is still good for.
type BypassStatus struct {
	UsesLeft  int       `json:"uses_left"`
	ExpiresAt time.Time `json:"expires_at"`
	Reason    string    `json:"reason"`
	By        string    `json:"by"`
}

// FactorList are a user's ways to answer beside devices.
type FactorList struct {
	TOTP        []TOTPFactor  `json:"totp"`
	BackupCodes *BackupStatus `json:"backup_codes,omitzero"`
	BypassCode  *BypassStatus `json:"bypass_code,omitzero"`
}

// NewTOTP is how a TOTP factor is made; all of it may be left out.
type NewTOTP struct {
	Name      string `json:"name,omitzero"`
	Algorithm string `json:"algorithm,omitzero"` // SHA1, SHA256 or SHA512
	Digits    int    `json:"digits,omitzero"`    // 6 to 8
	Period    int    `json:"period,omitzero"`    // seconds, 30 or 60
	// QR asks for the URI as a picture too: svg or png.
	QR string `json:"-"`
}

// TOTPSeed is shown once, to be put into an app; it counts after its first code was confirmed.
type TOTPSeed struct {
	ID     string `json:"id"`
	Secret Secret `json:"secret"`      // base32
	URI    Secret `json:"uri"`         // otpauth://
	QR     Secret `json:"qr,omitzero"` // SVG text, or PNG in base64
}

// Factors are a user's ways to answer beside devices; the key needs the scope administer.
type Factors struct{ c *Client }

// Get reads a user's factors.
func (s Factors) Get(ctx context.Context, user string) (FactorList, error) {
	var f FactorList
	err := s.c.do(ctx, call{what: "read the factors of " + user, method: http.MethodGet, path: "/v1/users/{}/factors", ids: []string{user}, out: &f})
	return f, err
}

// AddTOTP makes a TOTP factor, which waits for its first code.
func (s Factors) AddTOTP(ctx context.Context, user string, n NewTOTP) (TOTPSeed, error) {
	var t TOTPSeed
	q := call{what: "add TOTP to " + user, method: http.MethodPost, path: "/v1/users/{}/factors/totp", ids: []string{user}, body: n, out: &t}
	if n.QR != "" {
		q.query = url.Values{"qr": {n.QR}}
	}
	err := s.c.do(ctx, q)
	return t, err
}

// ConfirmTOTP gives the first code. It returns an Error with reason wrong_code.
func (s Factors) ConfirmTOTP(ctx context.Context, user, factor string, code Secret) error {
	body := struct {
		Code string `json:"code"`
	}{string(code)}
	return s.c.do(ctx, call{
		what: "confirm TOTP " + factor, method: http.MethodPost, path: "/v1/users/{}/factors/totp/{}/confirm", ids: []string{user, factor}, body: body,
	})
}

// RemoveTOTP removes a TOTP factor.
func (s Factors) RemoveTOTP(ctx context.Context, user, factor string) error {
	return s.c.do(ctx, call{what: "remove TOTP " + factor, method: http.MethodDelete, path: "/v1/users/{}/factors/totp/{}", ids: []string{user, factor}})
}

// MakeBackupCodes makes ten codes, shown once; former ones end.
func (s Factors) MakeBackupCodes(ctx context.Context, user string) ([]Secret, error) {
	var got struct {
		Codes []Secret `json:"codes"`
	}
	err := s.c.do(ctx, call{what: "make backup codes for " + user, method: http.MethodPost, path: "/v1/users/{}/factors/backup-codes", ids: []string{user}, out: &got})
	return got.Codes, err
}

// RemoveBackupCodes ends a user's backup codes.
func (s Factors) RemoveBackupCodes(ctx context.Context, user string) error {
	return s.c.do(ctx, call{what: "remove the backup codes of " + user, method: http.MethodDelete, path: "/v1/users/{}/factors/backup-codes", ids: []string{user}})
}

// NewBypass is how a bypass code is made. Everything but Reason may be left out.
type NewBypass struct {
	Uses     int           // at most 10; 0 for one
	ValidFor time.Duration // whole seconds, from a minute to 24 h; 0 for one hour
	Reason   string        // that the event records
	By       string        // ByAdministrator or ByHelpDesk
}

// IssuedBypass is a code that lets a user in without a device, shown once.
type IssuedBypass struct {
	ID        string    `json:"id"`
	Code      Secret    `json:"code"`
	Uses      int       `json:"uses"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Bypass are the codes that a help desk gives; the key needs the scope administer.
type Bypass struct{ c *Client }

// Issue makes a code for a user, of which all the user's devices are told; a former one ends.
func (s Bypass) Issue(ctx context.Context, user string, n NewBypass) (IssuedBypass, error) {
	body := struct {
		Uses   int    `json:"uses,omitzero"`
		Valid  int64  `json:"valid_for_seconds,omitzero"`
		Reason string `json:"reason"`
		By     string `json:"by,omitzero"`
	}{n.Uses, int64(n.ValidFor / time.Second), n.Reason, n.By}
	var b IssuedBypass
	err := s.c.do(ctx, call{what: "issue a bypass code for " + user, method: http.MethodPost, path: "/v1/users/{}/bypass-codes", ids: []string{user}, body: body, out: &b})
	return b, err
}

// Revoke ends a user's bypass code.
func (s Bypass) Revoke(ctx context.Context, user string) error {
	return s.c.do(ctx, call{what: "revoke the bypass code of " + user, method: http.MethodDelete, path: "/v1/users/{}/bypass-codes", ids: []string{user}})
}
