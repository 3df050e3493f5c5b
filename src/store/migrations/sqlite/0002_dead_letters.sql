-- What could not be delivered, what is held back, and links that can be taken back.
--
-- A dead letter has the id it had in the outbox and goes back there under it, so the outbox's ids are given
-- by default and not always. Content lives in it for as long as the admin may still want to send it.

-- An attempt may have arrived and nobody has heard so.
ALTER TABLE outbox ADD COLUMN unsure INTEGER NOT NULL DEFAULT 0;

-- When the link was taken away. Until it is forgotten the people are still in the room.
ALTER TABLE portal ADD COLUMN unlinked INTEGER;

CREATE TABLE dead_letter (
    id          INTEGER NOT NULL PRIMARY KEY,
    destination TEXT NOT NULL,
    kind        TEXT NOT NULL,
    payload     BLOB NOT NULL,
    prepared    BLOB,
    cause       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    certain     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    died        INTEGER NOT NULL
) STRICT;

-- A destination that takes nothing at the moment. `failing` is how long, by what lies between two attempts
-- and never more than a day of that. `warned` are those who know, about rows up to `warned_to`.
CREATE TABLE outage (
    destination TEXT NOT NULL PRIMARY KEY,
    since       INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    failing     INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    problem     TEXT NOT NULL,
    warned      TEXT NOT NULL,
    warned_to   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What took something away from people, for as long as the breaker looks back.
CREATE TABLE destructive (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT NOT NULL,
    room    TEXT NOT NULL,
    adapter TEXT NOT NULL,
    who     TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX destructive_by_room ON destructive (room, kind, at);
CREATE INDEX destructive_by_adapter ON destructive (adapter, kind, at);

-- The breaker has stopped something, and what it holds back: rows for the outbox.
CREATE TABLE trip (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind    TEXT NOT NULL,
    scope   TEXT NOT NULL,
    tripped INTEGER NOT NULL,
    allowed INTEGER
) STRICT;
CREATE TABLE held (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    trip        INTEGER NOT NULL,
    destination TEXT NOT NULL,
    payload     BLOB NOT NULL,
    who         TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
CREATE INDEX held_by_trip ON held (trip, id);
