package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nodauth/nod/internal/audit"
	"github.com/nodauth/nod/internal/challenge"
	"github.com/nodauth/nod/internal/device"
	"github.com/nodauth/nod/internal/factor"
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/realm"
	"github.com/nodauth/nod/internal/store"
	"github.com/nodauth/nod/protocol"
)

// restoreBatch is how many people or challenges one transaction of a restore touches.
const restoreBatch = 50

// everMore is after every deadline.
const everMore mfa.Instant = math.MaxInt64

// ErrNotRestored is returned by FinishRestore for a database that is not marked as restored.
var ErrNotRestored = errors.New("the database is not marked as restored")

// Restore is how far a restore is. It is kept in the database until the restore is finished, so
// that one which was interrupted goes on where it was.
type Restore struct {
	Backup time.Time     `json:"backup,omitzero"` // when the backup was made
	Digest string        `json:"digest,omitempty"`
	Epoch  int64         `json:"epoch,omitempty"`  // 0 before the epoch was raised
	Begun  mfa.Instant   `json:"begun,omitempty"`  // when it was raised
	Realms []mfa.RealmID `json:"realms,omitempty"` // whose people are still to come
	At     mfa.Instant   `json:"at,omitempty"`     // the last of the first realm's people who was dealt with
	ID     string        `json:"id,omitempty"`
}

// PendingRestore says how far a restore is that was not finished; nil if there is none.
func PendingRestore(tx store.SettingReader) (*Restore, error) {
	text, err := tx.Setting(store.SettingRestore)
	if errors.Is(err, store.ErrNotFound) || err == nil && text == "" {
		return nil, nil //nolint:nilnil // none is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read how far a restore is: %w", err)
	}
	return ParseRestore(text)
}

// ParseRestore reads the form of the setting.
func ParseRestore(text string) (*Restore, error) {
	r := new(Restore)
	if err := json.Unmarshal([]byte(text), r); err != nil {
		return nil, fmt.Errorf("read how far a restore is: %w", err)
	}
	return r, nil
}

// MarkRestored marks the database as restored and not finished. No server starts on it until
// FinishRestore has ended.
func MarkRestored(tx interface {
	PutSetting(name, value string) error
}, r Restore,
) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write how far a restore is: %w", err)
	}
	if err := tx.PutSetting(store.SettingRestore, string(text)); err != nil {
		return fmt.Errorf("write how far a restore is: %w", err)
	}
	return nil
}

// Bereft is a person who lost codes to a restore.
type Bereft struct {
	Realm mfa.RealmID
	ID    mfa.UserID
	Name  string
	Lost  []string // backup_codes, bypass_code
}

// RestoreConfig is what finishing a restore needs. All members are required.
type RestoreConfig struct {
	Store      store.Store
	Challenges *challenge.Service
	Devices    *device.Service
	Realms     *realm.Service
	Told       func(people int) // hears how many people are done
}

// FinishRestore raises the epoch of a restored database: it voids everything that counts once and
// may have been used or given out between the backup and now, tells the devices of all people, and
// records it in every realm. It works in small transactions, and one that was interrupted goes on
// where it was. It returns who lost codes, and ErrNotRestored.
//
// No server may run on the database meanwhile.
func FinishRestore(ctx context.Context, c RestoreConfig) (Restore, []Bereft, error) {
	if c.Store == nil || c.Challenges == nil || c.Devices == nil || c.Realms == nil || c.Told == nil {
		return Restore{}, nil, errors.New("account: every member of RestoreConfig is required")
	}
	s := &Service{c: Config{Store: c.Store, Challenges: c.Challenges, Devices: c.Devices, Realms: c.Realms}}
	return s.finishRestore(ctx, c.Told)
}

