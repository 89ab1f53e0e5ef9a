"""honker behind the protocol of the benchmark: one order as JSON per line in, one answer per line out."""

import json
import sys
import time

import honker

queue = honker.open(sys.argv[1]).queue("bench")
WORKER = "bench"

if sys.argv[2:] == ["--synced"]:
    # There is no such option: its one writing connection is told so between two transactions.
    with queue.db.transaction() as transaction:
        for statement in ("COMMIT", "PRAGMA synchronous = FULL", "BEGIN IMMEDIATE"):
            transaction.execute(statement)
    with queue.db.transaction() as transaction:
        assert transaction.query("PRAGMA synchronous") == [{"synchronous": 2}]


def fill(jobs, payload):
    with queue.db.transaction() as transaction:
        for _ in range(jobs):
            queue.enqueue(payload, tx=transaction)
    return {}


def drain(batch):
    """One job per call, or as many as its batched calls take: claimed, then acknowledged."""
    done = 0
    begun = time.perf_counter()
    if batch == 1:
        while job := queue.claim_one(WORKER):
            done += queue.ack(job.id, WORKER)
    else:
        while jobs := queue.claim_batch(WORKER, batch):
            done += queue.ack_batch([job.id for job in jobs], WORKER)
    return {"jobs": done, "seconds": time.perf_counter() - begun}


for line in sys.stdin:
    order = json.loads(line)
    verb = {"fill": fill, "drain": drain}[order.pop("do")]
    print(json.dumps(verb(**order)), flush=True)
