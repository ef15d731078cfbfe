-- +goose Up

-- The stamps of the rows that nodes keep in memory are rows in PostgreSQL. SQLite has one process, which
-- counts in memory.

SELECT 1;
