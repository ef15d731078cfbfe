package sqlstore

import (
	"github.com/nodauth/nod/internal/mfa"
	"github.com/nodauth/nod/internal/store"
)

const (
	deliveryColumns = `realm, id, kind, target, about, payload, state, node, due_at, tries, attempts, ended_at, created_at`
	attemptColumns  = `realm, delivery_id, number, at, outcome, status, took_ms, text`
	webhookColumns  = `realm, id, url, events, description, enabled, disabled_why, secret, former_secret, former_until,
		created_at, changed_at, version, failing_since`
)

func deliveryFields(d *store.Delivery) []any {
	return []any{
		&d.Realm, &d.ID, &d.Kind, &d.Target, &d.About, &d.Payload, &d.State, &d.Node, &d.DueAt, &d.Tries, &d.Attempts,
		&d.EndedAt, &d.CreatedAt,
	}
}

func attemptFields(a *store.Attempt) []any {
	return []any{&a.Realm, &a.Delivery, &a.Number, &a.At, &a.Outcome, &a.Status, &a.TookMS, &a.Text}
}

func webhookFields(w *store.Webhook) []any {
	return []any{
		&w.Realm, &w.ID, &w.URL,
		words[string]{&w.Events},
		&w.Description, &w.Enabled, &w.DisabledWhy, &w.Secret,
		&w.FormerSecret, &w.FormerUntil, &w.CreatedAt, &w.ChangedAt, &w.Version,
		&w.FailingSince,
	}
}

var (
	insertDelivery = insertText("deliveries", deliveryColumns)
	insertAttempt  = insertText("attempts", attemptColumns)
	insertWebhook  = insertText("webhooks", webhookColumns)
)

// InsertDelivery implements store.Deliveries.
func (t *tx) InsertDelivery(d store.Delivery) error {
	return t.insert(insertDelivery, deliveryFields(&d)...)
}

// Delivery implements store.Deliveries.
func (t *tx) Delivery(realm mfa.RealmID, id string) (store.Delivery, error) {
	return one(t, deliveryFields, `SELECT `+deliveryColumns+` FROM deliveries WHERE realm = $1 AND id = $2`, realm, id)
}

// DueDeliveries implements store.Deliveries.
func (t *tx) DueDeliveries(now mfa.Instant, except string, n int) ([]store.Delivery, error) {
	return list(t, deliveryFields, `SELECT `+deliveryColumns+` FROM deliveries
		WHERE state = 'pending' AND due_at <= $1 AND $2 NOT LIKE '%' || target || '%'
		ORDER BY due_at, realm, id LIMIT $3`, now, except, limit(n))
}

// TakeDelivery implements store.Deliveries.
func (t *tx) TakeDelivery(realm mfa.RealmID, id string, was mfa.Instant, node string, until mfa.Instant) error {
	return t.consume(`UPDATE deliveries SET node = $4, due_at = $5
		WHERE realm = $1 AND id = $2 AND due_at = $3 AND state = 'pending'`, realm, id, was, node, until)
}

// PutDelivery implements store.Deliveries.
func (t *tx) PutDelivery(d store.Delivery, node string, until mfa.Instant) error {
	return t.consume(`UPDATE deliveries SET state = $5, node = $6, due_at = $7, tries = $8, attempts = $9, ended_at = $10
		WHERE realm = $1 AND id = $2 AND node = $3 AND due_at = $4 AND state = 'pending'`,
		d.Realm, d.ID, node, until, d.State, d.Node, d.DueAt, d.Tries, d.Attempts, d.EndedAt)
}

// ReplayDelivery implements store.Deliveries.
func (t *tx) ReplayDelivery(realm mfa.RealmID, id, node string, until mfa.Instant) error {
	return t.consume(`UPDATE deliveries SET state = 'pending', node = $3, due_at = $4, tries = 0, ended_at = 0
		WHERE realm = $1 AND id = $2 AND state <> 'pending'`, realm, id, node, until)
}

// ReplayDead implements store.Deliveries.
func (t *tx) ReplayDead(f store.DeliveryFilter, since, now mfa.Instant, n int) (int, error) {
	touched, err := t.write(`UPDATE deliveries SET state = 'pending', node = '', due_at = $5, tries = 0, ended_at = 0
		WHERE realm = $1 AND id IN (SELECT d.id FROM deliveries d
		WHERE d.realm = $1 AND d.kind = $2 AND d.target = $3 AND d.state = 'dead' AND d.created_at >= $4
		ORDER BY d.created_at, d.id LIMIT $6)`, f.Realm, f.Kind, f.Target, since, now, limit(n))
	return int(touched), err
}

