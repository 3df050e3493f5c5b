-- Joining by a code.

-- The codes of rooms of ours, by their hashes: who reads this table can't join by it. `uses` is how many are left.
CREATE TABLE joining_code (
    hash    BYTEA NOT NULL PRIMARY KEY,
    room    TEXT COLLATE "C" NOT NULL,
    role    BIGINT NOT NULL,
    uses    BIGINT NOT NULL,
    expires BIGINT NOT NULL
);

-- Who has used a code and is on the way into the room.
CREATE TABLE admission (
    room     TEXT COLLATE "C" NOT NULL,
    user_uri TEXT COLLATE "C" NOT NULL,
    role     BIGINT NOT NULL,
    code     BYTEA NOT NULL,
    expires  BIGINT NOT NULL,
    PRIMARY KEY (room, user_uri)
);
