-- Where messages have been, for an admin who asks.

-- When the network confirmed a message, or we accepted it from there; by how many attempts; and what people were not
-- shown of it.
ALTER TABLE native_message ADD COLUMN at BIGINT;
ALTER TABLE native_message ADD COLUMN attempts BIGINT;
ALTER TABLE native_message ADD COLUMN loss TEXT COLLATE "C";

-- What a provider has taken of a room that we are the hub of: everything from one timestamp of the hub's to another, in
-- one request. `name` is the provider, a NUL, and the second of them, in order.
CREATE TABLE fanned_out (
    room     TEXT COLLATE "C" NOT NULL,
    name     BYTEA NOT NULL,
    since    BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (room, name)
);
