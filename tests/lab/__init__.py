"""Real servers on loopback, and people who use them through ordinary client libraries.

In reading order: `process` (a server process), `synapse`, `prosody`, `mail` and `gateway` (the kinds
there are), `world` and `mail_world` (all of them together), `people` (Alice, Anna, Bob, Ben), `verdict` (what was lost,
doubled or reordered), `up` (the command).
"""