func (s *Service) finishRestore(ctx context.Context, told func(people int)) (Restore, []Bereft, error) {
	ctx = audit.With(ctx, audit.Origin{Actor: mfa.ActorServer})
	r, err := s.raise(ctx)
	if err != nil {
		return r, nil, err
	}
	for _, part := range []func(context.Context) error{s.voidMeans, s.voidChallenges, s.voidInvitations, s.voidEnrolments, s.voidDeliveries} {
		if err := part(ctx); err != nil {
			return r, nil, err
		}
	}
	people := 0
	for len(r.Realms) > 0 {
		n, next, err := s.voidPeople(ctx, r)
		if err != nil {
			return r, nil, err
		}
		people += n
		told(people)
		r = next
	}
	bereft, err := s.bereft(ctx, r)
	if err != nil {
		return r, nil, err
	}
	err = s.c.Store.Update(ctx, func(tx store.Tx) error { return tx.PutSetting(store.SettingRestore, "") })
	return r, bereft, err
}

// raise raises the epoch and records it, unless that was done before.
func (s *Service) raise(ctx context.Context) (Restore, error) {
	var r Restore
	err := s.update(ctx, "", func(j *job) error {
		pending, err := PendingRestore(j.tx)
		if err != nil {
			return err
		}
		if pending == nil {
			return ErrNotRestored
		}
		if r = *pending; r.Epoch != 0 {
			return nil
		}
		last, err := store.ReadEpoch(j.tx)
		if err != nil {
			return err
		}
		epoch := store.Epoch{N: last.N + 1, At: j.tx.Now()}
		if err := j.tx.PutSetting(store.SettingEpoch, epoch.String()); err != nil {
			return fmt.Errorf("raise the epoch: %w", err)
		}
		realms, err := j.tx.ListRealms()
		if err != nil {
			return fmt.Errorf("list realms: %w", err)
		}
		data := map[string]string{"epoch": fmt.Sprint(epoch.N)}
		if !r.Backup.IsZero() {
			data["backup"] = r.Backup.UTC().Format(time.RFC3339)
		}
		r.Epoch, r.Begun, r.Realms = epoch.N, epoch.At, nil
		for _, realm := range realms {
			r.Realms = append(r.Realms, realm.ID)
			j.realm = realm.ID
			if err := j.record(store.Event{Kind: audit.StoreRestored, Data: data}); err != nil {
				return err
			}
		}
		return MarkRestored(j.tx, r)
	})
	return r, err
}

// voidMeans drops the proofs of browsers and the answers that repeated requests would get. Nobody
// else waits for the database, so that one transaction may take all of a kind.
func (s *Service) voidMeans(ctx context.Context) error {
	return s.c.Store.Update(ctx, func(tx store.Tx) error {
		if err := tx.SweepProofs(everMore); err != nil {
			return fmt.Errorf("void browser proofs: %w", err)
		}
		if err := tx.SweepReplays(everMore, everMore); err != nil {
			return fmt.Errorf("void repeated answers: %w", err)
		}
		return nil
	})
}

// voidChallenges ends every challenge that is live, whoever asked for it.
func (s *Service) voidChallenges(ctx context.Context) error {
	return untilNone(func() (n int, err error) {
		err = s.update(ctx, "", func(j *job) error {
			rows, err := j.tx.DueChallenges(everMore, restoreBatch)
			if err != nil {
				return fmt.Errorf("list live challenges: %w", err)
			}
			n = len(rows)
			_, err = j.c.Challenges.CancelLive(j.tx, rows, mfa.Cancel{Reason: mfa.CancelPolicy}, func(h challenge.Held) challenge.Recorder {
				return func(kind string, data map[string]string) error {
					j.realm = h.Realm
					return j.record(store.Event{
						Kind: kind, User: h.User, Application: h.Application, Challenge: h.ID, Data: byRestore(data),
					})
				}
			})
			return err
		})
		return n, err
	})
}

