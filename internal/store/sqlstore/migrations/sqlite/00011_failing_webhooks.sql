-- +goose Up

-- Since when a webhook's receiver takes nothing.

ALTER TABLE webhooks ADD COLUMN failing_since INTEGER NOT NULL DEFAULT 0;
