package store

import (
	"errors"
	"fmt"

	"github.com/nodauth/nod/internal/mfa"
)

// The names of settings that concern the installation as a whole.
const (
	// SettingEpoch holds the Epoch.
	SettingEpoch = "epoch"
	// SettingRestore says how far a restore is; "" or absent when there is none to finish.
	SettingRestore = "restore"
	// SettingBackup is the moment of the last backup, RFC 3339 in UTC.
	SettingBackup = "backup.last"
)

// Epoch counts how often the database was put back to what it had been. What was used or given out
// between the backup and the restore is unknown to it, so that nothing from before At may count
// that counts once.
type Epoch struct {
	N  int64       // 0 for a database that was never put back
	At mfa.Instant // when it was raised last
}

// String is the form of the setting.
func (e Epoch) String() string { return fmt.Sprintf("%d %d", e.N, int64(e.At)) }

// SettingReader is what reading a setting needs of a transaction.
type SettingReader interface {
	Setting(name string) (string, error)
}

// ReadEpoch reads the epoch.
func ReadEpoch(tx SettingReader) (Epoch, error) {
	text, err := tx.Setting(SettingEpoch)
	if errors.Is(err, ErrNotFound) {
		return Epoch{}, nil
	}
	if err != nil {
		return Epoch{}, fmt.Errorf("read epoch: %w", err)
	}
	return ParseEpoch(text)
}

// ParseEpoch reads the form of the setting.
func ParseEpoch(text string) (Epoch, error) {
	var e Epoch
	if _, err := fmt.Sscanf(text, "%d %d", &e.N, (*int64)(&e.At)); err != nil || e.String() != text || e.N < 1 {
		return Epoch{}, fmt.Errorf("the epoch %q is none", text)
	}
	return e, nil
}
