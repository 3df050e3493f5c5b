"""Real servers on loopback, and people who use them through ordinary client libraries.

In reading order: `process` (a server process), `synapse`, `prosody` and `gateway` (the three kinds
there are), `world` (all of them together), `people` (Alice, Anna, Bob, Ben), `verdict` (what was lost,
doubled or reordered), `up` (the command).
"""
