-- What the endpoints groupInfo, reportAbuse and keyMaterial keep.

-- Since when the room's hub has been in a later epoch than our reader, and nothing has come that leads there.
ALTER TABLE room ADD COLUMN behind INTEGER;
-- The epoch in which our reader came back after it had lost its place: what is older can't be read, and the people of
-- the conversation have yet to hear so.
ALTER TABLE room ADD COLUMN unread INTEGER;

-- Messages from elsewhere with their franks, for as long as the configuration wants to be able to report them.
CREATE TABLE evidence (
    room       TEXT NOT NULL,
    message_id BLOB NOT NULL,
    sender     TEXT NOT NULL,
    kept       INTEGER NOT NULL,
    message    BLOB NOT NULL,
    PRIMARY KEY (room, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX evidence_by_age ON evidence (kept);

-- What others have reported to us as the hub of a room, proven as far as it has messages in it.
CREATE TABLE abuse_report (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    room     TEXT NOT NULL,
    provider TEXT NOT NULL,
    hash     BLOB NOT NULL,
    at       INTEGER NOT NULL,
    report   BLOB NOT NULL,
    UNIQUE (provider, hash)
) STRICT;

-- KeyPackages that went through us as the hub of a room, and whose they are, until they are used or too old.
CREATE TABLE routed_key_package (
    reference BLOB NOT NULL PRIMARY KEY,
    provider  TEXT NOT NULL,
    expires   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