// ListDeliveries implements store.Deliveries. Each state has a text of its own, for its index.
func (t *tx) ListDeliveries(f store.DeliveryFilter, p store.Page) ([]store.Delivery, error) {
	only := map[store.DeliveryState]string{
		store.DeliveryPending: ` AND state = 'pending'`, store.DeliveryDead: ` AND state = 'dead'`,
		store.DeliveryDelivered: ` AND state = 'delivered'`,
	}[f.State]
	at, id := before(p)
	return list(t, deliveryFields, `SELECT `+deliveryColumns+` FROM deliveries
		WHERE realm = $1 AND kind = $2 AND target = $3`+only+` AND (created_at, id) < ($4, $5)
		ORDER BY created_at DESC, id DESC LIMIT $6`, f.Realm, f.Kind, f.Target, at, id, limit(p.Limit))
}

// PendingBeyond implements store.Deliveries.
func (t *tx) PendingBeyond(realm mfa.RealmID, kind, target string, n int) (bool, error) {
	return t.there(`SELECT 1 FROM deliveries WHERE realm = $1 AND kind = $2 AND target = $3 AND state = 'pending'
		ORDER BY created_at, id LIMIT 1 OFFSET $4`, realm, kind, target, limit(n))
}

// InsertAttempt implements store.Attempts.
func (t *tx) InsertAttempt(a store.Attempt) error {
	return t.insert(insertAttempt, attemptFields(&a)...)
}

// DeliveryAttempts implements store.Attempts.
func (t *tx) DeliveryAttempts(realm mfa.RealmID, delivery string) ([]store.Attempt, error) {
	return list(t, attemptFields, `SELECT `+attemptColumns+` FROM attempts
		WHERE realm = $1 AND delivery_id = $2 ORDER BY number`, realm, delivery)
}

// SweepDeliveries implements store.Attempts. Attempts go with their deliveries.
func (t *tx) SweepDeliveries(state store.DeliveryState, before mfa.Instant, n int) (int, error) {
	swept, err := t.write(`DELETE FROM deliveries WHERE (realm, id) IN (SELECT d.realm, d.id FROM deliveries d
		WHERE d.state = $1 AND d.state <> 'pending' AND d.ended_at < $2 ORDER BY d.ended_at LIMIT $3)`,
		state, before, limit(n))
	return int(swept), err
}

// InsertWebhook implements store.Webhooks.
func (t *tx) InsertWebhook(w store.Webhook) error {
	return t.insert(insertWebhook, webhookFields(&w)...)
}

// Webhook implements store.Webhooks.
func (t *tx) Webhook(realm mfa.RealmID, id string) (store.Webhook, error) {
	return one(t, webhookFields, `SELECT `+webhookColumns+` FROM webhooks WHERE realm = $1 AND id = $2`, realm, id)
}

// ListWebhooks implements store.Webhooks.
func (t *tx) ListWebhooks(realm mfa.RealmID) ([]store.Webhook, error) {
	return list(t, webhookFields, `SELECT `+webhookColumns+` FROM webhooks
		WHERE realm = $1 ORDER BY created_at, id`, realm)
}

// EnabledWebhooks implements store.Webhooks.
func (t *tx) EnabledWebhooks() ([]store.Webhook, error) {
	return list(t, webhookFields, `SELECT `+webhookColumns+` FROM webhooks WHERE enabled ORDER BY realm, id`)
}

// PutWebhook implements store.Webhooks.
func (t *tx) PutWebhook(w store.Webhook) error {
	return t.put(`SELECT 1 FROM webhooks WHERE realm = $1 AND id = $2`, []any{w.Realm, w.ID},
		`UPDATE webhooks SET url = $3, events = $4, description = $5, enabled = $6, disabled_why = $7, secret = $8,
		former_secret = $9, former_until = $10, created_at = $11, changed_at = $12, version = $13 + 1, failing_since = $14
		WHERE realm = $1 AND id = $2 AND version = $13`, webhookFields(&w)...)
}

// SetFailing implements store.Webhooks.
func (t *tx) SetFailing(realm mfa.RealmID, id string, since mfa.Instant) error {
	_, err := t.write(`UPDATE webhooks SET failing_since = $3 WHERE realm = $1 AND id = $2`, realm, id, since)
	return err
}

// DeleteWebhook implements store.Webhooks.
func (t *tx) DeleteWebhook(realm mfa.RealmID, id string) error {
	return t.change(`DELETE FROM webhooks WHERE realm = $1 AND id = $2`, realm, id)
}
