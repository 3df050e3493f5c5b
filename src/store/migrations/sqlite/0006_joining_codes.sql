-- Joining by a code.

-- The codes of rooms of ours, by their hashes: who reads this table can't join by it. `uses` is how many are left.
CREATE TABLE joining_code (
    hash    BLOB NOT NULL PRIMARY KEY,
    room    TEXT NOT NULL,
    role    INTEGER NOT NULL,
    uses    INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who has used a code and is on the way into the room.
CREATE TABLE admission (
    room     TEXT NOT NULL,
    user_uri TEXT NOT NULL,
    role     INTEGER NOT NULL,
    code     BLOB NOT NULL,
    expires  INTEGER NOT NULL,
    PRIMARY KEY (room, user_uri)
) STRICT, WITHOUT ROWID;