// voidInvitations revokes every invitation that is live: which of them were used since, and which
// links revoked, is not known.
func (s *Service) voidInvitations(ctx context.Context) error {
	return untilNone(func() (n int, err error) {
		err = s.update(ctx, "", func(j *job) error {
			rows, err := j.tx.DueInvitations(everMore, restoreBatch)
			if err != nil {
				return fmt.Errorf("list live invitations: %w", err)
			}
			n = len(rows)
			for _, i := range rows {
				j.realm = i.Realm
				if err := j.endInvitation(i, mfa.InvitationRevoked); err != nil {
					return err
				}
			}
			return nil
		})
		return n, err
	})
}

// voidEnrolments ends every ticket that was not confirmed.
func (s *Service) voidEnrolments(ctx context.Context) error {
	return untilNone(func() (n int, err error) {
		err = s.update(ctx, "", func(j *job) error {
			rows, err := j.tx.DueEnrolments(everMore, restoreBatch)
			if err != nil {
				return fmt.Errorf("list live enrolments: %w", err)
			}
			n = len(rows)
			for _, e := range rows {
				j.realm = e.Realm
				out, err := j.c.Devices.Cancel(j.tx, e)
				if err != nil {
					return err
				}
				if err := j.recordEnrolment(out); err != nil {
					return err
				}
			}
			return nil
		})
		return n, err
	})
}

// voidDeliveries gives up what was to leave the server: whether it did is not known. A person may
// have it sent again.
func (s *Service) voidDeliveries(ctx context.Context) error {
	return untilNone(func() (n int, err error) {
		err = s.c.Store.Update(ctx, func(tx store.Tx) error {
			rows, err := tx.DueDeliveries(everMore, "", restoreBatch)
			if err != nil {
				return fmt.Errorf("list pending deliveries: %w", err)
			}
			n = len(rows)
			for _, d := range rows {
				given := d
				given.State, given.Node, given.EndedAt = store.DeliveryDead, "", tx.Now()
				if err := tx.PutDelivery(given, d.Node, d.DueAt); err != nil {
					return fmt.Errorf("give up delivery %s: %w", d.ID, err)
				}
			}
			return nil
		})
		return n, err
	})
}

// untilNone runs batches until one finds nothing.
func untilNone(batch func() (int, error)) error {
	for {
		n, err := batch()
		if err != nil || n == 0 {
			return err
		}
	}
}

// voidPeople deals with the next people of the restore's first realm, and notes how far it is.
func (s *Service) voidPeople(ctx context.Context, r Restore) (n int, next Restore, err error) {
	err = s.update(ctx, r.Realms[0], func(j *job) error {
		list, err := j.tx.ListUsers(j.realm, store.UserFilter{}, store.Page{At: r.At, ID: r.ID, Limit: restoreBatch})
		if err != nil {
			return fmt.Errorf("list people: %w", err)
		}
		next, n = r, len(list)
		if n == 0 {
			next.Realms, next.At, next.ID = r.Realms[1:], 0, ""
			return MarkRestored(j.tx, next)
		}
		for _, u := range list {
			if err := j.void(u); err != nil {
				return fmt.Errorf("void what %s has: %w", u.ID, err)
			}
		}
		last := list[n-1]
		next.At, next.ID = last.CreatedAt, string(last.ID)
		return MarkRestored(j.tx, next)
	})
	return n, next, err
}

// void ends what a person has that counts once, and what says that somebody was known.
func (j *job) void(u store.User) error {
	if err := j.voidSteps(u.ID); err != nil {
		return err
	}
	if err := j.voidCodes(u.ID); err != nil {
		return err
	}
	browsers, err := j.tx.ListBrowsers(j.realm, u.ID)
	if err != nil {
		return fmt.Errorf("list browsers: %w", err)
	}
	for _, b := range browsers {
		if err := j.tx.DeleteBrowser(j.realm, u.ID, b.Thumbprint); err != nil {
			return fmt.Errorf("forget browser: %w", err)
		}
		e := store.Event{Kind: audit.BrowserForgotten, User: u.ID, Data: byRestore(map[string]string{"browser": b.Thumbprint})}
		if err := j.record(e); err != nil {
			return err
		}
	}
	if err := j.tx.DeleteSources(j.realm, u.ID); err != nil {
		return fmt.Errorf("forget sources: %w", err)
	}
	return j.tell(u.ID, protocol.NoticeFactorChanged, nil)
}

