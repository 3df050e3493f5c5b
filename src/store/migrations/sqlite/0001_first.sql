-- The first shape.
--
-- Times are milliseconds since the epoch. URIs are text as they stand on the wire. Message content lives
-- only in outbox rows, until they are settled; everything else keeps names, keys and order. Where content, keys or
-- attribution stand there is a checksum: at the end of the octets, or in the column `sum` (src/store/seal.rs).

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- An MLS client the gateway runs for one bridged user.
CREATE TABLE client (
    uri         TEXT NOT NULL PRIMARY KEY,
    user_uri    TEXT NOT NULL UNIQUE,
    public_key  BLOB NOT NULL,
    private_key BLOB NOT NULL
) STRICT;

-- State that openmls keeps, one owner per leaf (from its KeyPackage on) and per group we are the hub of.
CREATE TABLE mls_owner (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    what TEXT NOT NULL
) STRICT;
CREATE TABLE mls_row (
    owner INTEGER NOT NULL,
    key   BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

-- A client's place in a room's group. Begins as a KeyPackage nobody has used (room is NULL).
-- A leaf reads Welcome `welcome` and the handshakes after `position` when it is next needed.
CREATE TABLE leaf (
    owner           INTEGER NOT NULL PRIMARY KEY,
    client          TEXT NOT NULL,
    key_package_ref BLOB UNIQUE,
    expires         INTEGER NOT NULL,
    room            TEXT,
    welcome         INTEGER,
    position        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX leaf_in_room ON leaf (room, client) WHERE room IS NOT NULL;

-- A room as a member sees it. `reader` is the leaf that decrypts for all of ours.
CREATE TABLE room (
    room         TEXT NOT NULL PRIMARY KEY,
    name         TEXT NOT NULL,
    direct       INTEGER NOT NULL,
    state        TEXT NOT NULL,
    group_id     BLOB,
    reader       INTEGER,
    epoch        INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE participant (
    room     TEXT NOT NULL,
    user_uri TEXT NOT NULL,
    role     INTEGER NOT NULL,
    sum      INTEGER NOT NULL,
    PRIMARY KEY (room, user_uri)
) STRICT, WITHOUT ROWID;

-- Commits and proposals in the hub's order, for the leaves that have not read them yet.
CREATE TABLE handshake (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    room     TEXT NOT NULL,
    epoch    INTEGER NOT NULL,
    hash     BLOB NOT NULL,
    message  BLOB NOT NULL,
    UNIQUE (room, hash)
) STRICT;
CREATE TABLE welcome (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    room     TEXT NOT NULL,
    welcome  BLOB NOT NULL,
    tree     BLOB NOT NULL,
    position INTEGER NOT NULL
) STRICT;

-- One MIMI room joined to one native conversation. A direct portal has no conversation until the adapter
-- has opened it.
CREATE TABLE portal (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    room         TEXT NOT NULL UNIQUE,
    adapter      TEXT NOT NULL,
    conversation TEXT,
    direct_user  TEXT,
    direct_ghost TEXT,
    cursor       TEXT
) STRICT;
-- Two direct rooms of the same two people share a conversation; what is written there goes to the older.
CREATE INDEX portal_by_conversation ON portal (adapter, conversation, id);

-- Native message id <-> MIMI message ID, and who wrote it.
CREATE TABLE message (
    room       TEXT NOT NULL,
    message_id BLOB NOT NULL,
    sender     TEXT NOT NULL,
    accepted   INTEGER NOT NULL,
    sum        INTEGER NOT NULL,
    PRIMARY KEY (room, message_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE native_message (
    portal     INTEGER NOT NULL,
    native_id  TEXT NOT NULL,
    message_id BLOB NOT NULL,
    first      INTEGER NOT NULL,
    sum        INTEGER NOT NULL,
    PRIMARY KEY (portal, native_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX native_message_by_id ON native_message (portal, message_id);

-- Accepted and not yet delivered. A destination's rows leave in the order of their id.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT NOT NULL,
    kind        TEXT NOT NULL,
    payload     BLOB NOT NULL,
    prepared    BLOB,
    batch       INTEGER,
    attempts    INTEGER NOT NULL DEFAULT 0,
    created     INTEGER NOT NULL,
    problem     TEXT
) STRICT;
CREATE INDEX outbox_by_destination ON outbox (destination, id);
-- What came by /notify, and what we sent ourselves: a second copy is answered and ignored.
CREATE TABLE seen (
    room TEXT NOT NULL,
    hash BLOB NOT NULL,
    at   INTEGER NOT NULL,
    PRIMARY KEY (room, hash)
) STRICT, WITHOUT ROWID;

-- Rooms we are the hub of. The hub reads nothing of the tables above.
CREATE TABLE hub_room (
    room           TEXT NOT NULL PRIMARY KEY,
    owner          INTEGER NOT NULL,
    group_id       BLOB NOT NULL,
    last_timestamp INTEGER NOT NULL
) STRICT;
CREATE TABLE hub_key (
    purpose     TEXT NOT NULL PRIMARY KEY,
    private_key BLOB NOT NULL,
    public_key  BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE hub_accepted (
    room      TEXT NOT NULL,
    hash      BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    response  BLOB NOT NULL,
    PRIMARY KEY (room, hash)
) STRICT, WITHOUT ROWID;

-- Who may reach whom. `room` is empty for a grant or request that is not bound to one.
CREATE TABLE consent (
    requester TEXT NOT NULL,
    target    TEXT NOT NULL,
    room      TEXT NOT NULL,
    state     TEXT NOT NULL,
    since     INTEGER NOT NULL,
    PRIMARY KEY (requester, target, room)
) STRICT, WITHOUT ROWID;

-- Somebody we want in a room: from the wish to the commit that adds them.
CREATE TABLE invite (
    room     TEXT NOT NULL,
    user_uri TEXT NOT NULL,
    role     INTEGER NOT NULL,
    state    TEXT NOT NULL,
    problem  TEXT,
    since    INTEGER NOT NULL,
    PRIMARY KEY (room, user_uri)
) STRICT, WITHOUT ROWID;
