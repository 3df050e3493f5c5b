-- Threads of native conversations and topics of rooms, and versions of messages.

-- A topic has up to 4096 octets, more than an index takes, so it is found by its hash. `native` is what the
-- conversation calls it, if it has threads; `last` the message that was said last in it.
CREATE TABLE thread (
    portal INTEGER NOT NULL,
    hash   BLOB NOT NULL,
    topic  BLOB NOT NULL,
    native TEXT,
    last   BLOB,
    at     INTEGER NOT NULL,
    PRIMARY KEY (portal, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX thread_by_native ON thread (portal, native);

-- The topic of a message of ours, which its edits repeat.
CREATE TABLE topic (
    room       TEXT NOT NULL,
    message_id BLOB NOT NULL,
    topic      BLOB NOT NULL,
    PRIMARY KEY (room, message_id)
) STRICT, WITHOUT ROWID;

-- The edits of messages: the first version of each, and when it was accepted.
CREATE TABLE version (
    room       TEXT NOT NULL,
    message_id BLOB NOT NULL,
    first      BLOB NOT NULL,
    accepted   INTEGER NOT NULL,
    PRIMARY KEY (room, message_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_by_first ON version (room, first, accepted);
