package rest

import (
	"context"
	"net/http"
	"time"

	"github.com/nodauth/nod/internal/account"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
)

type totpShape struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	Algorithm   string  `json:"algorithm" enum:"SHA1,SHA256,SHA512"`
	Digits      int     `json:"digits"`
	Period      int     `json:"period" doc:"Seconds."`
	State       string  `json:"state" enum:"pending,active,disabled"`
	CreatedAt   instant `json:"created_at"`
	ConfirmedAt instant `json:"confirmed_at,omitzero"`
}

type backupCodesShape struct {
	Left      int     `json:"left"`
	Disabled  bool    `json:"disabled,omitzero" doc:"Too many wrong codes in a row."`
	CreatedAt instant `json:"created_at"`
}

type bypassCodeShape struct {
	UsesLeft  int     `json:"uses_left"`
	ExpiresAt instant `json:"expires_at" doc:"Exclusive."`
	Reason    string  `json:"reason"`
	By        string  `json:"by" doc:"The credential that made it."`
}

type factorsShape struct {
	TOTP        []totpShape       `json:"totp"`
	BackupCodes *backupCodesShape `json:"backup_codes,omitempty"`
	BypassCode  *bypassCodeShape  `json:"bypass_code,omitempty"`
}

type newTOTPShape struct {
	Name      string `json:"name,omitempty" maxLength:"64"`
	Algorithm string `json:"algorithm,omitempty" enum:"SHA1,SHA256,SHA512" doc:"SHA1 without it, which every program knows."`
	Digits    int    `json:"digits,omitzero" minimum:"6" maximum:"8"`
	Period    int    `json:"period,omitzero" minimum:"30" maximum:"60" multipleOf:"30" doc:"Seconds: 30, as without it, or 60."`
}

type totpSeedShape struct {
	ID     string `json:"id"`
	Secret string `json:"secret" doc:"Base32, shown once."`
	URI    string `json:"uri" doc:"otpauth://, shown once."`
	QR     string `json:"qr,omitempty" doc:"The URI as a picture, with ?qr=: SVG text, or PNG in base64."`
}

type codesShape struct {
	Codes []string `json:"codes" doc:"Shown once. Each is good once."`
}

type newBypassShape struct {
	Uses     int    `json:"uses,omitzero" minimum:"1" maximum:"10" doc:"1 without it."`
	ValidFor int    `json:"valid_for_seconds,omitzero" minimum:"60" maximum:"86400" doc:"3600 without it."`
	Reason   string `json:"reason" minLength:"1" maxLength:"200" doc:"Recorded."`
	By       string `json:"by,omitempty" enum:"administrator,help_desk"`
}

type issuedBypassShape struct {
	ID        string  `json:"id"`
	Code      string  `json:"code" doc:"Shown once."`
	Uses      int     `json:"uses"`
	ExpiresAt instant `json:"expires_at" doc:"Exclusive."`
}

func (h *Handler) factorRoutes() {
	const tag = "factors"
	missing := []mfa.Code{mfa.NotFound}
	add(h, route{
		id: "getFactors", method: http.MethodGet, path: "/v1/users/{id}/factors", tag: tag,
		summary: "Read a user's factors besides devices", access: administer, codes: missing,
	}, h.getFactors)
	add(h, route{
		id: "createTOTP", method: http.MethodPost, path: "/v1/users/{id}/factors/totp", tag: tag, summary: "Begin a TOTP factor",
		about: "It counts once its first code is confirmed.", status: http.StatusCreated, access: administer,
		keyed: keyOptional, secret: true, query: []param{pictureParam()}, codes: missing,
	}, h.createTOTP)
	add(h, route{
		id: "confirmTOTP", method: http.MethodPost, path: "/v1/users/{id}/factors/totp/{factor}/confirm", tag: tag,
		summary: "Confirm a TOTP factor with its first code", access: administer, keyed: keyOptional, codes: missing,
	}, h.confirmTOTP)
	add(h, route{
		id: "removeTOTP", method: http.MethodDelete, path: "/v1/users/{id}/factors/totp/{factor}", tag: tag,
		summary: "Remove a TOTP factor", access: administer, codes: missing,
	}, h.removeTOTP)
	add(h, route{
		id: "makeBackupCodes", method: http.MethodPost, path: "/v1/users/{id}/factors/backup-codes", tag: tag,
		summary: "Make ten backup codes", about: "The former ones end.", status: http.StatusCreated, access: administer,
		keyed: keyOptional, secret: true, codes: missing,
	}, h.makeBackupCodes)
	add(h, route{
		id: "removeBackupCodes", method: http.MethodDelete, path: "/v1/users/{id}/factors/backup-codes", tag: tag,
		summary: "End a user's backup codes", access: administer, codes: missing,
	}, h.removeBackupCodes)
	add(h, route{
		id: "issueBypassCode", method: http.MethodPost, path: "/v1/users/{id}/bypass-codes", tag: tag,
		summary: "Give a user a bypass code", about: "All the user's devices are told. A former code ends. Not for owners.",
		status: http.StatusCreated, access: administer, keyed: keyOptional, secret: true, codes: missing,
	}, h.issueBypass)
	add(h, route{
		id: "revokeBypassCode", method: http.MethodDelete, path: "/v1/users/{id}/bypass-codes", tag: tag,
		summary: "End a user's bypass code", access: administer, codes: missing,
	}, h.revokeBypass)
}

