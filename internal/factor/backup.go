package factor

import (
	"context"
	"errors"
	"fmt"

	"github.com/nodauth/nod/internal/factor/backup"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/secret"
	"github.com/nodauth/nod/internal/store"
)

// MakeBackupCodes makes ten new codes and their hashes, outside any transaction. The codes are
// shown once and kept nowhere. It returns Unavailable as Compare does.
func (s *Service) MakeBackupCodes(ctx context.Context) ([]secret.Value, []store.BackupCode, error) {
	codes := make([]secret.Value, 0, backup.Count)
	rows := make([]store.BackupCode, 0, backup.Count)
	for i := 1; i <= backup.Count; i++ {
		code := backup.Make(i)
		hash, err := s.hasher.Hash(ctx, code)
		if err != nil {
			return nil, nil, fmt.Errorf("hash backup code: %w", err)
		}
		codes = append(codes, secret.New(code))
		rows = append(rows, store.BackupCode{Index: i, Hash: hash})
	}
	return codes, rows, nil
}

// ReplaceBackupCodes puts new codes in force and ends the former ones, used or not.
func ReplaceBackupCodes(tx interface {
	Now() mfa.Instant
	store.Codes
}, realm mfa.RealmID, user mfa.UserID, codes []store.BackupCode,
) error {
	last, _, err := tx.BackupSet(realm, user)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read backup codes of %s: %w", user, err)
	}
	now := tx.Now()
	set := store.BackupSet{
		Realm: realm, User: user, CreatedAt: now,
		// Never a former number, also when the codes were deleted in between: a code that is
		// being compared belongs to its generation only.
		Generation: max(last.Generation+1, int64(now)),
	}
	if err := tx.ReplaceBackupSet(set, codes); err != nil {
		return fmt.Errorf("replace backup codes of %s: %w", user, err)
	}
	return nil
}

// RemoveBackupCodes ends the user's backup codes. That there are none is no error.
func RemoveBackupCodes(tx store.Codes, realm mfa.RealmID, user mfa.UserID) error {
	if err := tx.ReplaceBackupSet(store.BackupSet{Realm: realm, User: user}, nil); err != nil {
		return fmt.Errorf("remove backup codes of %s: %w", user, err)
	}
	return nil
}

// BackupCodesLeft counts the codes that can still be used.
func BackupCodesLeft(tx store.Codes, realm mfa.RealmID, user mfa.UserID) (int, error) {
	set, codes, err := tx.BackupSet(realm, user)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read backup codes of %s: %w", user, err)
	}
	left := 0
	for _, c := range codes {
		if c.UsedAt == 0 && !set.Disabled {
			left++
		}
	}
	return left, nil
}

// BackupCandidate gives what a typed backup code is compared with: the one code of the user that
// its visible index names.
func (s *Service) BackupCandidate(tx store.Codes, realm mfa.RealmID, user mfa.UserID, code string) (Candidate, error) {
	c := Candidate{kind: kindBackup, realm: realm, user: user, hash: s.dummy}
	set, codes, err := tx.BackupSet(realm, user)
	if errors.Is(err, store.ErrNotFound) {
		return c, nil
	}
	if err != nil {
		return Candidate{}, fmt.Errorf("read backup codes of %s: %w", user, err)
	}
	c.index, _, _ = backup.Parse(code)
	c.generation = set.Generation
	for _, row := range codes {
		if row.Index == c.index && row.UsedAt == 0 && !set.Disabled {
			c.hash, c.real = row.Hash, true
		}
	}
	return c, nil
}

func consumeBackup(tx CodeTx, c Candidate, right bool) (Verdict, error) {
	set, _, err := tx.BackupSet(c.realm, c.user)
	if errors.Is(err, store.ErrNotFound) {
		return Verdict{}, nil
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("read backup codes of %s: %w", c.user, err)
	}
	if set.Generation != c.generation || set.Disabled {
		return Verdict{}, nil
	}
	v := Verdict{Right: right}
	if right {
		err := tx.UseBackupCode(c.realm, c.user, c.generation, c.index, tx.Now())
		if errors.Is(err, store.ErrUsed) {
			return Verdict{}, nil
		}
		if err != nil {
			return Verdict{}, fmt.Errorf("use backup code of %s: %w", c.user, err)
		}
		v.ID = fmt.Sprintf("backup:%d:%d", c.generation, c.index)
		set.Failures = 0
	} else if set.Failures++; set.Failures >= mfa.MaxFailures {
		set.Disabled = true
		v.Disabled = append(v.Disabled, fmt.Sprintf("backup:%d", c.generation))
	}
	if err := tx.PutBackupSet(set); err != nil {
		return Verdict{}, fmt.Errorf("count backup codes of %s: %w", c.user, err)
	}
	return v, nil
}
