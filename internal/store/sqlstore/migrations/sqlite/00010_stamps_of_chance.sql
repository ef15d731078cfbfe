-- +goose Up

-- How stamps change is PostgreSQL's matter: those of SQLite are counted in memory.

SELECT 1;
