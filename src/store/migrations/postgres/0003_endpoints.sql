-- What the endpoints groupInfo and reportAbuse keep.

-- Since when the room's hub has been in a later epoch than our reader, and nothing has come that leads there.
ALTER TABLE room ADD COLUMN behind BIGINT;
-- The epoch in which our reader came back after it had lost its place: what is older can't be read, and the people of
-- the conversation have yet to hear so.
ALTER TABLE room ADD COLUMN unread BIGINT;
