"""The promise, tried by a machine: nothing lost, nothing doubled, in order, whatever ends or breaks.

In reading order: `messenger` (the native network of a loopback adapter, which outlives its gateway), `pair`
(two gateways that may die), `talk` (a conversation through both that passes every step there is), `checker`
(what became of it), `crashes` (the talk, with a gateway ended at each fail-point), `results` (the table).
The storms and the soak are scenes of their own.
"""