// voidSteps makes every TOTP code dead that somebody can have seen by now: of the steps up to the
// one after this, since a clock may be as far ahead. What was not confirmed is gone.
func (j *job) voidSteps(who mfa.UserID) error {
	all, err := j.tx.UserTOTPs(j.realm, who)
	if err != nil {
		return fmt.Errorf("list TOTP factors: %w", err)
	}
	for _, t := range all {
		if t.State == store.FactorPending {
			if err := j.tx.DeleteTOTP(j.realm, t.ID); err != nil {
				return fmt.Errorf("remove %s: %w", t.ID, err)
			}
			continue
		}
		step := j.tx.Now().Seconds()/int64(t.Period) + 1
		if err := j.tx.ConsumeStep(j.realm, t.ID, step); err != nil && !errors.Is(err, store.ErrUsed) {
			return fmt.Errorf("raise the step of %s: %w", t.ID, err)
		}
	}
	return nil
}

// voidCodes removes backup and bypass codes: which of them were used since is not known.
func (j *job) voidCodes(who mfa.UserID) error {
	_, _, err := j.tx.BackupSet(j.realm, who)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read backup codes: %w", err)
	}
	if err == nil {
		if err := factor.RemoveBackupCodes(j.tx, j.realm, who); err != nil {
			return err
		}
		if err := j.record(store.Event{Kind: audit.BackupCodesGone, User: who, Data: byRestore(nil)}); err != nil {
			return err
		}
	}
	err = j.tx.DeleteBypassCode(j.realm, who)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove bypass code: %w", err)
	}
	return j.record(store.Event{Kind: audit.BypassRevoked, User: who, Data: byRestore(nil)})
}

// byRestore adds why to what an event says.
func byRestore(data map[string]string) map[string]string {
	if data == nil {
		data = map[string]string{}
	}
	data["cause"] = "restore"
	return data
}

// bereft reads from the record who lost codes, also those with whom an interrupted run dealt.
func (s *Service) bereft(ctx context.Context, r Restore) ([]Bereft, error) {
	realms, err := s.c.Realms.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list realms: %w", err)
	}
	var out []Bereft
	place := map[mfa.UserID]int{}
	for _, realm := range realms {
		for _, f := range []store.EventFilter{
			{Realm: realm.ID, Kind: audit.BackupCodesGone, Since: r.Begun, OldestFirst: true},
			{Realm: realm.ID, Kind: audit.BypassRevoked, Since: r.Begun, OldestFirst: true},
		} {
			page := Page{Limit: 1000}
			for more := true; more; {
				err := s.view(ctx, realm.ID, func(j *job) error {
					list, err := j.tx.ListEvents(f, page)
					if err != nil {
						return fmt.Errorf("read events: %w", err)
					}
					for _, e := range list {
						if err := j.bereave(&out, place, e); err != nil {
							return err
						}
						page.At, page.ID = e.At, string(e.ID)
					}
					more = len(list) == page.Limit
					return nil
				})
				if err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

func (j *job) bereave(out *[]Bereft, place map[mfa.UserID]int, e store.Event) error {
	lost := "backup_codes"
	if e.Kind == audit.BypassRevoked {
		lost = "bypass_code"
	}
	if i, ok := place[e.User]; ok {
		(*out)[i].Lost = append((*out)[i].Lost, lost)
		return nil
	}
	u, err := j.user(e.User)
	if err != nil {
		return err
	}
	place[e.User] = len(*out)
	*out = append(*out, Bereft{Realm: j.realm, ID: e.User, Name: u.Name, Lost: []string{lost}})
	return nil
}
