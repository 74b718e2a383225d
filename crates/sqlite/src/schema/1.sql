-- Schema 1. Never edited once released: a later schema is a further file.
-- Every table has the same form: a record under (pk, sk), its place in each index of the table, and when it stops to exist
-- (milliseconds since the Unix epoch). `body` is JSON; `schema_version` is that of the body, not of these tables.

CREATE TABLE tenants (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, entity TEXT NOT NULL, body TEXT NOT NULL, expires_at INTEGER,
    listing_pk TEXT, listing_sk TEXT,
    PRIMARY KEY (pk, sk)
) STRICT;
CREATE INDEX tenants_listing ON tenants (listing_pk, listing_sk, pk, sk) WHERE listing_pk IS NOT NULL;
CREATE INDEX tenants_expiry ON tenants (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE principals (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, entity TEXT NOT NULL, body TEXT NOT NULL, expires_at INTEGER,
    listing_pk TEXT, listing_sk TEXT,
    PRIMARY KEY (pk, sk)
) STRICT;
CREATE INDEX principals_listing ON principals (listing_pk, listing_sk, pk, sk) WHERE listing_pk IS NOT NULL;
CREATE INDEX principals_expiry ON principals (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE certificates (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, entity TEXT NOT NULL, body TEXT NOT NULL, expires_at INTEGER,
    by_principal_pk TEXT, by_principal_sk TEXT,
    by_deadline_pk TEXT, by_deadline_sk TEXT,
    revoked_pk TEXT, revoked_sk TEXT,
    PRIMARY KEY (pk, sk)
) STRICT;
CREATE INDEX certificates_by_principal ON certificates (by_principal_pk, by_principal_sk, pk, sk)
    WHERE by_principal_pk IS NOT NULL;
CREATE INDEX certificates_by_deadline ON certificates (by_deadline_pk, by_deadline_sk, pk, sk)
    WHERE by_deadline_pk IS NOT NULL;
CREATE INDEX certificates_revoked ON certificates (revoked_pk, revoked_sk, pk, sk) WHERE revoked_pk IS NOT NULL;
CREATE INDEX certificates_expiry ON certificates (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE enrollments (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, entity TEXT NOT NULL, body TEXT NOT NULL, expires_at INTEGER,
    listing_pk TEXT, listing_sk TEXT,
    PRIMARY KEY (pk, sk)
) STRICT;
CREATE INDEX enrollments_listing ON enrollments (listing_pk, listing_sk, pk, sk) WHERE listing_pk IS NOT NULL;
CREATE INDEX enrollments_expiry ON enrollments (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE requests (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, entity TEXT NOT NULL, body TEXT NOT NULL, expires_at INTEGER,
    PRIMARY KEY (pk, sk)
) STRICT;
CREATE INDEX requests_expiry ON requests (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE changes (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, entity TEXT NOT NULL, body TEXT NOT NULL, expires_at INTEGER,
    PRIMARY KEY (pk, sk)
) STRICT;
CREATE INDEX changes_expiry ON changes (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE audit (
    pk TEXT NOT NULL, sk TEXT NOT NULL, version INTEGER NOT NULL,
    schema_version INTEGER NOT NULL, entity TEXT NOT NULL, body TEXT NOT NULL, expires_at INTEGER,
    listing_pk TEXT, listing_sk TEXT,
    PRIMARY KEY (pk, sk)
) STRICT;
CREATE INDEX audit_listing ON audit (listing_pk, listing_sk, pk, sk) WHERE listing_pk IS NOT NULL;
CREATE INDEX audit_expiry ON audit (expires_at) WHERE expires_at IS NOT NULL;
