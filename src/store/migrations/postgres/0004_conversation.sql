-- Threads of native conversations and topics of rooms, and versions of messages.

-- A topic has up to 4096 octets, more than an index takes, so it is found by its hash. `native` is what the
-- conversation calls it, if it has threads; `last` the message that was said last in it.
CREATE TABLE thread (
    portal BIGINT NOT NULL,
    hash   BYTEA NOT NULL,
    topic  BYTEA NOT NULL,
    native TEXT COLLATE "C",
    last   BYTEA,
    at     BIGINT NOT NULL,
    PRIMARY KEY (portal, hash)
);
CREATE INDEX thread_by_native ON thread (portal, native);

-- The topic of a message of ours, which its edits repeat.
CREATE TABLE topic (
    room       TEXT COLLATE "C" NOT NULL,
    message_id BYTEA NOT NULL,
    topic      BYTEA NOT NULL,
    PRIMARY KEY (room, message_id)
);

-- The edits of messages: the first version of each, and when it was accepted.
CREATE TABLE version (
    room       TEXT COLLATE "C" NOT NULL,
    message_id BYTEA NOT NULL,
    first      BYTEA NOT NULL,
    accepted   BIGINT NOT NULL,
    PRIMARY KEY (room, message_id)
);
CREATE INDEX version_by_first ON version (room, first, accepted);