func (h *Handler) getFactors(ctx context.Context, c *call, _ nothing) (factorsShape, error) {
	rows, err := h.c.Accounts.TOTPs(ctx, c.by.Realm, c.user())
	if err != nil {
		return factorsShape{}, err
	}
	out := factorsShape{TOTP: make([]totpShape, len(rows))}
	for i, t := range rows {
		out.TOTP[i] = totpShape{
			ID: t.ID, Name: t.Name, Algorithm: t.Algorithm, Digits: t.Digits, Period: int(t.Period / time.Second),
			State: string(t.State), CreatedAt: instant(t.CreatedAt), ConfirmedAt: instant(t.ConfirmedAt),
		}
	}
	codes, err := h.c.Accounts.BackupCodes(ctx, c.by.Realm, c.user())
	if err != nil {
		return factorsShape{}, err
	}
	if codes.CreatedAt != 0 {
		out.BackupCodes = &backupCodesShape{Left: codes.Left, Disabled: codes.Disabled, CreatedAt: instant(codes.CreatedAt)}
	}
	b, err := h.c.Accounts.Bypass(ctx, c.by.Realm, c.user())
	switch {
	case err == nil:
		out.BypassCode = &bypassCodeShape{UsesLeft: b.UsesLeft, ExpiresAt: instant(b.ExpiresAt), Reason: b.Reason, By: b.By}
	case mfa.CodeOf(err) != mfa.NotFound:
		return factorsShape{}, err
	}
	return out, nil
}

func (h *Handler) createTOTP(ctx context.Context, c *call, in newTOTPShape) (totpSeedShape, error) {
	return makes(ctx, c, func(ctx context.Context) (account.NewTOTP, error) {
		return h.c.Accounts.CreateTOTP(ctx, c.by.Realm, c.user(), c.byAdministrator(), account.TOTPOptions{
			Name: in.Name, Algorithm: in.Algorithm, Digits: in.Digits, Period: time.Duration(in.Period) * time.Second,
		})
	}, func(t account.NewTOTP) (id string, out totpSeedShape, err error) {
		out = totpSeedShape{ID: t.ID, Secret: t.Seed.Reveal(), URI: t.URI.Reveal()}
		out.QR, err = picture(c.query["qr"], out.URI)
		return t.ID, out, err
	})
}

func (h *Handler) confirmTOTP(ctx context.Context, c *call, in codeShape) (nothing, error) {
	return nothing{}, h.c.Accounts.ConfirmTOTP(ctx, c.by.Realm, c.user(), c.path("factor"), in.Code.Reveal())
}

func (h *Handler) removeTOTP(ctx context.Context, c *call, _ nothing) (nothing, error) {
	return nothing{}, h.c.Accounts.RemoveTOTP(ctx, c.by.Realm, c.user(), c.byAdministrator(), c.path("factor"))
}

func (h *Handler) makeBackupCodes(ctx context.Context, c *call, _ nothing) (codesShape, error) {
	return makes(ctx, c, func(ctx context.Context) ([]secret.Value, error) {
		return h.c.Accounts.MakeBackupCodes(ctx, c.by.Realm, c.user(), c.byAdministrator())
	}, func(codes []secret.Value) (string, codesShape, error) {
		out := codesShape{Codes: make([]string, len(codes))}
		for i, code := range codes {
			out.Codes[i] = code.Reveal()
		}
		return "backup codes", out, nil
	})
}

func (h *Handler) removeBackupCodes(ctx context.Context, c *call, _ nothing) (nothing, error) {
	return nothing{}, h.c.Accounts.RemoveBackupCodes(ctx, c.by.Realm, c.user(), c.byAdministrator())
}

func (h *Handler) issueBypass(ctx context.Context, c *call, in newBypassShape) (issuedBypassShape, error) {
	return makes(c.asActor(ctx, in.By), c, func(ctx context.Context) (account.IssuedBypass, error) {
		return h.c.Accounts.IssueBypass(ctx, c.by.Realm, c.user(), account.BypassOptions{
			Uses: in.Uses, Life: time.Duration(in.ValidFor) * time.Second, Reason: in.Reason,
		})
	}, func(b account.IssuedBypass) (string, issuedBypassShape, error) {
		return b.ID, issuedBypassShape{ID: b.ID, Code: b.Code.Reveal(), Uses: b.UsesLeft, ExpiresAt: instant(b.ExpiresAt)}, nil
	})
}

func (h *Handler) revokeBypass(ctx context.Context, c *call, _ nothing) (nothing, error) {
	return nothing{}, h.c.Accounts.RevokeBypass(ctx, c.by.Realm, c.user())
}
